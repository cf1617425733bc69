//! Security and operations.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use regmirror::app::OpenStores;
use regmirror::config::Config;
use regmirror::http::{HostClient, HostOptions, HttpClient, Request, RetryPolicy, Secret, Tls};
use regmirror::oci::{Digest, Draft, MediaType};
use regmirror::registry::{Credential, DockerConfig};
use regmirror::store::{Sink, Source};

use crate::registry_client::{blob, repo, started, stored, tag};
use crate::support::bench::{Bench, failures};
use crate::support::images::{push, push_image, push_index, push_referrer, tagged};
use crate::support::program::{regmirror, run_with_input, told};
use crate::support::{Fault, TestRegistry, registry_client};

const CANARY: &str = "c4nary";

/// Runs a command to its end without blocking the registries of this process:
/// exit code, standard output, standard error.
async fn ended(mut command: Command) -> (i32, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    told(&output.await.unwrap())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn j2_no_secret_shows_when_things_are_printed() {
    let secret = || Secret::from(CANARY);
    let host = || "r.io".parse().unwrap();
    let client = HttpClient::new("test/1").unwrap();
    let mut shown = vec![format!("{:?} {}", secret(), secret())];
    for credential in [
        Credential::Basic {
            user: "u".to_owned(),
            password: secret(),
        },
        Credential::IdentityToken(secret()),
        Credential::RegistryToken(secret()),
    ] {
        shown.push(format!("{credential:?} {credential}"));
        let options = HostOptions::new("r.io");
        let retry = RetryPolicy::none();
        let registry =
            regmirror::registry::Registry::new(host(), &options, credential, &client, retry);
        shown.push(format!("{:?}", registry.unwrap()));
    }
    let text = format!(
        "defaults: {{skipDockerConfig: true}}\n\
         creds:\n- {{registry: r.io, user: u, pass: {CANARY}}}\n- {{registry: s.io, token: {CANARY}}}\n\
         sync:\n- {{source: r.io/a, target: s.io/a, type: image}}\n"
    );
    let config = Config::parse(&text, "test").unwrap();
    shown.push(format!("{config:?}"));
    shown.push(format!(
        "{:?}",
        OpenStores::new(&config, RetryPolicy::none()).unwrap()
    ));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let auths = format!(
        r#"{{"auths":{{"r.io":{{"username":"u","password":"{CANARY}"}},"s.io":{{"identitytoken":"{CANARY}"}}}}}}"#
    );
    fs::write(&file, auths).unwrap();
    let docker = |name: &str| match name {
        "DOCKER_CONFIG" => Some(folder.path().into()),
        _ => None,
    };
    let load = || DockerConfig::load_with(Arc::default(), docker);
    let loaded = load().unwrap();
    shown.push(format!("{loaded:?}"));
    // Nor do its errors quote what is in it.
    fs::write(
        &file,
        format!(r#"{{"auths":{{"r.io":{{"auth":7,"password":"{CANARY}"}}}}}}"#),
    )
    .unwrap();
    let broken = load().unwrap_err();
    shown.push(format!("{broken} {broken:?}"));

    for text in shown {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn j2_requests_and_answers_are_printed_without_what_may_be_signed() {
    let server = TestRegistry::start().await;
    let location = format!("https://s.example/x?X-Amz-Signature={CANARY}");
    server.on(
        "GET",
        "/v2/",
        1,
        Fault::reply(307, &[("location", location.as_str())], ""),
    );
    let url = format!("http://{}/v2/?sig={CANARY}", server.address());
    let url: reqwest::Url = url.parse().unwrap();
    let client = HttpClient::new("test/1").unwrap();
    let options = HostOptions::new(server.address()).with_tls(Tls::Disabled);
    let host = HostClient::new(&client, url.clone(), &options, RetryPolicy::none());
    let mut request = Request::new("test", http::Method::GET, url);
    let before = format!("{request:?}");
    let answer = format!("{:?}", host.send(&mut request).await.unwrap());
    assert!(
        before.contains("/v2/") && answer.contains("307"),
        "{before} {answer}"
    );
    for text in [before, answer] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn j2_errors_name_urls_without_their_query() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    let layer = blob("layer").descriptor().clone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = taken.local_addr().unwrap();
    drop(taken);
    let address = server.address();
    let locations = [
        format!("http://{closed}/x?X-Amz-Signature={CANARY}"),
        format!("http://{address}/v2/b/blobs/{}?sig={CANARY}", layer.digest),
        format!("http://u:{CANARY}@{address}/?sig={CANARY}"),
        format!("ftp://{address}/?sig={CANARY}#{CANARY}"),
        format!("http://[/?sig={CANARY}"),
    ];
    let mut errors = Vec::new();
    for location in &locations {
        let redirect = Fault::reply(307, &[("location", location.as_str())], "");
        server.on("GET", "/a/blobs/", 1, redirect.clone());
        errors.push(client.blob(&repo("a"), &layer).await.unwrap_err());
        server.on("GET", "/manifests/", 1, redirect);
        errors.push(
            client
                .manifest(&repo("a"), image.digest())
                .await
                .unwrap_err(),
        );
        let session = Fault::reply(202, &[("location", location.as_str())], "");
        // One that is not there is asked for again.
        server.on("POST", "/uploads/", usize::MAX, session);
        errors.push(client.put_blob(&repo("a"), blob("new")).await.unwrap_err());
        server.heal();
    }
    let challenges = [
        format!("Bearer realm=\"http://{closed}/token?key={CANARY}\""),
        format!("Bearer realm=\"ftp://{address}/token?key={CANARY}\""),
        format!("Bearer realm=\"http://{address}/token?key={CANARY}\""),
        format!("Bearer realm=\"http://u:{CANARY}@{address}/token\""),
    ];
    for challenge in &challenges {
        let headers = [("www-authenticate", challenge.as_str())];
        server.on("HEAD", "/manifests/", 1, Fault::reply(401, &headers, ""));
        let fresh = registry_client(&server, Credential::Anonymous);
        errors.push(fresh.resolve(&repo("a"), &tag("1")).await.unwrap_err());
    }
    assert_eq!(errors.len(), 19);
    for error in errors {
        let text = format!("{} {error:?}", error.one_line());
        assert!(!text.contains(CANARY), "{text}");
        // What server it was is told all the same.
        assert!(text.contains("127.0.0.1"), "{text}");
    }
}

/// A line that is not ours, and ways to hide the rest of it.
const HOSTILE: &str = "\u{1b}[31m\nFAKE line\r\u{8}\u{9b}31m\u{202e}drowssap\u{2066}";

/// What may stand in a header of it: HTTP has no room for the rest.
const HOSTILE_HEADER: &str = "FAKE \u{9b}31m\u{202e}drowssap\u{2066}";

fn deceives(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A source that is hostile wherever a server's text is shown, and jobs that
/// run into all of it.
async fn hostile(bench: &Bench) -> String {
    let (source, app) = (&bench.source, repo("app"));
    let errors = |code: &str| {
        let error =
            serde_json::json!({"code": code, "message": HOSTILE, "detail": {HOSTILE: HOSTILE}});
        serde_json::json!({ "errors": [error] }).to_string()
    };
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let image = |own: &str, config: &str| {
        serde_json::json!({
            "schemaVersion": 2,
            "mediaType": own,
            "config": {"mediaType": "a/b", "size": 2, "digest": config},
            "layers": [],
        })
        .to_string()
    };
    let empty = Digest::sha256(b"{}").to_string();
    let page = serde_json::json!({"tags": ["1", format!("../{HOSTILE}")]}).to_string();
    let challenge = format!("Bearer realm=\"ftp://{HOSTILE_HEADER}/\"");
    let warning = format!("299 - \"{HOSTILE_HEADER}\"");
    let announced = format!("text/{HOSTILE_HEADER}");
    let away = format!("http://127.0.0.1:1/{HOSTILE_HEADER}");
    let answers = [
        ("json", Fault::reply(403, &[], errors("DENIED"))),
        ("code", Fault::reply(403, &[], errors(HOSTILE))),
        ("plain", Fault::reply(403, &[], HOSTILE)),
        (
            "own-type",
            Fault::reply(200, &[], image(&format!("a/{HOSTILE}"), &empty)),
        ),
        (
            "type",
            Fault::reply(
                200,
                &[("content-type", announced.as_str())],
                image(kind, &empty),
            ),
        ),
        (
            "digest",
            Fault::reply(200, &[], image(kind, &format!("sha256:{HOSTILE}"))),
        ),
        (
            "form",
            Fault::reply(
                200,
                &[],
                format!("{{\"config\":{}}}", serde_json::json!(HOSTILE)),
            ),
        ),
        (
            "realm",
            Fault::reply(401, &[("www-authenticate", challenge.as_str())], ""),
        ),
        (
            "location",
            Fault::reply(307, &[("location", away.as_str())], ""),
        ),
        (
            "warning",
            Fault::reply(403, &[("warning", warning.as_str())], ""),
        ),
    ];
    let mut entries = vec!["source: SOURCE/app, target: TARGET/app, type: repository".to_owned()];
    for (name, answer) in answers {
        source.on("HEAD", &format!("/manifests/{name}"), 9, Fault::Status(405));
        source.on("GET", &format!("/manifests/{name}"), 9, answer);
        entries.push(format!(
            "source: 'SOURCE/app:{name}', target: 'TARGET/app:{name}', type: image"
        ));
    }
    source.on("GET", "/tags/list", 9, Fault::reply(200, &[], page));
    // Annotations are for others, and copied as they are.
    let config = regmirror::oci::Descriptor::empty();
    let empty = regmirror::store::Blob::from_bytes(MediaType::OCI_EMPTY, b"{}".to_vec());
    source.store().put_blob(&app, empty).await.unwrap();
    let annotated = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [],
        "annotations": {HOSTILE: HOSTILE},
    });
    let annotated = regmirror::oci::Manifest::parse(annotated.to_string().into(), None).unwrap();
    push(source.store(), &app, Some("1"), &annotated).await;
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    bench.config(&entries)
}

#[tokio::test]
async fn j3_a_server_s_text_neither_starts_a_line_nor_colours_one() {
    for format in ["text", "json"] {
        let bench = Bench::new().await;
        let text = hostile(&bench).await;
        let run = move || {
            let arguments = ["once", "-c", "-", "-v", "trace", "--log-format", format];
            told(&run_with_input(&arguments, &text))
        };
        let (code, out, err) = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!(code, 1, "{out}{err}");
        for (stream, text) in [("out", &out), ("err", &err)] {
            assert!(!text.chars().any(deceives), "{format} {stream}: {text:?}");
            assert!(
                text.contains("FAKE"),
                "{format} {stream}: told, but escaped: {text}"
            );
        }
        let failed: Vec<&str> = out
            .lines()
            .filter(|line| line.starts_with("FAILED"))
            .collect();
        assert_eq!(failed.len(), 10, "{out}");
        assert!(out.contains("copied  "), "{out}");
        assert!(out.lines().all(|line| !line.starts_with("FAKE")), "{out}");
        for line in err.lines() {
            match format {
                "json" => {
                    let event: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert!(event["level"].is_string(), "{line}");
                }
                _ => assert!(line.starts_with("20"), "{line}"),
            }
        }
        assert!(
            err.contains("names that are not valid were left out"),
            "{err}"
        );
        assert!(err.contains(" warns: FAKE"), "{err}");
        let longest = out.lines().chain(err.lines()).map(str::len).max();
        assert!(longest < Some(4096), "{longest:?}");
    }
}

/// What is refused may be quoted, and be as long as a server likes.
#[tokio::test]
async fn j3_a_server_s_text_is_cut() {
    let long = "x".repeat(1 << 20);
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    let kind = format!("a/{long}");
    let announced = [("content-type", "application/vnd.oci.image.index.v1+json")];
    let answers = [
        (
            "long",
            Fault::reply(200, &[], format!(r#"{{"config":"{long}"}}"#)),
        ),
        (
            "type",
            Fault::reply(200, &announced, format!(r#"{{"mediaType":"{kind}"}}"#)),
        ),
        ("text", Fault::reply(403, &[], long.as_str())),
    ];
    let mut entries = Vec::new();
    for (name, answer) in answers {
        bench.source.on("HEAD", name, 9, Fault::Status(405));
        bench.source.on("GET", name, 9, answer);
        entries.push(format!(
            "source: 'SOURCE/app:{name}', target: 'TARGET/app:{name}', type: image"
        ));
    }
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let failed = failures(&bench.run(&entries).await);
    assert_eq!(failed.len(), 3);
    for line in failed {
        assert!(
            line.len() < 4096 && line.contains("xxx"),
            "{} bytes",
            line.len()
        );
        assert!(
            line.contains("; check ") || line.contains("; see "),
            "the way out: {line}"
        );
    }

    let names = serde_json::json!({ "tags": [format!("/{long}")] }).to_string();
    let (server, client) = started().await;
    server.on("GET", "/tags/list", 1, Fault::reply(200, &[], names));
    let repo = repo("a");
    let mut pages = client.tags(&repo);
    let page = futures::TryStreamExt::try_next(&mut pages).await.unwrap();
    let refused = &page.unwrap().refused[0];
    assert!(refused.starts_with("/xxx") && refused.len() < 400);
}

#[test]
fn j4_a_pattern_that_would_fill_the_memory_is_a_fault() {
    for pattern in [
        "(a{1000}){1000}",
        "((a{1000}){1000}){1000}",
        "(?:\\pL{500}){500}",
    ] {
        let text = format!(
            "sync:\n- {{source: r.test/a, target: t.test/a, type: repository, tags: {{allow: ['{pattern}']}}}}\n"
        );
        let (code, out, err) = told(&run_with_input(&["once", "-c", "-"], &text));
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(err.contains("sync[0].tags.allow[0]: "), "{err}");
        assert!(err.contains("is no usable pattern"), "{err}");
        assert!(err.contains("size"), "says why: {err}");
    }
}

#[tokio::test]
async fn j5_unknown_keys_are_told_with_their_place() {
    let text = "colour: red\nx-mine: {a: b}\nsync: []\n\
                creds:\n- {registry: r.test, passs: x}\n\
                defaults: {skipDockerConfig: true, paralel: 3}\n";
    let (code, _, err) = told(&run_with_input(&["once", "-c", "-"], text));
    assert_eq!(code, 0, "regsync takes such a file: {err}");
    for key in ["colour", "creds[0].passs", "defaults.paralel"] {
        let told = format!("{key}: no such key; it has no effect");
        assert!(err.contains(&told), "{key}: {err}");
    }
    assert!(!err.contains("x-mine"), "{err}");
}

#[tokio::test]
async fn j5_a_secret_that_all_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (file, docker) = (
        folder.path().join("mirror.yml"),
        folder.path().join("docker"),
    );
    fs::create_dir(&docker).unwrap();
    let auths = docker.join("config.json");
    fs::write(&auths, r#"{"auths":{"r.test":{"auth":"dTpw"}}}"#).unwrap();
    for path in [folder.path(), &docker] {
        mode(path, 0o755);
    }
    let secret = "creds:\n- {registry: r.test, user: u, pass: p}\nsync: []\n";
    for (text, own, docker_s, told) in [
        (secret, 0o644, 0o600, &[&file][..]),
        (secret, 0o600, 0o644, &[&auths]),
        (secret, 0o644, 0o644, &[&file, &auths]),
        (secret, 0o640, 0o600, &[]),
        ("sync: []\n", 0o644, 0o600, &[]),
        (
            "creds:\n- {registry: r.test, tls: disabled}\nsync: []\n",
            0o644,
            0o600,
            &[],
        ),
    ] {
        fs::write(&file, text).unwrap();
        mode(&file, own);
        mode(&auths, docker_s);
        let mut command = regmirror(&["once", "-c", file.to_str().unwrap()]);
        command.env("DOCKER_CONFIG", &docker);
        let (code, _, err) = ended(command).await;
        assert_eq!(code, 0, "{err}");
        let warned: Vec<&str> = err.lines().filter(|line| line.contains("chmod")).collect();
        assert_eq!(warned.len(), told.len(), "{own:o} {docker_s:o}: {err}");
        for (line, file) in warned.iter().zip(told) {
            let way_out = format!("chmod 600 {}", file.display());
            assert!(line.contains("WARN") && line.ends_with(&way_out), "{line}");
        }
    }
}

#[test]
fn j7_the_registry_listens_on_loopback_unless_told() {
    let mut child = regmirror(&["registry", "serve", "--memory"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut said).unwrap();
    let _ = child.kill();
    child.wait().unwrap();
    // Somebody may have the port. Then that is said, of the same address.
    let mut err = child.stderr.take().unwrap();
    err.read_to_string(&mut said).unwrap();
    assert!(said.contains("127.0.0.1:5000"), "{said}");
}

/// As in a container: no user of the system, nothing that can be written but
/// the layout.
#[tokio::test]
async fn j8_nothing_is_written_but_the_layout() {
    const NOBODY: u32 = 65532;
    let bench = Bench::new().await;
    let index = push_index(bench.source.store(), &repo("app"), "1").await;
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for name in ["home", "tmp", "cwd", "run", "layout"] {
        fs::create_dir(place(name)).unwrap();
    }
    let program = place("regmirror");
    fs::copy(env!("CARGO_BIN_EXE_regmirror"), &program).unwrap();
    let layout = place("layout");
    let to_layout = format!(
        "source: 'SOURCE/app:1', target: 'ocidir://{}/app:1', type: image",
        layout.display()
    );
    let to_registry = "source: SOURCE/app, target: TARGET/app, type: repository, referrers: true";
    let config = place("mirror.yml");
    fs::write(&config, bench.config(&[&to_layout, to_registry])).unwrap();
    let mut command = Command::new(&program);
    // Only root can become somebody else; anybody else is nobody already.
    if rustix::process::geteuid().is_root() {
        chown(&layout, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    for name in ["home", "tmp", "cwd", "run"] {
        mode(&place(name), 0o555);
    }
    mode(folder.path(), 0o555);
    command
        .args(["once", "-v", "trace", "-c"])
        .arg(&config)
        .env_clear()
        .env("HOME", place("home"))
        .env("TMPDIR", place("tmp"))
        .env("XDG_RUNTIME_DIR", place("run"))
        .current_dir(place("cwd"))
        .stdin(Stdio::null());
    let (code, out, err) = ended(command).await;
    mode(folder.path(), 0o755);
    assert_eq!(code, 0, "{out}{err}");
    for name in ["home", "tmp", "cwd", "run"] {
        assert_eq!(fs::read_dir(place(name)).unwrap().count(), 0, "{name}");
    }
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    names.retain(|entry| entry.as_ref().unwrap().file_name() != "layout");
    assert_eq!(names.len(), 6, "{names:?}");
    let arrived = tagged(bench.target.store(), &repo("app"), "1").await;
    assert_eq!(arrived.as_ref(), Some(index.digest()));
    assert!(layout.join("app/index.json").is_file());
}

#[tokio::test]
async fn j10_nothing_is_ever_deleted_at_a_target() {
    let job =
        "source: SOURCE/app, target: TARGET/app, type: repository, referrers: true, backup: old";
    for with_api in [true, false] {
        let bench = Bench::new().await;
        let (store, app) = (bench.source.store(), repo("app"));
        if !with_api {
            bench.source.forget_referrers();
            bench.target.forget_referrers();
        }
        for name in ["changed", "gone", "kept"] {
            let image = push_image(store, &app, Some(name), &[name.as_bytes()]).await;
            let referrer = push_referrer(store, &app, &image, "application/vnd.example").await;
            if !with_api {
                let list = Draft::index(&[referrer.referrer_descriptor()]).build();
                let tag = regmirror::oci::fallback_tag(image.digest());
                push(store, &app, Some(tag.as_str()), &list).await;
            }
        }
        let before = push_image(store, &app, Some("changed"), &[b"before"]).await;
        assert_eq!(failures(&bench.run(&[job]).await), Vec::<String>::new());

        push_image(store, &app, Some("changed"), &[b"after"]).await;
        for name in ["gone", "kept"] {
            let found = tagged(store, &app, name).await.unwrap();
            let referrers = store.referrers(&app, &found).await.unwrap();
            for referrer in referrers {
                store
                    .delete_manifest(&app, &referrer.digest.into())
                    .await
                    .unwrap();
            }
        }
        store.delete_manifest(&app, &tag("gone")).await.unwrap();
        let summary = bench.run(&[job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_eq!(summary.totals.copied, 1);

        let (target, log) = (bench.target.store(), bench.target.log());
        let deleted = |line: &&String| line.starts_with("DELETE ") && !line.contains("/uploads/");
        assert_eq!(log.iter().find(deleted), None);
        assert_eq!(bench.source.count("DELETE "), 0);
        assert!(tagged(target, &app, "gone").await.is_some());
        let old = before.digest().clone().into();
        assert!(target.resolve(&app, &old).await.unwrap().is_some());
        for name in ["gone", "kept"] {
            let found = tagged(target, &app, name).await.unwrap();
            let referrers = target.referrers(&app, &found).await.unwrap();
            assert_eq!(referrers.len(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn j13_a_warning_is_told_once_and_nothing_done_about_it() {
    let bench = Bench::new().await;
    for name in ["1", "2", "3"] {
        let image = push_image(bench.source.store(), &repo("app"), Some(name), &[b"x"]).await;
        let digest = image.digest().to_string();
        for registry in [&bench.source, &bench.target] {
            let headers = [
                ("docker-content-digest", digest.as_str()),
                (
                    "warning",
                    "299 - \"it ends \u{202e}soon\", 199 - \"for caches\"",
                ),
                ("warning", "299 - \"delete everything\""),
            ];
            let path = format!("/manifests/{name}");
            registry.on("HEAD", &path, 9, Fault::reply(200, &headers, ""));
        }
    }
    let job = "source: SOURCE/app, target: TARGET/app, type: repository";
    let text = bench.config(&[job]);
    let run = move || told(&run_with_input(&["once", "-c", "-"], &text));
    let (code, out, err) = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(
        err.lines().filter(|line| line.contains("WARN")).count(),
        4,
        "{err}"
    );
    for registry in [&bench.source, &bench.target] {
        for text in ["it ends \\u{202e}soon", "delete everything"] {
            let told = format!("{} warns: {text}", registry.address());
            assert_eq!(err.matches(&told).count(), 1, "{told}: {err}");
        }
        assert_eq!(registry.count("DELETE "), 0);
    }
    assert!(!err.contains("for caches"), "{err}");
}

#[tokio::test]
async fn j13_warnings_are_kept_for_the_end_of_a_run() {
    let (server, client) = started().await;
    assert_eq!(client.warnings(), Vec::<String>::new());
    for text in ["one", "two", "one"] {
        let warning = format!("299 - \"{text}\"");
        let headers = [("warning", warning.as_str())];
        server.on("HEAD", "/manifests/", 1, Fault::reply(404, &headers, ""));
        let found = client.resolve(&repo("a"), &tag("1")).await.unwrap();
        assert_eq!(found, None);
    }
    assert_eq!(client.clone().warnings(), ["one", "two"]);
    // What a host says that the registry led to is not the registry's word.
    let storage = TestRegistry::start().await;
    let away = format!("http://{}/v2/a/manifests/1", storage.address());
    server.on(
        "HEAD",
        "/manifests/",
        1,
        Fault::reply(307, &[("location", away.as_str())], ""),
    );
    storage.on(
        "HEAD",
        "/manifests/",
        1,
        Fault::reply(404, &[("warning", "299 - \"x\"")], ""),
    );
    client.resolve(&repo("a"), &tag("1")).await.unwrap();
    assert_eq!(client.warnings(), ["one", "two"]);
}
