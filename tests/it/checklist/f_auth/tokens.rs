//! How tokens are asked for, kept and used.

use futures::future::join_all;
use regmirror::oci::MediaType;
use regmirror::registry::Credential;
use regmirror::store::{Blob, ErrorKind, Sink, Source};

use super::{bearer, finds, scopes, service, stored, token, user};
use crate::support::images::{push, push_blob, repo};
use crate::support::{Auth, Fault, TestRegistry, registry_client};

#[tokio::test]
async fn f2_a_token_has_two_names_and_may_be_of_any_age() {
    for body in [
        r#"{"token":"T1"}"#,
        r#"{"access_token":"T1","expires_in":"300"}"#,
        r#"{"token":"T1","access_token":"T2","issued_at":"2009-11-10T23:00:00Z","expires_in":60}"#,
    ] {
        let server = TestRegistry::start().await;
        stored(&server, "a").await;
        server.require_auth(bearer("s3cret"));
        server.accept_token("T1", &["repository:a:pull"]);
        server.on("GET", "/token", 1, token(body));
        let client = registry_client(&server, user("s3cret"));
        for _ in 0..2 {
            assert!(finds(&client, "a").await.unwrap(), "{body}");
        }
        assert_eq!(server.count("GET /token"), 1, "{:?}", server.log());
    }
}

#[tokio::test]
async fn f2_an_answer_without_a_token_is_an_error() {
    let server = TestRegistry::start().await;
    server.require_auth(Auth::Anonymous);
    let client = registry_client(&server, Credential::Anonymous);
    let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(10 << 20));
    for body in [r#"{"token":""}"#, "<html>canary-1f", &long] {
        server.on("GET", "/token", 1, token(body));
        let error = finds(&client, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let text = error.one_line();
        assert!(text.contains("no token from http://"), "{text}");
        assert!(text.len() < 500 && !text.contains("canary-1f"), "{text}");
    }
}

