//! What is attached to a manifest, with and without the registry's help.

use futures::future::join_all;
use regmirror::oci::{MediaType, fallback_tag};
use regmirror::registry::Credential;
use regmirror::store::{ErrorKind, Sink, Source};
use serde_json::json;

use super::{Fault, attached, blob, manifest, registry_client, reply, repo, started, stored};
use crate::support::TestRegistry;

#[tokio::test]
async fn the_registry_lists_them_page_by_page() {
    let (server, client) = started().await;
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let one = attached(&subject, "one");
    client.put_manifest(&repo, &one, None).await.unwrap();
    assert_eq!(server.count("GET "), 0, "nothing to keep for this registry");

    let two = attached(&subject, "two").referrer_descriptor();
    let page = json!({"schemaVersion": 2, "manifests": [two.clone(), two.clone()]}).to_string();
    let link = format!(
        "</v2/a/referrers/{}?page=2>; rel=\"next\"",
        subject.digest()
    );
    let headers = [
        ("content-type", MediaType::OCI_INDEX.as_str().to_owned()),
        ("link", link),
    ];
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    server.on("GET", "/referrers/", 1, reply(200, &headers, &page));
    let found = client.referrers(&repo, subject.digest()).await.unwrap();
    assert_eq!(found, [two, one.referrer_descriptor()]);
}

#[tokio::test]
async fn a_listing_that_failed_is_not_none() {
    let (server, client) = started().await;
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    for (status, kind) in [
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (429, ErrorKind::RateLimited(None)),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
    ] {
        let attempts = if status < 429 { 1 } else { 3 };
        server.on("GET", "/referrers/", attempts, Fault::Status(status));
        let error = client.referrers(&repo, subject.digest()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
    }
    assert_eq!(
        server.count("GET /v2/a/manifests/"),
        0,
        "{:?}",
        server.log()
    );
}

#[tokio::test]
async fn no_api_means_the_tag_and_is_remembered() {
    for missing in [
        Fault::Status(404),
        Fault::Status(400),
        Fault::Status(405),
        Fault::Status(406),
        Fault::Status(501),
        reply(200, &[("content-type", "text/html")], "<html>"),
        reply(303, &[("location", "https://elsewhere.example/")], ""),
    ] {
        let (server, client) = started().await;
        let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
        let one = attached(&subject, "one").referrer_descriptor();
        let list = regmirror::oci::referrers_index(std::slice::from_ref(&one));
        let list = regmirror::oci::Manifest::parse(list, None).unwrap();
        let tag = fallback_tag(subject.digest());
        server
            .store()
            .put_manifest(&repo, &list, Some(&tag))
            .await
            .unwrap();

        server.on("GET", "/referrers/", 1, missing.clone());
        for _ in 0..2 {
            let found = client.referrers(&repo, subject.digest()).await.unwrap();
            assert_eq!(found, std::slice::from_ref(&one), "{missing:?}");
        }
        assert_eq!(server.count("GET /v2/a/referrers/"), 1, "{missing:?}");
        assert_eq!(server.count(&format!("GET /v2/a/manifests/{tag} 200")), 2);
    }
}

#[tokio::test]
async fn a_missing_repository_says_nothing_about_the_api() {
    let (server, client) = started().await;
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
    let subject = manifest("x");
    server.on("GET", "/referrers/", 1, reply(404, &[], unknown));
    for _ in 0..2 {
        let found = client
            .referrers(&repo("a"), subject.digest())
            .await
            .unwrap();
        assert!(found.is_empty());
    }
    assert_eq!(server.count("GET /v2/a/referrers/"), 2);
}

#[tokio::test]
async fn the_client_keeps_the_list_where_the_registry_does_not() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let many: Vec<_> = (0..8).map(|n| attached(&subject, &n.to_string())).collect();
    let put = many.iter().map(|one| client.put_manifest(&repo, one, None));
    for done in join_all(put).await {
        done.unwrap();
    }
    let mut found = client.referrers(&repo, subject.digest()).await.unwrap();
    let mut want: Vec<_> = many.iter().map(|one| one.referrer_descriptor()).collect();
    found.sort_by_key(|one| one.digest.clone());
    want.sort_by_key(|one| one.digest.clone());
    assert_eq!(found, want);

    // Nothing is written for what is there.
    server.clear_log();
    client.put_manifest(&repo, &many[0], None).await.unwrap();
    assert_eq!(server.count("PUT "), 1);

    // The list forgets what is deleted.
    client
        .delete_manifest(&repo, &many[0].digest().clone().into())
        .await
        .unwrap();
    let found = client.referrers(&repo, subject.digest()).await.unwrap();
    assert_eq!(found.len(), 7);
    assert!(found.iter().all(|one| one.digest != *many[0].digest()));
}

#[tokio::test]
async fn the_tag_of_a_referrer_comes_after_its_place_on_the_list() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let signature = attached(&subject, "signature");
    let tag = "signature".parse().unwrap();
    server.clear_log();
    client
        .put_manifest(&repo, &signature, Some(&tag))
        .await
        .unwrap();
    let log = server.log();
    let puts: Vec<&str> = log
        .iter()
        .filter_map(|line| line.strip_prefix("PUT /v2/a/manifests/"))
        .collect();
    let list = format!("sha256-{} 201", subject.digest().hex());
    assert_eq!(
        puts,
        [
            &format!("{} 201", signature.digest()),
            &list,
            "signature 201"
        ]
    );
}

#[tokio::test]
async fn another_writer_s_list_is_not_lost() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let tag = fallback_tag(subject.digest());
    // The first write is acknowledged, and somebody overwrites it at once.
    server.on("PUT", &format!("/manifests/{tag}"), 1, Fault::Status(201));
    let one = attached(&subject, "one");
    client.put_manifest(&repo, &one, None).await.unwrap();
    let found = client.referrers(&repo, subject.digest()).await.unwrap();
    assert_eq!(found, [one.referrer_descriptor()]);

    server.on(
        "PUT",
        &format!("/manifests/{tag}"),
        usize::MAX,
        Fault::Status(201),
    );
    let error = client
        .put_manifest(&repo, &attached(&subject, "two"), None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn only_an_index_that_is_not_the_subject_is_a_list() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let tag = fallback_tag(subject.digest());
    let one = attached(&subject, "one");

    // GitLab gives the subject itself for the tag.
    server
        .store()
        .put_manifest(&repo, &subject, Some(&tag))
        .await
        .unwrap();
    assert!(
        client
            .referrers(&repo, subject.digest())
            .await
            .unwrap()
            .is_empty()
    );
    client.put_manifest(&repo, &one, None).await.unwrap();
    assert_eq!(
        client
            .referrers(&repo, subject.digest())
            .await
            .unwrap()
            .len(),
        1
    );

    // Somebody's own tag is not overwritten.
    server.store().put_blob(&repo, blob("{}")).await.unwrap();
    server
        .store()
        .put_manifest(&repo, &manifest("own"), Some(&tag))
        .await
        .unwrap();
    assert!(
        client
            .referrers(&repo, subject.digest())
            .await
            .unwrap()
            .is_empty()
    );
    let error = client.put_manifest(&repo, &one, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_damaged_list_is_an_error_and_not_none() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let damaged = Fault::Reply {
        status: 200,
        headers: Vec::new(),
        body: b"<html>back soon</html>".to_vec(),
    };
    server.on("GET", "/manifests/sha256-", 1, damaged);
    let error = client.referrers(&repo, subject.digest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{}", error.one_line());
}
