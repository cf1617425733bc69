//! Who gets in, and what it costs.

use regmirror::registry::Credential;
use regmirror::store::{ErrorKind, Source};

use super::{Fault, registry_client, repo, stored, tag};
use crate::support::{Auth, TestRegistry};

fn user(password: &str) -> Credential {
    Credential::Basic {
        user: "robot".to_owned(),
        password: password.into(),
    }
}

fn basic() -> Auth {
    Auth::Basic {
        user: "robot".to_owned(),
        password: "s3cret".to_owned(),
    }
}

fn bearer() -> Auth {
    Auth::Bearer {
        user: "robot".to_owned(),
        password: "s3cret".to_owned(),
    }
}

#[tokio::test]
async fn basic_is_sent_when_asked_for_and_then_at_once() {
    let server = TestRegistry::start().await;
    let image = stored(&server, "a", "1").await;
    server.require_auth(basic());
    let client = registry_client(&server, user("s3cret"));
    for _ in 0..2 {
        let found = client.resolve(&repo("a"), &tag("1")).await.unwrap();
        assert_eq!(found.as_ref(), Some(image.digest()));
    }
    let head = "HEAD /v2/a/manifests/1";
    assert_eq!(
        server.log(),
        ["401", "200", "200"].map(|end| format!("{head} {end}"))
    );
}

#[tokio::test]
async fn a_registry_may_change_between_basic_and_tokens() {
    let server = TestRegistry::start().await;
    let image = stored(&server, "a", "1").await;
    server.require_auth(basic());
    let client = registry_client(&server, user("s3cret"));
    let (repo, tag) = (repo("a"), tag("1"));
    client.resolve(&repo, &tag).await.unwrap();

    server.require_auth(bearer());
    server.clear_log();
    assert!(client.resolve(&repo, &tag).await.unwrap().is_some());
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (2, 1));

    // And back, for a repository whose token is fetched ahead.
    let digest = image.digest().to_string();
    let served = Fault::reply(200, &[("docker-content-digest", digest.as_str())], "");
    let wants_basic = Fault::reply(401, &[("www-authenticate", "Basic realm=\"x\"")], "");
    server.on("HEAD", "/b/", 1, wants_basic.clone());
    server.on("HEAD", "/b/", 1, served);
    server.clear_log();
    let found = client.resolve(&super::repo("b"), &tag).await.unwrap();
    assert_eq!(found.as_ref(), Some(image.digest()));
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (2, 1));

    // Basic that is refused is not sent again.
    server.on("HEAD", "/c/", usize::MAX, wants_basic);
    server.clear_log();
    let error = client.resolve(&super::repo("c"), &tag).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(server.log().len(), 1, "{:?}", server.log());
}

#[tokio::test]
async fn credentials_do_not_go_where_they_do_not_belong() {
    let server = TestRegistry::start().await;
    let client = registry_client(&server, user("s3cret"));
    for challenge in [
        "Basic realm=\"x\"",
        "Negotiate",
        "Bearer realm=\"ftp://x/\"",
    ] {
        let anonymous = registry_client(&server, Credential::Anonymous);
        server.on(
            "HEAD",
            "/a/",
            1,
            Fault::reply(401, &[("www-authenticate", challenge)], ""),
        );
        let error = anonymous.resolve(&repo("a"), &tag("1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{challenge}");
    }
    // No challenge, no credentials.
    server.clear_log();
    server.on("HEAD", "/a/", 1, Fault::reply(401, &[], ""));
    client.resolve(&repo("a"), &tag("1")).await.unwrap_err();
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_ping_signs_in() {
    let server = TestRegistry::start().await;
    server.require_auth(basic());
    registry_client(&server, user("s3cret"))
        .ping()
        .await
        .unwrap();
    let error = registry_client(&server, user("wrong"))
        .ping()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    server.on("GET", "/v2/", 1, Fault::Status(404));
    let error = registry_client(&server, user("s3cret"))
        .ping()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}
