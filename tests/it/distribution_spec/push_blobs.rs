//! Pushing blobs: distribution-spec 1.1, "Pushing blobs" and "Mounting a blob
//! from another repository".

use futures::stream;
use regmirror::oci::{Algorithm, Digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, assert_error};

/// Puts the end of an upload and checks that the blob is there.
async fn finish(server: &Server, repo: &str, upload: &str, last: &str, whole: &str) {
    let digest = Digest::sha256(whole.as_bytes());
    let path = format!("{upload}?digest={digest}");
    let reply = server.send("PUT", &path, &[], last.to_owned()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), digest.as_str());
    let blob = server.ask("GET", reply.header("location")).await;
    assert_eq!((blob.status, blob.body.as_slice()), (200, whole.as_bytes()));
    let path = format!("/v2/{repo}/blobs/{digest}");
    assert_eq!(server.ask("HEAD", &path).await.status, 200);
    assert_error(&server.ask("GET", upload).await, 404, "BLOB_UPLOAD_UNKNOWN");
}

pub(super) async fn end_4a_and_6_take_a_blob_in_one_put(server: &Server) {
    let upload = server.begin("a/b").await;
    finish(server, "a/b", &upload, "content", "content").await;
}

pub(super) async fn end_4b_takes_a_blob_in_one_post(server: &Server) {
    let digest = Digest::sha256(b"content");
    // As Go's url.Values encodes it.
    let query = digest.as_str().replace(':', "%3A");
    let path = format!("/v2/a/blobs/uploads/?digest={query}");
    let reply = server.send("POST", &path, &[], "content").await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("location"), format!("/v2/a/blobs/{digest}"));
    let blob = server.ask("GET", reply.header("location")).await;
    assert_eq!(blob.body, b"content");
}

pub(super) async fn end_5_takes_a_stream(server: &Server) {
    let upload = server.begin("a").await;
    let pieces = ["str", "", "eam"].map(|piece| Ok::<_, std::io::Error>(piece.to_owned()));
    let body = reqwest::Body::wrap_stream(stream::iter(pieces));
    let reply = server.send("PATCH", &upload, &[], body).await;
    assert_eq!((reply.status, reply.header("range")), (202, "0-5"));
    finish(server, "a", reply.header("location"), "", "stream").await;
}

pub(super) async fn end_5_and_13_take_chunks_in_order_only(server: &Server) {
    let upload = server.begin("a").await;
    let reply = server
        .send("PATCH", &upload, &[("content-range", "4-6")], "efg")
        .await;
    assert_error(&reply, 416, "RANGE_INVALID");
    assert_eq!(
        (reply.header("location"), reply.header("range")),
        (upload.as_str(), "0-0")
    );

    let reply = server
        .send("PATCH", &upload, &[("content-range", "0-3")], "abcd")
        .await;
    assert_eq!((reply.status, reply.header("range")), (202, "0-3"));
    for again in ["0-3", "5-7", "3-5"] {
        let reply = server
            .send("PATCH", &upload, &[("content-range", again)], "abcd")
            .await;
        assert_eq!(
            (reply.status, reply.header("range")),
            (416, "0-3"),
            "{again}"
        );
        let digest = Digest::sha256(b"abcdefg");
        let path = format!("{upload}?digest={digest}");
        let reply = server
            .send("PUT", &path, &[("content-range", again)], "abcd")
            .await;
        assert_error(&reply, 416, "RANGE_INVALID");
    }
    let status = server.ask("GET", &upload).await;
    assert_eq!((status.status, status.header("range")), (204, "0-3"));

    let last = status.header("location");
    finish(server, "a", last, "efg", "abcdefg").await;
}

pub(super) async fn a_chunk_is_as_long_as_it_says(server: &Server) {
    for (range, body, status, code) in [
        ("0-3", "abc", 400, "SIZE_INVALID"),
        ("0-1", "abc", 400, "SIZE_INVALID"),
        ("3-1", "abc", 400, "BLOB_UPLOAD_INVALID"),
        ("bytes 0-2/3", "abc", 400, "BLOB_UPLOAD_INVALID"),
        ("0-+2", "abc", 400, "BLOB_UPLOAD_INVALID"),
        ("0-18446744073709551615", "abc", 400, "BLOB_UPLOAD_INVALID"),
        ("x", "abc", 400, "BLOB_UPLOAD_INVALID"),
    ] {
        let upload = server.begin("a").await;
        let reply = server
            .send("PATCH", &upload, &[("content-range", range)], body)
            .await;
        assert_error(&reply, status, code);
        // Without a length beforehand the body itself has to tell.
        let body = reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(body)]));
        let reply = server
            .send("PATCH", &upload, &[("content-range", range)], body)
            .await;
        assert_error(&reply, status, code);
    }
}

