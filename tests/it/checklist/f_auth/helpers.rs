//! Credentials from helper programs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use regmirror::config::{Config, Login};
use regmirror::registry::{HelperName, Helpers, Keychain, Registry};
use regmirror::store::ErrorKind;

use super::{basic, bearer, finds, stored, token};
use crate::support::helper::HelperDir;
use crate::support::{Auth, Fault, TestRegistry, registry_client};

/// A client that asks the helper `test`.
fn client_of(server: &TestRegistry, helpers: impl Into<Arc<Helpers>>, kept: Duration) -> Registry {
    let keychain = Keychain::Helper {
        helpers: helpers.into(),
        name: "test".parse().unwrap(),
        server: None,
        kept,
    };
    registry_client(server, keychain)
}

/// A script that prints this answer.
fn answers(user: &str, secret: &str) -> String {
    format!(
        "echo \"{{\\\"ServerURL\\\":\\\"x\\\",\\\"Username\\\":\\\"{user}\\\",\\\"Secret\\\":\\\"{secret}\\\"}}\""
    )
}

/// The error of a client whose helper is this script.
async fn error_of(script: &str) -> String {
    let server = TestRegistry::start().await;
    server.require_auth(bearer("s3cret"));
    let helpers = HelperDir::new();
    helpers.add("test", script);
    let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
    // What fails is not tried by each who waits.
    let found = join_all((0..3).map(|_| finds(&client, "a"))).await;
    assert_eq!(helpers.asked("test").len(), 1);
    assert_eq!(server.count("GET /token"), 0, "{:?}", server.log());
    let errors = found.into_iter().map(Result::unwrap_err);
    let mut errors = errors.map(|error| {
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        error.one_line()
    });
    let text = errors.next().unwrap();
    assert!(text.contains("docker-credential-test"), "{text}");
    text
}

#[tokio::test]
async fn f10_a_helper_is_asked_once_for_all() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(basic("s3cret"));
    let helpers = HelperDir::new();
    helpers.add("test", &answers("robot", "s3cret"));
    let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
    let found = join_all((0..5).map(|_| finds(&client, "a"))).await;
    assert!(found.into_iter().all(|found| found.unwrap()));
    assert!(finds(&client, "a").await.unwrap());
    assert_eq!(helpers.asked("test"), [server.address()]);
}

#[tokio::test]
async fn f10_an_answer_is_kept_for_its_time() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(basic("s3cret"));
    let helpers = HelperDir::new();
    helpers.add("test", &answers("robot", "s3cret"));
    let client = client_of(&server, helpers.helpers(), Duration::ZERO);
    for _ in 0..3 {
        assert!(finds(&client, "a").await.unwrap());
    }
    assert_eq!(helpers.asked("test").len(), 3);
}

#[tokio::test]
async fn f10_a_registry_that_asks_nobody_costs_no_helper() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    let client = client_of(&server, HelperDir::new().helpers(), Helpers::KEPT);
    assert!(finds(&client, "a").await.unwrap());
}

#[tokio::test]
async fn f10_not_found_is_nobody() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(Auth::Anonymous);
    for script in [
        "echo 'credentials not found in native keychain'; exit 1",
        &answers("", ""),
    ] {
        let helpers = HelperDir::new();
        helpers.add("test", script);
        let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
        assert!(finds(&client, "a").await.unwrap(), "{script}");
    }
}

