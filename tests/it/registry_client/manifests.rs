//! Tags and manifests.

use regmirror::store::{ErrorKind, Sink, Source};

use super::{Fault, repo, started, stored, tag};

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
