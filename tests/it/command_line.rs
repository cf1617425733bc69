//! The real binary: what it prints, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use base64::Engine as _;

use crate::support::images::{push_image, push_index, repo, tagged};
use crate::support::program::{regmirror, run, run_with_input, told, with_input};
use crate::support::{Auth, TestRegistry};

/// A configuration that mirrors `team/app` between two registries.
fn config(source: &TestRegistry, target: &TestRegistry) -> String {
    let (source, target) = (source.address(), target.address());
    format!(
        "version: 1\n\
         creds:\n\
         - {{registry: \"{source}\", tls: disabled}}\n\
         - {{registry: \"{target}\", tls: disabled}}\n\
         defaults: {{skipDockerConfig: true}}\n\
         sync:\n\
         - {{name: app, source: \"{source}/team/app\", target: \"{target}/team/app\", type: repository}}\n"
    )
}

/// Runs `once` on a text without blocking the registries of this process.
async fn once(text: &str, more: &'static [&'static str]) -> (i32, String, String) {
    let text = text.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let arguments = [&["once", "-c", "-"], more].concat();
        run_with_input(&arguments, &text)
    });
    told(&output.await.expect("the program ran"))
}

#[test]
fn help_and_version_are_answered() {
    let (code, out, _) = told(&run(&["--help"]));
    assert_eq!(code, 0);
    for command in ["once", "demo", "registry"] {
        assert!(out.contains(&format!("\n  {command}")), "{out}");
    }
    let (code, out, _) = told(&run(&["--version"]));
    assert_eq!(
        (code, out),
        (0, format!("regmirror {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn misuse_is_answered_with_2() {
    for arguments in [
        &["onec"][..],
        &["once", "--mising"],
        &["once"],
        &[],
        &["registry", "serve"],
        &["registry", "serve", "--memory", "--dir", "x"],
        &["once", "-c", "x", "-v", "loud"],
    ] {
        let (code, out, err) = told(&run(arguments));
        assert_eq!(code, 2, "{arguments:?}");
        assert!(
            out.is_empty() && !err.is_empty(),
            "{arguments:?}: {out}{err}"
        );
    }
    let (_, _, err) = told(&run(&["onec"]));
    assert!(err.contains("once"), "a near miss is suggested: {err}");
}

#[test]
fn the_demo_tells_its_story() {
    let (code, out, err) = told(&run(&["demo"]));
    assert_eq!(code, 0, "{out}{err}");
    for line in [
        "7 tags copied",
        "web:1.5.0",
        "referrers",
        "Nothing to do",
        "Not sent again",
    ] {
        assert!(out.contains(line), "{line} is missing in {out}");
    }
    assert!(err.is_empty(), "{err}");
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let mut child = regmirror(&["demo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let mut err = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut err).expect("readable");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn a_configuration_that_cannot_be_used_ends_with_3_and_a_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    for (text, reasons) in [
        ("sync: [", &[":1:8"][..]),
        (
            "sync:\n- source: [x]\n",
            &["sync[0].source", ":2:3", "expected text, found a list"],
        ),
        ("version: 2\n", &["version", "understands 1"]),
        (
            "sync:\n- {source: alpine, target: localhost/alpine, type: imagee}\n",
            &[
                "sync[0].type",
                "`imagee` is not known: expected image, repository or registry",
                "did you mean `image`?",
            ],
        ),
        (
            "sync:\n- {source: Alpine!, target: \"localhost/a:.b\", type: image}\n",
            &["sync[0].source", "sync[0].target"],
        ),
        (
            "sync:\n- {source: alpine, target: localhost/a, type: image, platform: amd64}\n",
            &["sync[0].platform", "is no platform"],
        ),
        (
            "sync:\n- {source: a, target: localhost/a, type: repository, tags: {allow: [\"(\"]}}\n",
            &["sync[0].tags", "unclosed group"],
        ),
        (
            "creds:\n- {registry: h.io, user: me}\n",
            &["creds[0].user", "needs a pass"],
        ),
        (
            "creds:\n- {registry: h.io, user: \"{{envv \\\"X\\\"}}\", pass: y}\n",
            &["creds[0].user", "did you mean `env`?"],
        ),
        (
            "sync:\n- {source: localhost/a:1, target: localhost/a:1, type: image}\n",
            &["sync[0].target", "same as the source"],
        ),
        (
            "defaults: {interval: 60}\nsync: []\n",
            &["defaults.interval", "no duration"],
        ),
    ] {
        let path = folder.path().join("mirror.yml");
        fs::write(&path, text).unwrap();
        let (code, out, err) = told(&run(&["once", "-c", path.to_str().unwrap()]));
        assert_eq!((code, out.as_str()), (3, ""), "{text}: {err}");
        assert!(err.contains("mirror.yml"), "{text}: {err}");
        for reason in reasons {
            assert!(err.contains(reason), "{reason:?} is missing: {err}");
        }
    }
    let (code, _, err) = told(&run(&["once", "-c", "/nonexistent/mirror.yml"]));
    assert_eq!(code, 3);
    assert!(
        err.contains("could not read the configuration /nonexistent/mirror.yml"),
        "{err}"
    );
}

#[test]
fn an_unknown_key_is_named_and_does_not_stop_a_file_that_regsync_takes() {
    let text = "x-mine: 1\ndefaults: {skipDockerConfig: true, parallell: 3}\nsync: []\n";
    let (code, _, err) = told(&run_with_input(&["once", "-c", "-"], text));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("defaults.parallell: no such key"), "{err}");
    assert!(!err.contains("x-mine"), "{err}");
}

#[tokio::test]
async fn once_mirrors_and_says_what_it_did() {
    let (source, target) = (TestRegistry::start().await, TestRegistry::start().await);
    let app = repo("team/app");
    let index = push_index(source.store(), &app, "1.0").await;
    let text = config(&source, &target);

    let (code, out, err) = once(&text, &["--log-format", "json"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("copied") && out.contains("/team/app:1.0 ->"),
        "{out}"
    );
    for line in err.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON log line");
        assert!(line["level"].is_string(), "{line}");
    }
    let arrived = tagged(target.store(), &app, "1.0").await;
    assert_eq!(arrived.as_ref(), Some(index.digest()));

    let (code, out, _) = once(&text, &["-v", "error"]).await;
    assert_eq!(code, 0);
    let row = out.lines().nth(1).expect("a row").split_whitespace();
    assert!(row.eq(["app", "0", "1", "0", "0", "0", "B"]), "{out}");
}

#[tokio::test]
async fn d11_a_failed_tag_ends_with_1_and_the_others_arrive() {
    let (source, target) = (TestRegistry::start().await, TestRegistry::start().await);
    let app = repo("team/app");
    push_image(source.store(), &app, Some("good"), &[b"good"]).await;
    push_image(source.store(), &app, Some("bad"), &[b"bad"]).await;
    let lost = regmirror::oci::Digest::sha256(b"bad");
    regmirror::store::Sink::delete_blob(source.store(), &app, &lost)
        .await
        .unwrap();

    let (code, out, err) = once(&config(&source, &target), &[]).await;
    assert_eq!(code, 1, "{out}{err}");
    let failed: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("FAILED"))
        .collect();
    assert_eq!(failed.len(), 1, "{out}");
    assert!(
        failed[0].contains("team/app:bad") && failed[0].contains(lost.as_str()),
        "{out}"
    );
    assert!(tagged(target.store(), &app, "good").await.is_some());
    assert_eq!(tagged(target.store(), &app, "bad").await, None);
}

#[tokio::test]
async fn missing_leaves_present_tags_alone() {
    let (source, target) = (TestRegistry::start().await, TestRegistry::start().await);
    let app = repo("team/app");
    push_image(source.store(), &app, Some("1"), &[b"new"]).await;
    let old = push_image(target.store(), &app, Some("1"), &[b"old"]).await;
    let (code, out, _) = once(&config(&source, &target), &["--missing"]).await;
    assert_eq!(code, 0, "{out}");
    assert_eq!(
        tagged(target.store(), &app, "1").await.as_ref(),
        Some(old.digest())
    );
}

#[tokio::test]
async fn docker_s_configuration_is_asked_for_credentials_and_they_are_not_printed() {
    let (source, target) = (TestRegistry::start().await, TestRegistry::start().await);
    let app = repo("team/app");
    push_image(source.store(), &app, Some("1"), &[b"x"]).await;
    let (user, password) = ("robot".to_owned(), "canary-7f3a".to_owned());
    source.require_auth(Auth::Bearer {
        user: user.clone(),
        password: password.clone(),
    });
    target.require_auth(Auth::Basic { user, password });
    let text = config(&source, &target).replace("skipDockerConfig: true", "");
    let folder = tempfile::tempdir().unwrap();
    let run = async |password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("robot:{password}"));
        let auths = [source.address(), target.address()]
            .map(|address| format!("\"{address}\": {{\"auth\": \"{auth}\"}}"));
        let docker = format!("{{\"auths\": {{{}}}}}", auths.join(","));
        fs::write(folder.path().join("config.json"), docker).unwrap();
        let (text, folder) = (text.clone(), folder.path().to_owned());
        let output = tokio::task::spawn_blocking(move || {
            let mut command = regmirror(&["once", "-c", "-", "-v", "trace"]);
            command.env("DOCKER_CONFIG", folder);
            with_input(command, &text)
        });
        let (code, out, err) = told(&output.await.expect("the program ran"));
        for secret in [password, auth.as_str()] {
            assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
        }
        (code, out)
    };
    let (code, out) = run("wrong-5d2c").await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("access denied") && out.contains("credentials"),
        "{out}"
    );
    let (code, out) = run("canary-7f3a").await;
    assert_eq!(code, 0, "{out}");
    assert!(tagged(target.store(), &app, "1").await.is_some());
}