pub(super) async fn a_cut_chunk_is_continued(server: &Server) {
    let upload = server.begin("a").await;
    let mut connection = TcpStream::connect(&server.address).await.unwrap();
    let request = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
        server.address
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.shutdown().await.unwrap();
    // Whatever it answers, then it is done with the request.
    connection.read_to_end(&mut Vec::new()).await.unwrap();

    let status = server.ask("GET", &upload).await;
    assert_eq!((status.status, status.header("range")), (204, "0-3"));
    finish(server, "a", &upload, "efg", "abcdefg").await;
}

pub(super) async fn end_11_mounts(server: &Server) {
    let digest = server.push_blob("a", "content").await;
    let path = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    let reply = server.ask("POST", &path).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("location"), format!("/v2/b/blobs/{digest}"));
    assert_eq!(
        server.ask("GET", reply.header("location")).await.body,
        b"content"
    );

    // What cannot be mounted becomes an upload.
    let missing = Digest::sha256(b"missing");
    for (query, content) in [
        (format!("mount={digest}"), "content"),
        (format!("mount={digest}&from=none"), "content"),
        (format!("mount={missing}&from=a"), "missing"),
        (format!("mount={digest}&from=A"), "content"),
    ] {
        let path = format!("/v2/c/blobs/uploads/?{query}");
        let reply = server.ask("POST", &path).await;
        assert_eq!(reply.status, 202, "{query}");
        finish(server, "c", reply.header("location"), content, content).await;
        let blob = format!("/v2/c/blobs/{}", Digest::sha256(content.as_bytes()));
        assert_eq!(server.ask("DELETE", &blob).await.status, 202);
    }
    let reply = server
        .ask("POST", "/v2/c/blobs/uploads/?mount=x&from=a")
        .await;
    assert_error(&reply, 400, "DIGEST_INVALID");
}

pub(super) async fn end_14_cancels(server: &Server) {
    let upload = server.begin("a").await;
    assert_eq!(server.ask("DELETE", &upload).await.status, 204);
    let reply = server.send("PATCH", &upload, &[], "content").await;
    assert_error(&reply, 404, "BLOB_UPLOAD_UNKNOWN");
    for method in ["GET", "DELETE"] {
        let reply = server.ask(method, &upload).await;
        assert_error(&reply, 404, "BLOB_UPLOAD_UNKNOWN");
    }
    let path = format!("{upload}?digest={}", Digest::sha256(b""));
    assert_error(&server.ask("PUT", &path).await, 404, "BLOB_UPLOAD_UNKNOWN");
}

pub(super) async fn a_wrong_digest_is_refused(server: &Server) {
    let wrong = Digest::sha256(b"other");
    let path = format!("/v2/a/blobs/uploads/?digest={wrong}");
    let reply = server.send("POST", &path, &[], "content").await;
    assert_error(&reply, 400, "DIGEST_INVALID");
    assert_eq!(
        reply.json()["errors"][0]["detail"]["digest"],
        wrong.as_str()
    );

    for query in [
        String::new(),
        "?digest=".to_owned(),
        "?digest=md5:x".to_owned(),
    ] {
        let upload = server.begin("a").await;
        let path = format!("{upload}{query}");
        let reply = server.send("PUT", &path, &[], "content").await;
        assert_error(&reply, 400, "DIGEST_INVALID");
        // That was no attempt to finish it.
        assert_eq!(server.ask("GET", &upload).await.status, 204);
    }
    let upload = server.begin("a").await;
    let path = format!("{upload}?digest={wrong}");
    let reply = server.send("PUT", &path, &[], "content").await;
    assert_error(&reply, 400, "DIGEST_INVALID");
    assert_eq!(
        server
            .ask("HEAD", &format!("/v2/a/blobs/{wrong}"))
            .await
            .status,
        404
    );
}

pub(super) async fn an_upload_belongs_to_its_repository(server: &Server) {
    let upload = server.begin("a").await;
    let elsewhere = upload.replace("/v2/a/", "/v2/b/");
    for method in ["GET", "PATCH", "DELETE"] {
        let reply = server.ask(method, &elsewhere).await;
        assert_error(&reply, 404, "BLOB_UPLOAD_UNKNOWN");
    }
    assert_ne!(upload, server.begin("a").await);
}

pub(super) async fn empty_blobs_and_sha512(server: &Server) {
    let upload = server.begin("a").await;
    finish(server, "a", &upload, "", "").await;
    let digest = Digest::of(Algorithm::Sha512, b"content");
    let upload = server.begin("a").await;
    let path = format!("{upload}?digest={digest}");
    assert_eq!(server.send("PUT", &path, &[], "content").await.status, 201);
    let blob = server.ask("GET", &format!("/v2/a/blobs/{digest}")).await;
    assert_eq!((blob.status, blob.body.as_slice()), (200, &b"content"[..]));
    assert_eq!(blob.header("docker-content-digest"), digest.as_str());
}
