//! What a refusal is answered with, and when that ends.

use std::time::{Duration, Instant};

use futures::future::join_all;
use regmirror::registry::Credential;
use regmirror::store::ErrorKind;

use super::{basic, bearer, challenge, finds, service, stored, user};
use crate::support::{Fault, TestRegistry, registry_client};

#[tokio::test]
async fn f1_the_challenge_that_can_be_answered_is_found() {
    for (guard, text) in [
        (
            bearer("s3cret"),
            "Negotiate, BEARER scope=\"\", Realm = \"REALM\" , service=test",
        ),
        (
            bearer("s3cret"),
            "Basic realm=\"a, \\\"b\\\"\", bearer realm=\"REALM\",service=\"test\"",
        ),
        (basic("s3cret"), "Negotiate, basic realm=\"x\""),
        (
            basic("s3cret"),
            "Bearer realm=\"ftp://x/\", Basic realm=\"x\"",
        ),
    ] {
        let server = TestRegistry::start().await;
        stored(&server, "a").await;
        server.require_auth(guard);
        let realm = format!("http://{}/token", server.address());
        server.on("HEAD", "/a/", 1, challenge(&text.replace("REALM", &realm)));
        let client = registry_client(&server, user("s3cret"));
        assert!(finds(&client, "a").await.unwrap(), "{text}");
        assert_eq!(server.count("HEAD "), 2, "{text}");
    }
    // In two headers.
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(bearer("s3cret"));
    let realm = format!("Bearer realm=\"http://{}/token\"", server.address());
    let headers = [
        ("www-authenticate", "Negotiate"),
        ("www-authenticate", realm.as_str()),
    ];
    server.on("HEAD", "/a/", 1, Fault::reply(401, &headers, ""));
    let client = registry_client(&server, user("s3cret"));
    assert!(finds(&client, "a").await.unwrap());
}

#[tokio::test]
async fn f4_a_refused_token_is_renewed_once() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(bearer("s3cret"));
    let client = registry_client(&server, user("s3cret"));
    finds(&client, "a").await.unwrap();

    let refusal = service(&server, "test");
    server.clear_log();
    server.on("HEAD", "/manifests/", 1, refusal.clone());
    assert!(finds(&client, "a").await.unwrap());
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (2, 1));

    // And then it is a refusal, not a loop.
    server.clear_log();
    server.on("HEAD", "/manifests/", usize::MAX, refusal);
    let error = finds(&client, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (2, 1));
}

/// The token server's clock may be ahead of the registry's.
#[tokio::test]
async fn f4_a_fresh_token_that_is_called_invalid_is_shown_once_more() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(bearer("s3cret"));
    let invalid = challenge(&format!(
        "Bearer realm=\"http://{}/token\",service=\"test\",error=\"invalid_token\"",
        server.address()
    ));
    let client = registry_client(&server, user("s3cret"));
    server.on("HEAD", "/manifests/", 2, invalid.clone());
    let began = Instant::now();
    assert!(finds(&client, "a").await.unwrap());
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (3, 1));
    let seen = server.seen();
    let shown: Vec<_> = seen.iter().filter(|seen| seen.method == "HEAD").collect();
    assert_ne!(shown[1].header("authorization"), "");
    assert_eq!(
        shown[1].header("authorization"),
        shown[2].header("authorization")
    );

    // And no more than that.
    server.clear_log();
    server.on("HEAD", "/manifests/", usize::MAX, invalid);
    let error = finds(&client, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (3, 1));
}

/// Registries such as Docker Hub say so of what is not there.
#[tokio::test]
async fn f4_a_token_that_is_too_weak_is_the_end() {
    let server = TestRegistry::start().await;
    server.require_auth(bearer("s3cret"));
    let weak = challenge(&format!(
        "Bearer realm=\"http://{}/token\",service=\"test\",error=\"insufficient_scope\"",
        server.address()
    ));
    server.on("HEAD", "/manifests/", usize::MAX, weak);
    let client = registry_client(&server, user("s3cret"));
    let error = finds(&client, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (2, 1));
}

#[tokio::test]
async fn f11_odd_realms_get_nothing() {
    for realm in [
        "file:///etc/passwd",
        "//other/token",
        "/token",
        "token",
        "",
        "ftp://other/token",
        "http://user:pass@other/token",
        "javascript:alert(1)",
    ] {
        let server = TestRegistry::start().await;
        server.on(
            "HEAD",
            "/a/",
            usize::MAX,
            challenge(&format!("Bearer realm=\"{realm}\",service=\"test\"")),
        );
        let client = registry_client(&server, user("s3cret"));
        let error = finds(&client, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{realm}");
        let text = error.one_line();
        assert!(text.contains("token server"), "{text}");
        assert!(text.contains(&format!("{realm:?}")), "{text}");
        assert_eq!(server.log().len(), 1, "{:?}", server.log());
    }
}

#[tokio::test]
async fn f12_refused_credentials_are_not_followed_by_none() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(bearer("s3cret"));
    let client = registry_client(&server, user("wrong"));
    let found = join_all((0..5).map(|_| finds(&client, "a"))).await;
    for error in found.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Denied);
        let text = error.one_line();
        assert!(text.contains("refused user \"robot\""), "{text}");
        assert!(
            !text.contains("wrong") && !text.contains("scope="),
            "{text}"
        );
    }
    // The refusal is asked for once by all, and never without credentials.
    let tokens = server.count("GET /token");
    assert!((1..=2).contains(&tokens), "{:?}", server.log());
    let seen = server.seen();
    let tokens = seen.iter().filter(|seen| seen.path.starts_with("/token"));
    for token in tokens {
        assert_ne!(token.header("authorization"), "", "{}", token.path);
    }

    server.require_auth(basic("s3cret"));
    server.clear_log();
    let client = registry_client(&server, user("wrong"));
    for _ in 0..2 {
        let error = finds(&client, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    let seen = server.seen();
    let bare = seen
        .iter()
        .filter(|seen| seen.header("authorization").is_empty());
    // Only to learn what is wanted.
    assert_eq!((bare.count(), seen.len()), (1, 3), "{:?}", server.log());
}

#[tokio::test]
async fn f12_nobody_is_told_that_there_are_no_credentials() {
    let server = TestRegistry::start().await;
    server.require_auth(basic("s3cret"));
    let client = registry_client(&server, Credential::Anonymous);
    let error = finds(&client, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.one_line().contains("no credentials"), "{error}");
    assert_eq!(server.log().len(), 1);
}
