//! Pulling: distribution-spec 1.1, "Pull".

use regmirror::oci::Digest;

use super::{Server, assert_error, image};

pub(super) async fn end_1_says_that_this_is_a_registry(server: &Server) {
    for path in ["/v2/", "/v2"] {
        let reply = server.ask("GET", path).await;
        assert_eq!(reply.status, 200);
        let version = reply.header("docker-distribution-api-version");
        assert_eq!(version, "registry/2.0");
    }
}

pub(super) async fn end_2_gives_blobs(server: &Server) {
    // More than one piece of whatever size the store reads by.
    let content = "0123456789".repeat(50_000);
    let digest = server.push_blob("a/b", &content).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for (method, body) in [("GET", content.as_str()), ("HEAD", "")] {
        let reply = server.ask(method, &path).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-length"), content.len().to_string());
        assert_eq!(reply.header("docker-content-digest"), digest.as_str());
        assert_eq!(reply.header("accept-ranges"), "bytes");
        assert!(reply.body == body.as_bytes(), "another body");
    }
}

pub(super) async fn end_2_gives_parts_of_blobs(server: &Server) {
    let digest = server.push_blob("a", "0123456789").await;
    let path = format!("/v2/a/blobs/{digest}");
    for (range, content_range, part) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=3-5", "bytes 3-5/10", "345"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=8-20", "bytes 8-9/10", "89"),
    ] {
        let reply = server.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(reply.status, 206, "{range}");
        assert_eq!(reply.header("content-range"), content_range);
        assert_eq!(reply.header("content-length"), part.len().to_string());
        assert_eq!(reply.body, part.as_bytes());
    }
    for range in ["bytes=10-", "bytes=50-60", "bytes=5-0"] {
        let reply = server.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(reply.header("content-range"), "bytes */10");
        assert_error(&reply, 416, "RANGE_INVALID");
    }
}

pub(super) async fn end_3_gives_manifests(server: &Server) {
    let digest = server.push_image("a/b", "1.4", "layer").await;
    let content = image("layer").to_string();
    for reference in ["1.4", digest.as_str()] {
        let path = format!("/v2/a/b/manifests/{reference}");
        for (method, body) in [("GET", content.as_str()), ("HEAD", "")] {
            // Whatever is accepted, what is stored is served.
            let accept = [("accept", "application/vnd.oci.image.index.v1+json")];
            let reply = server.send(method, &path, &accept, "").await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("content-length"), content.len().to_string());
            assert_eq!(reply.header("docker-content-digest"), digest.as_str());
            assert_eq!(
                reply.header("content-type"),
                "application/vnd.oci.image.manifest.v1+json"
            );
            assert_eq!(reply.body, body.as_bytes());
        }
    }
}

pub(super) async fn what_the_client_has_is_not_sent_again(server: &Server) {
    server.push_image("a", "1", "layer").await;
    let layer = Digest::sha256(b"layer");
    for path in [
        "/v2/a/manifests/1".to_owned(),
        format!("/v2/a/blobs/{layer}"),
    ] {
        let etag = server.ask("GET", &path).await.header("etag").to_owned();
        let known = [("if-none-match", etag.as_str())];
        let reply = server.send("GET", &path, &known, "").await;
        assert_eq!((reply.status, reply.body.as_slice()), (304, &b""[..]));
        let other = [("if-none-match", "\"other\"")];
        assert_eq!(server.send("GET", &path, &other, "").await.status, 200);
    }
}

pub(super) async fn what_is_not_there_is_404(server: &Server) {
    server.push_image("a", "1", "layer").await;
    let digest = Digest::sha256(b"missing");
    let short = "/v2/a/blobs/sha256:totallywrong";
    for (path, status, code) in [
        (format!("/v2/a/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        (format!("/v2/a/manifests/{digest}"), 404, "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        // The conformance tests ask for a tag that cannot exist.
        (
            "/v2/a/manifests/.INVALID".to_owned(),
            404,
            "MANIFEST_UNKNOWN",
        ),
        (format!("/v2/b/blobs/{digest}"), 404, "NAME_UNKNOWN"),
        ("/v2/b/manifests/1".to_owned(), 404, "NAME_UNKNOWN"),
        (short.to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/manifests/sha256:x".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/A/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("/v2/a/nothing".to_owned(), 404, "UNSUPPORTED"),
        ("/".to_owned(), 404, "UNSUPPORTED"),
    ] {
        assert_error(&server.ask("GET", &path).await, status, code);
        let head = server.ask("HEAD", &path).await;
        assert_eq!((head.status, head.body.len()), (status, 0), "{path}");
    }
}
