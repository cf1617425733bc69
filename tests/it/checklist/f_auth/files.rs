//! Credentials from docker's files.

use std::fs;
use std::sync::Arc;

use regmirror::registry::{DockerConfig, Helpers, Keychain, Registry};
use regmirror::store::ErrorKind;

use super::{basic, bearer, finds, stored};
use crate::support::helper::HelperDir;
use crate::support::program::{regmirror, told, with_input};
use crate::support::{TestRegistry, registry_client};

/// A client that signs in with what the files in `folder` say.
fn client_of(server: &TestRegistry, folder: &std::path::Path, helpers: Arc<Helpers>) -> Registry {
    let config = DockerConfig::load_with(helpers, |name| {
        (name == "DOCKER_CONFIG").then(|| folder.into())
    });
    registry_client(server, Keychain::Docker(Arc::new(config.unwrap())))
}

/// The file's text for entries `key`, `user`, `password`.
fn auths(entries: &[(&str, &str, &str)]) -> String {
    let entry = |(key, user, password): &(&str, &str, &str)| {
        format!("\"{key}\": {{\"username\": \"{user}\", \"password\": \"{password}\"}}")
    };
    let entries: Vec<_> = entries.iter().map(entry).collect();
    format!("{{\"auths\": {{{}}}}}", entries.join(","))
}

#[tokio::test]
async fn f8_each_repository_has_the_credential_of_its_path() {
    let server = TestRegistry::start().await;
    for name in ["team/app", "other"] {
        stored(&server, name).await;
    }
    server.require_auth(bearer("s3cret"));
    let folder = tempfile::tempdir().unwrap();
    let address = server.address();
    let text = auths(&[
        (address, "robot", "wrong"),
        (&format!("{address}/team"), "robot", "s3cret"),
    ]);
    fs::write(folder.path().join("config.json"), text).unwrap();
    let client = client_of(&server, folder.path(), Arc::default());
    assert!(finds(&client, "team/app").await.unwrap());
    let error = finds(&client, "other").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(finds(&client, "team/app").await.unwrap());
}

#[tokio::test]
async fn f9_a_changed_file_counts_at_once() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    let folder = tempfile::tempdir().unwrap();
    let write = |password: &str| {
        let text = auths(&[(server.address(), "robot", password)]);
        fs::write(folder.path().join(".dockerconfigjson"), text).unwrap();
    };
    write("first");
    server.require_auth(basic("first"));
    let client = client_of(&server, folder.path(), Arc::default());
    assert!(finds(&client, "a").await.unwrap());
    write("second one");
    server.require_auth(basic("second one"));
    server.clear_log();
    assert!(finds(&client, "a").await.unwrap());
    assert_eq!(server.log().len(), 1, "{:?}", server.log());

    // A token is of the credential that it was asked for with.
    server.require_auth(bearer("second one"));
    assert!(finds(&client, "a").await.unwrap());
    write("third");
    server.require_auth(bearer("third"));
    server.clear_log();
    assert!(finds(&client, "a").await.unwrap());
    assert_eq!((server.count("HEAD "), server.count("GET /token")), (1, 1));
}

#[tokio::test]
async fn f8_a_store_that_knows_nothing_is_followed_by_the_entries() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    server.require_auth(basic("s3cret"));
    let helpers = HelperDir::new();
    helpers.add(
        "empty",
        "echo 'credentials not found in native keychain'; exit 1",
    );
    let text = auths(&[(server.address(), "robot", "s3cret")]);
    let text = text.replacen('{', "{\"credsStore\": \"empty\", ", 1);
    fs::write(helpers.path().join("config.json"), text).unwrap();
    let client = client_of(&server, helpers.path(), helpers.shared());
    assert!(finds(&client, "a").await.unwrap());
    assert_eq!(helpers.asked("empty"), [server.address()]);
}

/// Docker sent the credentials of one registry to another when a helper was
/// not found: CVE-2021-41092.
#[tokio::test]
async fn f8_a_store_that_fails_is_followed_by_nothing() {
    let server = TestRegistry::start().await;
    server.require_auth(basic("s3cret"));
    let helpers = HelperDir::new();
    let text = auths(&[(server.address(), "robot", "s3cret")]);
    let text = text.replacen('{', "{\"credsStore\": \"missing\", ", 1);
    fs::write(helpers.path().join("config.json"), text).unwrap();
    let client = client_of(&server, helpers.path(), helpers.shared());
    let error = finds(&client, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.one_line();
    for shown in [
        "docker-credential-missing is not on the PATH",
        server.address(),
        "config.json",
    ] {
        assert!(text.contains(shown), "{text}");
    }
    assert_eq!(server.log().len(), 1, "{:?}", server.log());
}

/// The whole way, with the real binary: the variable, the files and a helper.
/// Nothing of what they hold shows.
#[tokio::test]
async fn f8_the_program_finds_credentials_where_docker_does() {
    let server = TestRegistry::start().await;
    stored(&server, "a").await;
    let password = "canary-4e1b";
    server.require_auth(bearer(password));
    let address = server.address().to_owned();
    let helpers = HelperDir::new();
    helpers.add(
        "test",
        &format!("echo '{{\"ServerURL\":\"x\",\"Username\":\"robot\",\"Secret\":\"{password}\"}}'"),
    );
    let known = auths(&[(&address, "robot", password)]);
    let other = auths(&[(&address, "robot", "canary-wrong")]);
    let by_helper = format!("{{\"credHelpers\": {{\"{address}\": \"test\"}}}}");
    for (creds, variable, file) in [
        ("", known.as_str(), other.as_str()),
        ("", "", &known),
        ("", "", &by_helper),
        ("credHelper: docker-credential-test", "", &other),
        (
            "credHelper: test, credHost: given, credExpire: 10m",
            "",
            &other,
        ),
    ] {
        fs::write(helpers.path().join("config.json"), file).unwrap();
        let target = helpers.path().join("layout");
        let text = format!(
            "creds:\n- {{registry: \"{address}\", tls: disabled, {creds}}}\n\
             sync:\n- {{source: \"{address}/a:1\", target: \"ocidir://{}:1\", type: image}}\n",
            target.display()
        );
        let mut command = regmirror(&["once", "-c", "-", "-v", "trace"]);
        command
            .env("DOCKER_CONFIG", helpers.path())
            .env("DOCKER_AUTH_CONFIG", variable)
            .env("PATH", helpers.search_path());
        let output = tokio::task::spawn_blocking(move || with_input(command, &text));
        let (code, out, err) = told(&output.await.unwrap());
        assert_eq!(code, 0, "{creds} {variable} {file}: {out}{err}");
        assert!(
            !out.contains("canary") && !err.contains("canary"),
            "{out}{err}"
        );
        fs::remove_dir_all(target).unwrap();
    }
    assert_eq!(helpers.asked("test"), [&address, &address, "given"]);
}
