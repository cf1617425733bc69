//! No secret in anything that is printed.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use regmirror::oci::{Algorithm, Digest};

use crate::support::images::{push_image, repo};
use crate::support::program::regmirror;
use crate::support::{Auth, Fault, TestRegistry};

/// What must not be printed. All of them have this in common.
const CANARY: &str = "canary";

/// Runs a command and gives everything that it printed.
async fn printed(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

fn silent(text: &str, secrets: &[&str]) {
    for secret in secrets.iter().chain([&CANARY]) {
        let shown = text
            .lines()
            .find(|line| line.to_lowercase().contains(&secret.to_lowercase()));
        assert_eq!(shown, None, "{secret} is printed");
    }
}

fn pair(user: &str, password: &str) -> String {
    BASE64_STANDARD.encode(format!("{user}:{password}"))
}

fn once(config: &Path, home: &Path, format: &str) -> Command {
    let config = config.to_str().unwrap();
    let mut command = regmirror(&["once", "-c", config, "-v", "trace", "--log-format", format]);
    command.env("HOME", home);
    command
}

/// A source with tokens whose blobs are with a storage behind signed links, a
/// target with a password from docker's configuration, and everything that can
/// go wrong does so once.
#[tokio::test]
async fn j2_no_secret_is_printed_by_a_run_that_uses_them_all() {
    for format in ["text", "json"] {
        let (source, storage, target) = (
            TestRegistry::start().await,
            TestRegistry::start().await,
            TestRegistry::start().await,
        );
        let app = repo("app");
        push_image(source.store(), &app, Some("1"), &[b"layer"]).await;
        push_image(storage.store(), &app, Some("1"), &[b"layer"]).await;
        source.require_auth(Auth::Bearer {
            user: "reader".to_owned(),
            password: "CANARY-password".to_owned(),
        });
        source.accept_token("CANARY-token", &["repository:app:pull"]);
        let token = "{\"access_token\":\"CANARY-token\",\"refresh_token\":\"CANARY-refresh\"}";
        source.on("GET", "/token", 1, Fault::Status(500));
        source.on("GET", "/token", usize::MAX, Fault::reply(200, &[], token));
        let layer = Digest::of(Algorithm::Sha256, b"layer");
        let signed = format!(
            "http://{}/v2/app/blobs/{layer}?X-Amz-Signature=CANARY-signature",
            storage.address()
        );
        let path = format!("/blobs/{layer}");
        let redirect = Fault::reply(307, &[("location", &signed)], "");
        source.on("GET", &path, usize::MAX, redirect);
        storage.on("GET", &path, 1, Fault::Status(503));
        let busy = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
        storage.on("GET", &path, 1, Fault::reply(403, &[], busy));
        storage.on("GET", &path, 1, Fault::cut(2));
        target.require_auth(Auth::Basic {
            user: "writer".to_owned(),
            password: "CANARY-docker".to_owned(),
        });
        let session = "/v2/app/blobs/uploads/gone?_state=CANARY-state";
        target.on(
            "POST",
            "/uploads/",
            1,
            Fault::reply(202, &[("location", session)], ""),
        );

        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".docker")).unwrap();
        let docker = format!(
            "{{\"auths\":{{\"{}\":{{\"auth\":\"{}\"}}}}}}",
            target.address(),
            pair("writer", "CANARY-docker")
        );
        std::fs::write(home.path().join(".docker/config.json"), docker).unwrap();
        let config = home.path().join("mirror.yml");
        let text = format!(
            "version: 1\ncreds:\n\
             - {{registry: '{source}', tls: disabled, user: reader, pass: CANARY-password}}\n\
             - {{registry: '{target}', tls: disabled}}\n\
             - {{registry: 'nobody.invalid', token: CANARY-identity}}\n\
             sync:\n\
             - {{source: '{source}/app', target: '{target}/app', type: repository}}\n\
             - {{source: '{source}/app:1', target: 'nobody.invalid/app:1', type: image}}\n",
            source = source.address(),
            target = target.address(),
        );
        std::fs::write(&config, text).unwrap();

        let text = printed(once(&config, home.path(), format)).await;
        silent(
            &text,
            &[
                &pair("reader", "CANARY-password"),
                &pair("writer", "CANARY-docker"),
                "X-Amz-Signature",
                "_state=",
            ],
        );
        // They were used, and what happened was told.
        let sent = |server: &TestRegistry, header: &str| {
            let seen = server.seen();
            seen.iter()
                .any(|seen| seen.header("authorization") == header)
        };
        assert!(sent(&source, "Bearer CANARY-token"), "{text}");
        let password = format!("Basic {}", pair("reader", "CANARY-password"));
        assert!(sent(&source, &password), "{text}");
        let password = format!("Basic {}", pair("writer", "CANARY-docker"));
        assert!(sent(&target, &password), "{text}");
        assert!(
            storage
                .seen()
                .iter()
                .any(|seen| seen.path.contains("CANARY-signature"))
        );
        assert!(
            storage
                .seen()
                .iter()
                .all(|seen| seen.header("authorization").is_empty())
        );
        assert!(
            target
                .seen()
                .iter()
                .any(|seen| seen.path.contains("CANARY-state"))
        );
        for told in ["trying again", "copied", "nobody.invalid", "DEBUG"] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
}

