//! Blobs in both directions.

use regmirror::oci::{Descriptor, MediaType};
use regmirror::registry::Credential;
use regmirror::store::{ErrorKind, Sink, Source};

use super::{Fault, blob, repo, started};
use crate::support::{TestRegistry, registry_client_of};

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
    server.on("GET", "/blobs/", 1, Fault::reply(200, &[], "0123"));
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
async fn a_blob_of_another_length_is_not_there() {
    let (server, client) = started().await;
    for (length, there) in [("36", true), ("0", true), ("35", false)] {
        server.on(
            "HEAD",
            "/blobs/",
            1,
            Fault::reply(200, &[("content-length", length)], ""),
        );
        let found = client.has_blob(&repo("a"), &text()).await.unwrap();
        assert_eq!(found, there, "{length}");
    }
}

#[tokio::test]
async fn g9_copies_within_one_host_do_not_wait_for_themselves() {
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