#[tokio::test]
async fn f10_the_user_token_is_an_identity_token() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(bearer("s3cret"));
    server.accept_token("T1", &["repository:a:pull"]);
    server.on("POST", "/token", 1, token(r#"{"access_token":"T1"}"#));
    let helpers = HelperDir::new();
    helpers.add("test", &answers("<token>", "R"));
    let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
    assert!(finds(&client, "a").await.unwrap());
    assert_eq!(server.count("POST /token"), 1);
}

#[tokio::test]
async fn f10_a_helper_s_failure_is_told_but_no_secret() {
    let text = error_of("printf 'no \\033[31mkeyring\\nhere'; exit 1").await;
    assert!(
        text.contains("says \"no \\u{1b}[31mkeyring\\nhere\""),
        "{text}"
    );
    assert!(text.contains("exit status: 1"), "{text}");
    let text = error_of(&format!("{}; exit 2", answers("u", "canary-1"))).await;
    assert!(text.contains("exit status: 2"), "{text}");
    assert!(!text.contains("canary"), "{text}");
    for script in [
        "echo '{\"Username\":\"u\",\"Secret\":\"canary-2'",
        "echo canary-3",
        "true",
        &answers("", "canary-4"),
        &answers("u", ""),
    ] {
        let text = error_of(script).await;
        assert!(text.contains("docker-credential-test gives"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
    let text = error_of("kill -9 $$").await;
    assert!(text.contains("signal: 9"), "{text}");
}

#[tokio::test]
async fn f10_a_helper_that_talks_without_end_is_stopped() {
    let began = Instant::now();
    let text = error_of("echo $$ > pid; exec tr '\\0' x < /dev/zero").await;
    assert!(text.contains("more than 64 KiB"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let text = error_of("head -c 10485760 /dev/zero").await;
    assert!(text.contains("more than 64 KiB"), "{text}");
}

#[tokio::test]
async fn f10_a_helper_that_hangs_is_stopped_with_all_it_started() {
    let server = TestRegistry::start().await;
    server.require_auth(bearer("s3cret"));
    let helpers = HelperDir::new();
    helpers.add("test", "sleep 300 & echo $! > child; wait");
    // Long enough for the script to come to its end of the line.
    let patience = Duration::from_secs(2);
    let client = client_of(&server, helpers.helpers().within(patience), Helpers::KEPT);
    let error = finds(&client, "a").await.unwrap_err();
    let text = error.one_line();
    assert!(
        text.contains("docker-credential-test did not answer in 2 s"),
        "{text}"
    );
    let child = std::fs::read_to_string(helpers.path().join("child")).unwrap();
    let stat = format!("/proc/{}/stat", child.trim());
    let began = Instant::now();
    // It is gone, or a zombie that nobody has waited for.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(began.elapsed() < Duration::from_secs(20), "it lives on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn f10_a_refused_password_is_asked_for_again_once() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    for auth in [basic("2"), bearer("2")] {
        server.require_auth(auth);
        server.clear_log();
        let helpers = HelperDir::new();
        helpers.add("test", &answers("robot", "$times"));
        let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
        assert!(finds(&client, "a").await.unwrap(), "{:?}", server.log());
        assert_eq!(helpers.asked("test").len(), 2);
    }
    // And then it is refused.
    for auth in [basic("none"), bearer("none")] {
        server.require_auth(auth);
        let helpers = HelperDir::new();
        helpers.add("test", &answers("robot", "$times"));
        let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
        server.clear_log();
        let error = finds(&client, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(helpers.asked("test").len(), 2);
        assert!(server.log().len() <= 3, "{:?}", server.log());
    }
    // That it has none any more is no reason to go on as nobody.
    server.require_auth(bearer("2"));
    let helpers = HelperDir::new();
    let gone = "echo 'credentials not found in native keychain'; exit 1";
    helpers.add(
        "test",
        &format!("[ $times = 1 ] || {{ {gone}; }}\n{}", answers("robot", "1")),
    );
    let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
    server.clear_log();
    finds(&client, "a").await.unwrap_err();
    assert_eq!(server.count("GET /token"), 1, "{:?}", server.log());
}

/// As ECR says it; PROTOCOL's exact text.
const EXPIRED: &str = "Your Authorization Token has expired. \
                       Please run 'aws ecr get-login' to fetch a new one.";

fn expired() -> Fault {
    Fault::reply(403, &[("content-type", "text/plain")], EXPIRED)
}

#[tokio::test]
async fn f5_an_expired_password_is_asked_for_again_once() {
    let server = TestRegistry::start().await;
    server.require_auth(basic("2"));
    let helpers = HelperDir::new();
    helpers.add("test", &answers("robot", "$times"));
    let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
    // The first request is sent without, and asked for a password.
    server.fail_request(1, expired());
    client.ping().await.unwrap();
    let ends = ["401", "403", "200"].map(|end| format!("GET /v2/ {end}"));
    assert_eq!(server.log(), ends);
    assert_eq!(helpers.asked("test").len(), 2);

    // Once is enough.
    server.clear_log();
    server.on("GET", "/v2/", usize::MAX, expired());
    let error = client.ping().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.one_line().contains("has expired"), "{error}");
    assert_eq!(server.log().len(), 2, "{:?}", server.log());
    assert_eq!(helpers.asked("test").len(), 3);
}

#[tokio::test]
async fn f5_a_token_that_has_expired_is_fetched_again() {
    let server = TestRegistry::start().await;
    server.require_auth(bearer("s3cret"));
    let client = registry_client(&server, super::user("s3cret"));
    client.ping().await.unwrap();
    server.clear_log();
    server.on("GET", "/v2/", 1, expired());
    client.ping().await.unwrap();
    assert_eq!(server.count("GET /v2/"), 2, "{:?}", server.log());
    assert_eq!(server.count("GET /token"), 1, "{:?}", server.log());
}

#[tokio::test]
async fn f5_other_refusals_are_final() {
    let server = TestRegistry::start().await;
    server.require_auth(basic("1"));
    let helpers = HelperDir::new();
    helpers.add("test", &answers("robot", "$times"));
    let client = client_of(&server, helpers.helpers(), Helpers::KEPT);
    client.ping().await.unwrap();
    for body in ["Forbidden", ""] {
        server.clear_log();
        server.on("GET", "/v2/", 1, Fault::reply(403, &[], body));
        let error = client.ping().await.unwrap_err();
        assert!(error.one_line().contains(body), "{error}");
        assert_eq!(server.log().len(), 1);
    }
    assert_eq!(helpers.asked("test").len(), 1);
    // Nor is a password that is always the same sent again.
    let fixed = registry_client(&server, super::user("1"));
    fixed.ping().await.unwrap();
    server.clear_log();
    server.on("GET", "/v2/", 1, expired());
    let error = fixed.ping().await.unwrap_err();
    assert!(error.one_line().contains("has expired"), "{error}");
    assert_eq!(server.log().len(), 1);
}

#[test]
fn f10_a_helper_has_a_plain_name() {
    for name in ["ecr-login", "docker-credential-ecr-login"] {
        let parsed: HelperName = name.parse().unwrap();
        assert_eq!(parsed.to_string(), "docker-credential-ecr-login");
        let text = format!("creds: [{{registry: a.io, credHelper: {name}, credExpire: 0s}}]");
        let config = Config::parse(&text, "test").unwrap();
        let login = &config.registries[&"a.io".parse().unwrap()].login;
        let want = Login::Helper {
            name: "ecr-login".to_owned(),
            server: None,
            kept: None,
        };
        assert_eq!(login.as_ref(), Some(&want));
    }
    for name in [
        "",
        "docker-credential-",
        "../x",
        "/bin/sh",
        "a b",
        "a;b",
        "ü",
        "a\nb",
    ] {
        assert!(name.parse::<HelperName>().is_err(), "{name:?}");
        let text = format!("creds: [{{registry: a.io, credHelper: {name:?}}}]");
        if !name.is_empty() {
            let error = Config::parse(&text, "test").unwrap_err().to_string();
            assert!(error.contains("creds[0].credHelper"), "{error}");
        }
    }
}

#[test]
fn f10_the_configuration_s_keys_go_together() {
    let faults = |text: &str| {
        let text = format!("creds: [{{registry: a.io, {text}}}]");
        Config::parse(&text, "test").unwrap_err().to_string()
    };
    let error = faults("credHelper: x, user: u, pass: p, token: t, credExpire: soon");
    for key in ["user", "pass", "token", "credExpire"] {
        assert!(error.contains(&format!("creds[0].{key}")), "{error}");
    }
    let lonely = "creds: [{registry: a.io, credExpire: 1h, credHost: x}]";
    let warnings = Config::parse(lonely, "test").unwrap().warnings;
    let warnings = warnings.to_string();
    assert!(warnings.contains("creds[0].credExpire") && warnings.contains("creds[0].credHost"));
}
