//! Tags and manifests.

use regmirror::oci::Digest;
use regmirror::store::{ErrorKind, Sink, Source};

use super::{Fault, blob, manifest, repo, started, stored, tag};

#[tokio::test]
async fn an_unchanged_tag_costs_one_head() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    let found = client.resolve(&repo("a"), &tag("1")).await.unwrap();
    assert_eq!(found.as_ref(), Some(image.digest()));
    let found = client
        .resolve(&repo("a"), &image.digest().clone().into())
        .await
        .unwrap();
    assert_eq!(found.as_ref(), Some(image.digest()));
    assert_eq!(client.resolve(&repo("a"), &tag("2")).await.unwrap(), None);
    let by_digest = format!("HEAD /v2/a/manifests/{} 200", image.digest());
    assert_eq!(
        server.log(),
        [
            "HEAD /v2/a/manifests/1 200",
            by_digest.as_str(),
            "HEAD /v2/a/manifests/2 404"
        ]
    );
}

#[tokio::test]
async fn what_is_no_manifest_has_its_own_kind() {
    let (server, client) = started().await;
    let (repo, digest) = (repo("a"), Digest::sha256(b"{}"));
    let schema1 = [(
        "content-type",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    )];
    server.on("GET", "/manifests/", 1, Fault::reply(200, &schema1, "{}"));
    let error = client.manifest(&repo, &digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema1);
    server.on("GET", "/manifests/", 1, Fault::reply(200, &[], "{}"));
    let error = client.manifest(&repo, &digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let huge = " ".repeat((8 << 20) + 1);
    server.on("GET", "/manifests/", 1, Fault::reply(200, &[], huge));
    let error = client.manifest(&repo, &digest).await.unwrap_err();
    assert!(
        error.one_line().contains("longer than the 8388608 bytes"),
        "{}",
        error.one_line()
    );
    let error = client.manifest(&repo, &digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_manifest_is_stored_byte_for_byte_or_the_reason_is_told() {
    let (server, client) = started().await;
    let (repo, image, name) = (repo("a"), manifest("x"), "1".parse().unwrap());
    let put = || client.put_manifest(&repo, &image, Some(&name));

    let unknown = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"gone"}]}"#;
    server.on("PUT", "/manifests/", 1, Fault::reply(404, &[], unknown));
    assert_eq!(put().await.unwrap_err().kind(), ErrorKind::MissingContent);
    server.on("PUT", "/manifests/", 1, Fault::Status(413));
    let error = put().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error
            .one_line()
            .contains(&format!("has {} bytes", image.size())),
        "{}",
        error.one_line()
    );
    let other = Digest::sha256(b"x").to_string();
    server.on(
        "PUT",
        "/manifests/",
        1,
        Fault::reply(201, &[("docker-content-digest", other.as_str())], ""),
    );
    assert_eq!(put().await.unwrap_err().kind(), ErrorKind::Corrupt);

    client.put_blob(&repo, blob("{}")).await.unwrap();
    put().await.unwrap();
    client.put_manifest(&repo, &image, None).await.unwrap();
    let there = server
        .store()
        .manifest(&repo, image.digest())
        .await
        .unwrap();
    assert_eq!(there, image);
    assert_eq!(
        server.count(&format!("PUT /v2/a/manifests/{} 201", image.digest())),
        1
    );
    assert_eq!(server.count("PUT /v2/a/manifests/1 201"), 2);
}

#[tokio::test]
async fn a_tag_is_deleted_by_its_name() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    let repo = repo("a");
    for status in [405, 400] {
        server.on("DELETE", "/manifests/1", 1, Fault::Status(status));
        let error = client.delete_manifest(&repo, &tag("1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    server.clear_log();
    client.delete_manifest(&repo, &tag("1")).await.unwrap();
    assert_eq!(server.log(), ["DELETE /v2/a/manifests/1 202"]);
    assert!(
        client
            .resolve(&repo, &image.digest().clone().into())
            .await
            .unwrap()
            .is_some()
    );
    let error = client.delete_manifest(&repo, &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