#[tokio::test]
async fn f3_get_unless_there_is_an_identity_token() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(bearer("s3cret"));
    let client = registry_client(&server, user("s3cret"));
    assert!(finds(&client, "a").await.unwrap());
    assert_eq!(server.count("GET /token"), 1);
    assert_eq!(server.count("POST /token"), 0);

    let client = registry_client(&server, Credential::IdentityToken("R".into()));
    server.accept_token("T1", &["repository:a:pull"]);
    server.on("POST", "/token", 1, token(r#"{"access_token":"T1"}"#));
    server.clear_log();
    assert!(finds(&client, "a").await.unwrap());
    let seen = server.seen();
    let asked = seen.iter().find(|seen| seen.path == "/token").unwrap();
    assert_eq!(asked.header("authorization"), "");
    assert_eq!(
        asked.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    assert_eq!(server.count("GET /token"), 0, "{:?}", server.log());
}

#[tokio::test]
async fn f3_a_server_without_post_is_asked_with_get() {
    for status in [400, 401, 404, 405] {
        let server = TestRegistry::start().await;
        stored(&server, "a").await;
        server.require_auth(bearer("s3cret"));
        server.accept_token("T1", &["repository:a:pull"]);
        server.on("POST", "/token", 1, Fault::Status(status));
        server.on("GET", "/token", 1, token(r#"{"token":"T1"}"#));
        let client = registry_client(&server, Credential::IdentityToken("R".into()));
        assert!(finds(&client, "a").await.unwrap(), "{status}");
        let seen = server.seen();
        let asked = seen.iter().find(|seen| seen.path.starts_with("/token?"));
        // The identity token as the password of nobody: base64 of ":R".
        assert_eq!(asked.unwrap().header("authorization"), "Basic OlI=");
    }
    // Any other answer is the answer.
    let server = TestRegistry::start().await;
    server.require_auth(bearer("s3cret"));
    server.on("POST", "/token", 1, Fault::Status(403));
    let client = registry_client(&server, Credential::IdentityToken("R".into()));
    let error = finds(&client, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.one_line().contains("refused the identity token"));
    assert_eq!(server.count("GET /token"), 0, "{:?}", server.log());
}

#[tokio::test]
async fn f6_ten_at_once_need_one_token() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(Auth::Anonymous);
    let client = registry_client(&server, Credential::Anonymous);
    let found = join_all((0..10).map(|_| finds(&client, "a"))).await;
    assert!(found.into_iter().all(|found| found.unwrap()));
    assert_eq!(server.count("GET /token"), 1, "{:?}", server.log());

    // For another repository the realm is known, so that there is no 401.
    stored(&server, "b").await;
    server.clear_log();
    assert!(finds(&client, "b").await.unwrap());
    assert_eq!(server.count("HEAD "), 1);
    assert_eq!(server.count("GET /token"), 1);
}

#[tokio::test]
async fn f6_repositories_of_one_registry_may_have_different_token_servers() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    stored(&server, "b").await;
    server.require_auth(bearer("s3cret"));
    let client = registry_client(&server, user("s3cret"));
    finds(&client, "a").await.unwrap();

    // What is fetched ahead comes from where the other one's came from.
    server.clear_log();
    server.on("HEAD", "/b/", 1, service(&server, "other"));
    assert!(finds(&client, "b").await.unwrap());
    let log = server.log();
    assert_eq!(server.count("HEAD "), 2, "{log:?}");
    assert_eq!(server.count("GET /token?service=test"), 1, "{log:?}");
    assert_eq!(server.count("GET /token?service=other"), 1, "{log:?}");

    // One that names what was just asked for gets no second try, ...
    server.clear_log();
    server.on("HEAD", "/c/", usize::MAX, service(&server, "other"));
    let error = finds(&client, "c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (1, 1));

    // ... and one that always names another is not followed in a circle, even
    // when there are tokens of all of them.
    for name in ["x", "y", "x", "y"] {
        server.on("HEAD", "/a/", 1, service(&server, name));
        let _ = finds(&client, "a").await;
    }
    for name in ["x", "y", "x", "y", "x", "y"] {
        server.on("HEAD", "/a/", 1, service(&server, name));
    }
    server.clear_log();
    let error = finds(&client, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(server.count("HEAD ") <= 3, "{:?}", server.log());
    assert!(server.count("GET /token") <= 1, "{:?}", server.log());
}

#[tokio::test]
async fn f6_one_token_server_s_failure_is_not_another_s() {
    // A server's fault is retried, a refusal is not.
    for (failure, attempts) in [(Fault::Status(503), 3), (Fault::Status(401), 1)] {
        let server = TestRegistry::start().await;
        stored(&server, "a").await;
        stored(&server, "b").await;
        server.require_auth(bearer("s3cret"));
        let client = registry_client(&server, user("s3cret"));
        assert!(finds(&client, "a").await.unwrap());
        server.on("GET", "/token?service=test", usize::MAX, failure);

        // Where it is the one to ask, it is not asked a second time.
        server.clear_log();
        let error = finds(&client, "c").await.unwrap_err().one_line();
        assert!(error.contains("token"), "{error}");
        assert_eq!(server.count("HEAD "), 1, "{:?}", server.log());
        assert_eq!(server.count("GET /token"), attempts, "{:?}", server.log());

        server.on("HEAD", "/b/", 1, service(&server, "other"));
        assert!(finds(&client, "b").await.unwrap(), "{:?}", server.log());
    }
}

/// Server variants that read one `scope` of several only. The copy works all
/// the same, as an upload.
#[tokio::test]
async fn f6_a_mount_that_gets_no_rights_only_costs_an_upload() {
    let granted = |scope: &str| (r#"{"token":"TM"}"#.to_owned(), scope.to_owned());
    for (body, grants) in [
        // The first only, the last only (GitLab), none of them, a refusal.
        granted("repository:b:pull,push"),
        granted("repository:a:pull"),
        granted("repository:other:pull"),
        (String::new(), "repository:a:pull".to_owned()),
    ] {
        let server = TestRegistry::start().await;
        server.require_auth(bearer("s3cret"));
        let layer = push_blob(server.store(), &repo("a"), b"layer").await;
        let other = push_blob(server.store(), &repo("a"), b"other").await;
        server.accept_token("TM", &[&grants]);
        let both = "scope=repository%3Ab%3Apull%2Cpush&scope=repository%3Aa%3Apull";
        let answer = match body.is_empty() {
            true => Fault::Status(401),
            false => token(&body),
        };
        server.on("GET", both, usize::MAX, answer);
        let client = registry_client(&server, user("s3cret"));
        let (a, b) = (repo("a"), repo("b"));
        assert!(!client.mount_blob(&b, &layer, &a).await.unwrap());
        let layer = Blob::from_bytes(MediaType::OCI_LAYER_GZIP, &b"layer"[..]);
        client.put_blob(&b, layer).await.unwrap();

        // There may be a hundred more: it is not asked for again.
        server.clear_log();
        assert!(!client.mount_blob(&b, &other, &a).await.unwrap());
        assert_eq!(server.log(), Vec::<String>::new());
        let other = Blob::from_bytes(MediaType::OCI_LAYER_GZIP, &b"other"[..]);
        client.put_blob(&b, other).await.unwrap();
        assert_eq!(server.count("GET /token"), 0, "{:?}", server.log());
    }
}

#[tokio::test]
async fn f7_each_request_asks_for_the_rights_it_needs() {
    let server = TestRegistry::start().await;
    server.require_auth(bearer("s3cret"));
    let client = registry_client(&server, user("s3cret"));
    let (a, b) = (repo("a"), repo("b"));
    let image = stored(&server, "x").await;
    let layer = push_blob(&client, &a, b"layer").await;
    for blob in image.blobs() {
        let content = server.store().blob(&repo("x"), blob).await.unwrap();
        client.put_blob(&a, content).await.unwrap();
    }
    push(&client, &a, Some("1"), &image).await;
    assert!(finds(&client, "a").await.unwrap());
    assert!(client.mount_blob(&b, &layer, &a).await.unwrap());
    let tag = regmirror::oci::TagOrDigest::Tag("1".parse().unwrap());
    client.delete_manifest(&a, &tag).await.unwrap();
    assert_eq!(
        scopes(&server),
        [
            "repository:a:pull,push",
            "repository:a:pull",
            "repository:b:pull,push repository:a:pull",
            "repository:a:delete",
        ],
        "{:?}",
        server.log()
    );
}