/// The embedded registry as a program, killed when dropped.
struct Served {
    child: std::process::Child,
    address: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let serve = ["registry", "serve", "--listen", "127.0.0.1:0"];
        let mut child = regmirror(&[&serve, arguments].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .rsplit("http://")
            .next()
            .expect("an address")
            .to_owned();
        Self { child, address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_served_directory_is_a_mirror_that_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let source = TestRegistry::start().await;
    let app = repo("team/app");
    let index = push_index(source.store(), &app, "1").await;

    let served = Served::start(&["--dir", dir]);
    let text = |target: &str| {
        let from = source.address();
        format!(
            "creds:\n- {{registry: \"{from}\", tls: disabled}}\n- {{registry: \"{target}\", tls: disabled}}\n\
             defaults: {{skipDockerConfig: true}}\n\
             sync:\n- {{source: \"{from}/team/app\", target: \"{target}/team/app\", type: repository}}\n"
        )
    };
    let (code, out, err) = once(&text(&served.address), &[]).await;
    assert_eq!(code, 0, "{out}{err}");
    drop(served);

    let layout = regmirror::layout::LayoutStore::new(folder.path().to_owned());
    assert_eq!(
        tagged(&layout, &app, "1").await.as_ref(),
        Some(index.digest())
    );
    let served = Served::start(&["--dir", dir, "--read-only"]);
    let (code, out, err) = once(&text(&served.address), &[]).await;
    assert_eq!(
        code, 0,
        "nothing to write, so read-only is enough: {out}{err}"
    );
    push_image(source.store(), &app, Some("2"), &[b"more"]).await;
    let (code, out, _) = once(&text(&served.address), &[]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("team/app:2") && out.contains("405"), "{out}");
}

#[test]
fn a_registry_that_cannot_be_served_ends_with_1_and_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = told(&run(&[
        "registry", "serve", "--memory", "--listen", &address,
    ]));
    assert_eq!(code, 1);
    assert!(err.contains(&address) && err.contains("in use"), "{err}");
    let (code, _, err) = told(&run(&["registry", "serve", "--dir", "/nonexistent/dir"]));
    assert_eq!(code, 1);
    assert!(err.contains("/nonexistent/dir is no directory"), "{err}");
}

#[tokio::test]
async fn a_layout_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "not a layout").unwrap();
    let path = folder.path().display();
    let target = TestRegistry::start().await;
    let address = target.address();
    let text = format!(
        "creds:\n- {{registry: \"{address}\", tls: disabled}}\ndefaults: {{skipDockerConfig: true}}\n\
         sync:\n- {{source: \"ocidir://{path}:1\", target: \"{address}/a:1\", type: image}}\n"
    );
    let (code, out, _) = once(&text, &[]).await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains(&path.to_string()) && out.contains("oci-layout"),
        "{out}"
    );
}
