//! Blobs in both directions.

use futures::StreamExt;
use regmirror::oci::{Descriptor, MediaType};
use regmirror::registry::Credential;
use regmirror::store::{Blob, ErrorKind, Sink, Source};

use super::{Fault, blob, registry_client, reply, repo, started};
use crate::support::{Auth, TestRegistry, registry_client_of};

const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

fn text() -> Descriptor {
    Descriptor::of(MediaType::OCTET_STREAM, TEXT.as_bytes())
}

async fn read(client: &impl Source) -> Result<Vec<u8>, regmirror::store::StoreError> {
    let blob = client.blob(&repo("a"), &text()).await?;
    blob.into_bytes().await.map(Into::into)
}

#[tokio::test]
async fn damaged_content_is_never_delivered() {
    let (server, client) = started().await;
    server
        .store()
        .put_blob(&repo("a"), blob(TEXT))
        .await
        .unwrap();
    assert_eq!(read(&client).await.unwrap(), TEXT.as_bytes());

    server.on("GET", "/blobs/", 1, Fault::FlipBit);
    assert_eq!(read(&client).await.unwrap_err().kind(), ErrorKind::Corrupt);

    // Another length, told and not told.
    server.on("GET", "/blobs/", 1, reply(200, &[], "0123"));
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .one_line()
            .contains("has 4 bytes there, but should have 36"),
        "{}",
        error.one_line()
    );

    let missing = Descriptor::of(MediaType::OCTET_STREAM, b"missing");
    let error = client.blob(&repo("a"), &missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_on() {
    let (server, client) = started().await;
    server
        .store()
        .put_blob(&repo("a"), blob(TEXT))
        .await
        .unwrap();
    server.on("GET", "/blobs/", 2, Fault::cut(10));
    assert_eq!(read(&client).await.unwrap(), TEXT.as_bytes());
    let path = format!("GET /v2/a/blobs/{}", text().digest);
    assert_eq!(
        server.log(),
        ["200", "206", "206"].map(|end| format!("{path} {end}"))
    );

    // A server that starts over, one that sends another part, one that has no
    // more, one that never gets on.
    server.on("GET", "/blobs/", 1, Fault::cut(10));
    server.on("GET", "/blobs/", 1, reply(200, &[], TEXT));
    assert_eq!(read(&client).await.unwrap(), TEXT.as_bytes());
    server.on("GET", "/blobs/", 1, Fault::cut(10));
    server.on(
        "GET",
        "/blobs/",
        1,
        reply(206, &[("content-range", "bytes 9-35/36")], &TEXT[9..]),
    );
    assert_eq!(
        read(&client).await.unwrap_err().kind(),
        ErrorKind::Malformed
    );
    server.on("GET", "/blobs/", 1, Fault::cut(10));
    server.on("GET", "/blobs/", 1, Fault::Status(416));
    assert_eq!(read(&client).await.unwrap_err().kind(), ErrorKind::Corrupt);
    server.clear_log();
    server.on("GET", "/blobs/", usize::MAX, Fault::cut(0));
    assert_eq!(
        read(&client).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(server.count("GET "), 3);
}

#[tokio::test]
async fn a_redirect_is_followed_without_credentials() {
    let user = || ("robot".to_owned(), "s3cret".to_owned());
    let (name, password) = user();
    let registry = TestRegistry::start().await;
    registry.require_auth(Auth::Basic {
        user: name.clone(),
        password: password.clone(),
    });
    let storage = TestRegistry::start().await;
    storage
        .store()
        .put_blob(&repo("a"), blob(TEXT))
        .await
        .unwrap();
    let credential = Credential::Basic {
        user: name,
        password: password.into(),
    };
    let client = registry_client(&registry, credential);
    client.ping().await.unwrap();

    let target = format!(
        "http://{}/v2/a/blobs/{}?signature=s",
        storage.address(),
        text().digest
    );
    let away = reply(307, &[("location", target.as_str())], "");
    registry.on("GET", "/blobs/", 1, away.clone());
    assert_eq!(read(&client).await.unwrap(), TEXT.as_bytes());

    // An expired signature: the registry is asked for another.
    registry.on("GET", "/blobs/", 2, away.clone());
    storage.on("GET", "/blobs/", 1, Fault::Status(403));
    assert_eq!(read(&client).await.unwrap(), TEXT.as_bytes());

    // With the very same credentials it would open; it must not see them.
    let (user, password) = user();
    storage.require_auth(Auth::Basic { user, password });
    storage.clear_log();
    registry.on("GET", "/blobs/", 1, away);
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        !error.one_line().contains("signature"),
        "{}",
        error.one_line()
    );
    assert_eq!(storage.log().len(), 1, "{:?}", storage.log());
}

#[tokio::test]
async fn redirects_do_not_go_on_for_ever() {
    let (server, client) = started().await;
    let target = format!("/v2/a/blobs/{}", text().digest);
    server.on(
        "GET",
        "/blobs/",
        usize::MAX,
        reply(302, &[("location", target.as_str())], ""),
    );
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!(server.count("GET "), 6);
}

#[tokio::test]
async fn a_blob_is_stored_with_one_post_and_one_put() {
    let (server, client) = started().await;
    for content in [TEXT, ""] {
        server.clear_log();
        client.put_blob(&repo("a"), blob(content)).await.unwrap();
        let log = server.log();
        assert_eq!(log.len(), 2, "{log:?}");
        assert_eq!(log[0], "POST /v2/a/blobs/uploads/ 202");
        assert!(
            log[1].starts_with("PUT ") && log[1].ends_with(" 201"),
            "{log:?}"
        );
        let blob = blob(content).descriptor().clone();
        assert!(client.has_blob(&repo("a"), &blob).await.unwrap());
    }
}

#[tokio::test]
async fn a_blob_of_another_length_is_not_there() {
    let (server, client) = started().await;
    for (length, there) in [("36", true), ("0", true), ("35", false)] {
        server.on(
            "HEAD",
            "/blobs/",
            1,
            reply(200, &[("content-length", length)], ""),
        );
        let found = client.has_blob(&repo("a"), &text()).await.unwrap();
        assert_eq!(found, there, "{length}");
    }
}

#[tokio::test]
async fn a_source_that_fails_is_not_the_target_s_fault() {
    let (server, client) = started().await;
    let pieces = [Ok("0123".into()), Ok("wrong".into())];
    let wrong = Blob::verified(&text(), "the test", futures::stream::iter(pieces).boxed());
    let error = client.put_blob(&repo("a"), wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.one_line().contains("ended after 9 of 36 bytes"),
        "{}",
        error.one_line()
    );
    assert!(!server.store().has_blob(&repo("a"), &text()).await.unwrap());
    // The session is not left open.
    assert_eq!(
        server.count("DELETE /v2/a/blobs/uploads/"),
        1,
        "{:?}",
        server.log()
    );
}

#[tokio::test]
async fn a_streamed_upload_is_tried_once_and_can_be_repeated() {
    let (server, client) = started().await;
    server.on("PUT", "/uploads/", 1, Fault::Status(503));
    let error = client.put_blob(&repo("a"), blob(TEXT)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.count("PUT "), 1);
    assert_eq!(server.count("DELETE /v2/a/blobs/uploads/"), 1);
    client.put_blob(&repo("a"), blob(TEXT)).await.unwrap();
}

#[tokio::test]
async fn an_upload_may_go_elsewhere_but_credentials_do_not() {
    let (registry, storage) = (TestRegistry::start().await, TestRegistry::start().await);
    let auth = || Auth::Basic {
        user: "robot".to_owned(),
        password: "s3cret".to_owned(),
    };
    registry.require_auth(auth());
    storage.require_auth(auth());
    let credential = Credential::Basic {
        user: "robot".to_owned(),
        password: "s3cret".into(),
    };
    let client = registry_client(&registry, credential);
    client.ping().await.unwrap();
    let target = format!("http://{}/v2/a/blobs/uploads/1?s=1", storage.address());
    registry.on(
        "POST",
        "/uploads/",
        1,
        reply(202, &[("location", target.as_str())], ""),
    );
    client.put_blob(&repo("a"), blob(TEXT)).await.unwrap_err();
    let log = storage.log();
    assert!(log[0].contains("uploads/1?s=1&digest=sha256:"), "{log:?}");
    assert!(log.iter().all(|line| line.ends_with(" 401")), "{log:?}");
    assert_eq!(log.len(), 2, "the upload, and its cancellation: {log:?}");
}

#[tokio::test]
async fn copies_within_one_host_do_not_wait_for_themselves() {
    let server = TestRegistry::start().await;
    let client = registry_client_of(&server, Credential::Anonymous, 1);
    let from = repo("a");
    server.store().put_blob(&from, blob(TEXT)).await.unwrap();
    // Each breaks off in the middle, and reads on while it writes.
    server.on("GET", "/blobs/", 3, Fault::cut(10));
    let copy = async |to: &str| {
        let body = client.blob(&from, &text()).await.unwrap();
        client.put_blob(&repo(to), body).await.unwrap();
    };
    let copies = futures::future::join3(copy("b"), copy("c"), copy("d"));
    tokio::time::timeout(std::time::Duration::from_secs(20), copies)
        .await
        .expect("they come to an end");
}

#[tokio::test]
async fn a_mount_is_done_or_its_session_used() {
    let (server, client) = started().await;
    let (from, to, other) = (repo("a"), repo("b"), repo("c"));
    server.store().put_blob(&from, blob(TEXT)).await.unwrap();
    assert!(client.mount_blob(&to, &text(), &from).await.unwrap());
    assert!(client.has_blob(&to, &text()).await.unwrap());

    // There is nothing to mount in b: a session began instead.
    server.clear_log();
    let new = blob("new");
    assert!(
        !client
            .mount_blob(&other, new.descriptor(), &to)
            .await
            .unwrap()
    );
    client.put_blob(&other, new).await.unwrap();
    assert_eq!(server.count("POST "), 1, "{:?}", server.log());
    assert_eq!(server.count("PUT "), 1);

    for fault in [
        Fault::Status(404),
        Fault::Status(405),
        Fault::Status(500),
        Fault::Drop,
    ] {
        server.on("POST", "mount=", 3, fault.clone());
        let mounted = client.mount_blob(&other, &text(), &from).await.unwrap();
        assert!(!mounted, "{fault:?}");
    }
}

#[tokio::test]
async fn a_session_that_nobody_needs_is_cancelled() {
    let (server, client) = started().await;
    let (from, to) = (repo("a"), repo("b"));
    let content = blob("new");
    let descriptor = content.descriptor().clone();
    assert!(!client.mount_blob(&to, &descriptor, &from).await.unwrap());
    // Somebody else was faster.
    server.store().put_blob(&to, content).await.unwrap();
    assert!(client.has_blob(&to, &descriptor).await.unwrap());
    assert_eq!(server.count("DELETE "), 1, "{:?}", server.log());
}
