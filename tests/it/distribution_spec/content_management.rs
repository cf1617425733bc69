//! Content management: distribution-spec 1.1, "Deleting tags", "Deleting
//! Manifests" and "Deleting Blobs".

use regmirror::oci::{Descriptor, Digest, MediaType};
use serde_json::json;

use super::{Server, assert_error, digest_of, image};

pub(super) async fn end_9_deletes_tags_and_manifests(server: &Server) {
    let digest = server.push_image("a", "1", "layer").await;
    server.push_image("a", "2", "layer").await;
    server.push_image("a", "3", "layer").await;
    let by_digest = format!("/v2/a/manifests/{digest}");
    let status = async |path: &str| server.ask("GET", path).await.status;

    assert_eq!(server.ask("DELETE", "/v2/a/manifests/1").await.status, 202);
    assert_eq!(status("/v2/a/manifests/1").await, 404);
    assert_eq!(status("/v2/a/manifests/2").await, 200);
    assert_eq!(status(&by_digest).await, 200);
    let again = server.ask("DELETE", "/v2/a/manifests/1").await;
    assert_error(&again, 404, "MANIFEST_UNKNOWN");

    assert_eq!(server.ask("DELETE", &by_digest).await.status, 202);
    assert_eq!(status(&by_digest).await, 404);
    assert_eq!(status("/v2/a/manifests/2").await, 404);
    let again = server.ask("DELETE", &by_digest).await;
    assert_error(&again, 404, "MANIFEST_UNKNOWN");
    let elsewhere = server.ask("DELETE", "/v2/b/manifests/1").await;
    assert_error(&elsewhere, 404, "NAME_UNKNOWN");
}

pub(super) async fn end_10_deletes_blobs(server: &Server) {
    let digest = server.push_blob("a", "content").await;
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    assert_eq!(server.ask("POST", &mount).await.status, 201);
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(server.ask("DELETE", &path).await.status, 202);
    assert_error(&server.ask("GET", &path).await, 404, "BLOB_UNKNOWN");
    assert_error(&server.ask("DELETE", &path).await, 404, "BLOB_UNKNOWN");
    // The other repository's is another blob to its users.
    let other = server.ask("GET", &format!("/v2/b/blobs/{digest}")).await;
    assert_eq!(
        (other.status, other.body.as_slice()),
        (200, &b"content"[..])
    );
    let elsewhere = format!("/v2/c/blobs/{}", Digest::sha256(b"content"));
    assert_error(&server.ask("DELETE", &elsewhere).await, 404, "NAME_UNKNOWN");
}

pub(super) async fn a_deleted_referrer_is_not_listed(server: &Server) {
    let subject = server.push_image("a", "1", "layer").await;
    let mut document = image("layer");
    document["subject"] = json!(Descriptor::new(MediaType::OCI_MANIFEST, subject.clone(), 1));
    let digest = digest_of(&document);
    let put = server.put_manifest("a", digest.as_str(), &document).await;
    assert_eq!(put.status, 201);
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(server.ask("DELETE", &path).await.status, 202);
    let list = server
        .ask("GET", &format!("/v2/a/referrers/{subject}"))
        .await;
    assert_eq!(list.json()["manifests"], json!([]));
}
