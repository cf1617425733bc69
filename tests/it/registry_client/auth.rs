//! Who gets in, and what it costs.

use futures::future::join_all;
use regmirror::registry::Credential;
use regmirror::store::{ErrorKind, Sink, Source};

use super::{blob, manifest, registry_client, reply, repo, stored, tag};
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
async fn ten_at_once_need_one_token() {
    let server = TestRegistry::start().await;
    stored(&server, "a", "1").await;
    server.require_auth(Auth::Anonymous);
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, tag) = (repo("a"), tag("1"));
    let found = join_all((0..10).map(|_| client.resolve(&repo, &tag))).await;
    assert!(found.into_iter().all(|found| found.unwrap().is_some()));
    assert_eq!(server.count("GET /token"), 1, "{:?}", server.log());

    // For another repository the realm is known, so that there is no 401.
    stored(&server, "b", "1").await;
    server.clear_log();
    client.resolve(&super::repo("b"), &tag).await.unwrap();
    assert_eq!(server.count("HEAD "), 1);
    assert_eq!(server.count("GET /token"), 1);
}

#[tokio::test]
async fn a_token_server_s_refusal_is_asked_for_once_by_all() {
    let server = TestRegistry::start().await;
    stored(&server, "a", "1").await;
    server.require_auth(bearer());
    let client = registry_client(&server, user("wrong"));
    let (repo, tag) = (repo("a"), tag("1"));
    let found = join_all((0..5).map(|_| client.resolve(&repo, &tag))).await;
    for error in found.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Denied);
        let text = error.one_line();
        assert!(text.contains("refused user \"robot\""), "{text}");
        assert!(
            !text.contains("wrong") && !text.contains("scope="),
            "{text}"
        );
    }
    // Never again without credentials.
    let tokens = server.count("GET /token");
    assert!((1..=2).contains(&tokens), "{:?}", server.log());
    assert_eq!(
        server.count("GET /token"),
        server
            .log()
            .iter()
            .filter(|line| line.contains("account=robot"))
            .count()
    );
}

#[tokio::test]
async fn each_request_asks_for_the_rights_it_needs() {
    let server = TestRegistry::start().await;
    server.require_auth(bearer());
    let client = registry_client(&server, user("s3cret"));
    let (a, b) = (repo("a"), repo("b"));
    client.put_blob(&a, blob("{}")).await.unwrap();
    client
        .put_manifest(&a, &manifest("x"), Some(&"1".parse().unwrap()))
        .await
        .unwrap();
    client.resolve(&a, &tag("1")).await.unwrap();
    let empty = blob("{}");
    assert!(client.mount_blob(&b, empty.descriptor(), &a).await.unwrap());
    client.delete_manifest(&a, &tag("1")).await.unwrap();

    let log = server.log();
    let scopes: Vec<_> = log
        .iter()
        .filter(|line| line.starts_with("GET /token"))
        .map(|line| {
            line.split_once("scope=")
                .unwrap()
                .1
                .replace("%3A", ":")
                .replace("%2C", ",")
        })
        .map(|line| line.replace("&account=robot 200", ""))
        .collect();
    assert_eq!(
        scopes,
        [
            "repository:a:pull,push",
            "repository:a:pull",
            "repository:b:pull,push&scope=repository:a:pull",
            "repository:a:delete",
        ],
        "{log:?}"
    );
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let server = TestRegistry::start().await;
    stored(&server, "a", "1").await;
    server.require_auth(bearer());
    let client = registry_client(&server, user("s3cret"));
    let (repo, tag) = (repo("a"), tag("1"));
    client.resolve(&repo, &tag).await.unwrap();

    let challenge = format!("Bearer realm=\"http://{}/token\"", server.address());
    let unauthorized = reply(401, &[("www-authenticate", challenge.as_str())], "");
    server.clear_log();
    server.on("HEAD", "/manifests/", 1, unauthorized.clone());
    assert!(client.resolve(&repo, &tag).await.unwrap().is_some());
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (2, 1));

    // And then it is a refusal, not a loop.
    server.clear_log();
    server.on("HEAD", "/manifests/", usize::MAX, unauthorized);
    let error = client.resolve(&repo, &tag).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (2, 1));
}

/// A 401 that names this token service on `server`.
fn service(server: &TestRegistry, name: &str) -> super::Fault {
    let realm = format!("http://{}/token", server.address());
    let challenge = format!("Bearer realm=\"{realm}\",service=\"{name}\"");
    reply(401, &[("www-authenticate", challenge.as_str())], "")
}

#[tokio::test]
async fn repositories_of_one_registry_may_have_different_token_servers() {
    let server = TestRegistry::start().await;
    stored(&server, "a", "1").await;
    stored(&server, "b", "1").await;
    server.require_auth(bearer());
    let client = registry_client(&server, user("s3cret"));
    let tag = tag("1");
    client.resolve(&repo("a"), &tag).await.unwrap();

    // What is fetched ahead comes from where the other one's came from.
    server.clear_log();
    server.on("HEAD", "/b/", 1, service(&server, "other"));
    assert!(client.resolve(&repo("b"), &tag).await.unwrap().is_some());
    let log = server.log();
    assert_eq!(server.count("HEAD "), 2, "{log:?}");
    assert_eq!(server.count("GET /token?service=test"), 1, "{log:?}");
    assert_eq!(server.count("GET /token?service=other"), 1, "{log:?}");

    // One that names what was just asked for gets no second try, ...
    server.clear_log();
    server.on("HEAD", "/c/", usize::MAX, service(&server, "other"));
    let error = client.resolve(&repo("c"), &tag).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (1, 1));

    // ... and one that always names another is not followed in a circle, even
    // when there are tokens of all of them.
    for name in ["x", "y", "x", "y"] {
        server.on("HEAD", "/a/", 1, service(&server, name));
        let _ = client.resolve(&repo("a"), &tag).await;
    }
    for name in ["x", "y", "x", "y", "x", "y"] {
        server.on("HEAD", "/a/", 1, service(&server, name));
    }
    server.clear_log();
    let error = client.resolve(&repo("a"), &tag).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(server.count("HEAD ") <= 3, "{:?}", server.log());
    assert!(server.count("GET /token") <= 1, "{:?}", server.log());
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
    let served = reply(200, &[("docker-content-digest", digest.as_str())], "");
    let wants_basic = reply(401, &[("www-authenticate", "Basic realm=\"x\"")], "");
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
            reply(401, &[("www-authenticate", challenge)], ""),
        );
        let error = anonymous.resolve(&repo("a"), &tag("1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{challenge}");
    }
    // No challenge, no credentials.
    server.clear_log();
    server.on("HEAD", "/a/", 1, reply(401, &[], ""));
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
    server.on("GET", "/v2/", 1, super::Fault::Status(404));
    let error = registry_client(&server, user("s3cret"))
        .ping()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}