/// Wherever it is refused.
#[tokio::test]
async fn j2_no_secret_is_printed_when_it_is_refused() {
    let source = TestRegistry::start().await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("mirror.yml");
    let out = home.path().join("out");
    let says = [
        "token: CANARY-identity",
        "user: reader, pass: CANARY-password",
    ];
    for (said, auth) in [
        (says[0], Auth::Anonymous),
        (
            says[1],
            Auth::Basic {
                user: "x".to_owned(),
                password: "y".to_owned(),
            },
        ),
        (
            says[1],
            Auth::Bearer {
                user: "x".to_owned(),
                password: "y".to_owned(),
            },
        ),
    ] {
        source.require_auth(auth);
        // It repeats what it was sent.
        let echo = "{\"details\":\"no such user: reader\"}";
        source.on("POST", "/token", 1, Fault::reply(403, &[], echo));
        let text = format!(
            "creds: [{{registry: '{source}', tls: disabled, {said}}}]\n\
             sync: [{{source: '{source}/app:1', target: 'ocidir://{out}', type: image}}]\n",
            source = source.address(),
            out = out.display(),
        );
        std::fs::write(&config, text).unwrap();
        let text = printed(once(&config, home.path(), "text")).await;
        silent(&text, &[&pair("reader", "CANARY-password")]);
        assert!(text.contains("FAILED"), "{text}");
        source.heal();
    }
}

/// Wherever it stands in a file that cannot be read.
#[tokio::test]
async fn j2_no_secret_is_printed_of_a_file_that_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("mirror.yml");
    let key = "-----BEGIN PRIVATE KEY-----\\nCANARYcanary\\n-----END PRIVATE KEY-----\\n";
    for creds in [
        "user: reader, pass: CANARY".to_owned(),
        "user: reader, pass: [CANARY]".to_owned(),
        "pass: {CANARY: CANARY}, user: reader".to_owned(),
        "user: reader, pass: CANARY, token: CANARY".to_owned(),
        "pass: CANARY".to_owned(),
        "user: reader, pass: '{{ CANARY }}'".to_owned(),
        format!("clientCert: \"{key}\", clientKey: \"{key}\""),
        format!("regcert: \"{key}\""),
        format!("clientKey: \"{key}\""),
    ] {
        let text = format!("creds: [{{registry: r.test, {creds}}}]\nsync: [{{type: image}}]\n");
        std::fs::write(&config, &text).unwrap();
        let text = printed(once(&config, home.path(), "text")).await;
        silent(&text, &[]);
        assert!(text.contains("sync[0]") || text.contains("creds"), "{text}");
    }

    let folder = home.path().join(".docker");
    std::fs::create_dir(&folder).unwrap();
    let source = TestRegistry::start().await;
    source.require_auth(Auth::Basic {
        user: "x".to_owned(),
        password: "y".to_owned(),
    });
    let good = format!(
        "creds: [{{registry: '{source}', tls: disabled}}]\n\
         sync: [{{source: '{source}/a:1', target: 'ocidir:///nonexistent/a', type: image}}]\n",
        source = source.address()
    );
    std::fs::write(&config, good).unwrap();
    for docker in [
        "{\"auths\":{\"r.test\":{\"auth\":\"CANARY\"}}}",
        "{\"auths\":{\"r.test\":{\"auth\":CANARY}}}",
        "{\"auths\":{\"r.test\":{\"auth\":[\"CANARY\"]}}}",
        "{\"auths\":\"CANARY\"}",
        "CANARY",
    ] {
        let docker = &docker.replace("r.test", source.address());
        std::fs::write(folder.join("config.json"), docker).unwrap();
        let text = printed(once(&config, home.path(), "text")).await;
        silent(&text, &[]);
        assert!(text.contains("config.json"), "{text}");
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        let mut command = once(&config, home.path(), "text");
        command.env("DOCKER_AUTH_CONFIG", docker);
        let text = printed(command).await;
        silent(&text, &[]);
        assert!(text.contains("DOCKER_AUTH_CONFIG"), "{text}");
    }
}
