//! Tags and manifests.

use regmirror::oci::Digest;
use regmirror::store::{ErrorKind, Sink, Source};

use super::{Fault, blob, manifest, reply, repo, started, stored, tag};

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
async fn where_head_does_not_tell_the_bytes_do() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    for head in [
        Fault::Status(405),
        Fault::Status(400),
        Fault::Status(403),
        Fault::Status(200),
        reply(200, &[("docker-content-digest", "md5:abc")], ""),
    ] {
        server.clear_log();
        server.on("HEAD", "/manifests/", 1, head.clone());
        let found = client.resolve(&repo("a"), &tag("1")).await.unwrap();
        assert_eq!(found.as_ref(), Some(image.digest()), "{head:?}");
        assert_eq!(server.count("GET /v2/a/manifests/1 200"), 1);
        server.on("HEAD", "/manifests/", 1, head);
        let found = client.resolve(&repo("a"), &tag("2")).await;
        assert!(!matches!(found, Ok(Some(_))) || server.count("GET") == 1);
    }
}

#[tokio::test]
async fn refused_is_not_missing() {
    let (server, client) = started().await;
    stored(&server, "a", "1").await;
    server.on("HEAD", "/manifests/", 1, Fault::Status(403));
    server.on(
        "GET",
        "/manifests/",
        1,
        reply(
            403,
            &[],
            r#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#,
        ),
    );
    let error = client.resolve(&repo("a"), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.one_line();
    let start = format!(
        "could not read tag {}/a:1: access denied: 403 DENIED: no\\nway",
        server.address()
    );
    assert!(text.starts_with(&start), "{text}");
}

#[tokio::test]
async fn another_manifest_than_asked_for_is_corrupt() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    assert_eq!(
        client.manifest(&repo("a"), image.digest()).await.unwrap(),
        image
    );

    server.on("GET", "/manifests/", 1, Fault::FlipBit);
    let error = client
        .manifest(&repo("a"), image.digest())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.one_line();
    assert!(
        text.contains(&format!("expected digest {}, seen sha256:", image.digest())),
        "{text}"
    );

    let other = Digest::sha256(b"x").to_string();
    server.on(
        "HEAD",
        "/manifests/",
        1,
        reply(200, &[("docker-content-digest", other.as_str())], ""),
    );
    let error = client
        .resolve(&repo("a"), &image.digest().clone().into())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn what_is_no_manifest_has_its_own_kind() {
    let (server, client) = started().await;
    let (repo, digest) = (repo("a"), Digest::sha256(b"{}"));
    let schema1 = [(
        "content-type",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    )];
    server.on("GET", "/manifests/", 1, reply(200, &schema1, "{}"));
    let error = client.manifest(&repo, &digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema1);
    server.on("GET", "/manifests/", 1, reply(200, &[], "{}"));
    let error = client.manifest(&repo, &digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let huge = " ".repeat((8 << 20) + 1);
    server.on("GET", "/manifests/", 1, reply(200, &[], &huge));
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
    server.on("PUT", "/manifests/", 1, reply(404, &[], unknown));
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
        reply(201, &[("docker-content-digest", other.as_str())], ""),
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
