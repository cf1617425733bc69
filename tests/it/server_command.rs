//! `regmirror server`: runs jobs when they are due, reads its configuration again,
//! and ends when it is told to.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use crate::support::Fault;
use crate::support::bench::Bench;
use crate::support::daemon::Server;
use crate::support::images::{arrives, push_image, repo, tagged};
use crate::support::program::{Program, regmirror, told};

const ALL: &str =
    "name: app, source: SOURCE/app, target: TARGET/app, type: repository, interval: 1s";

async fn push(bench: &Bench, name: &str) {
    let app = repo("app");
    push_image(bench.source.store(), &app, Some(name), &[name.as_bytes()]).await;
}

#[tokio::test]
async fn jobs_run_when_they_are_due_and_again() {
    let bench = Bench::new().await;
    push(&bench, "1").await;
    let server = Server::start(bench.program(&[ALL], &["server"]));
    arrives(&bench.target, "app", "1").await;
    push(&bench, "2").await;
    arrives(&bench.target, "app", "2").await;
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
}

#[tokio::test]
async fn a_configuration_that_nothing_comes_of_is_3() {
    let bench = Bench::new().await;
    let job = ALL.replace(", interval: 1s", "");
    let (code, out, err) = bench.program(&[&job], &["server"]).run().await;
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        err.contains("no job has an `interval` or a `schedule`"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
    let (code, _, err) = Program::new("sync: {", &["server"]).run().await;
    assert_eq!(code, 3, "{err}");
}

#[tokio::test]
async fn a_signal_finishes_or_drops_what_is_under_way_and_is_0() {
    for (timeout, arrived) in [("100s", true), ("50ms", false)] {
        let bench = Bench::new().await;
        push(&bench, "1").await;
        bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
        let arguments = ["server", "--drain-timeout", timeout];
        let mut server = Server::start(bench.program(&[ALL], &arguments));
        bench.target.held().await;
        server.signal(Signal::TERM);
        server.says("a second signal stops at once").await;
        if arrived {
            bench.target.release();
        } else {
            server.says("did not end within 0.05 s").await;
        }
        assert_eq!(server.end().await, 0, "{timeout}");
        let there = tagged(bench.target.store(), &repo("app"), "1").await;
        assert_eq!(there.is_some(), arrived, "{timeout}");
        bench.target.release();
    }
}

/// The program with its configuration in a directory as the kubelet keeps one.
fn mounted(text: &str, arguments: &[&str]) -> Program {
    let program = Program::new("", arguments);
    let dir = program.folder.path().join("mounted");
    std::fs::create_dir(&dir).unwrap();
    // What the program is given otherwise leads there too.
    let usual = program.folder.path().join("mirror.yml");
    std::fs::remove_file(&usual).unwrap();
    symlink("mounted/..data/config.yml", usual).unwrap();
    swap(program.folder.path(), "..first", text);
    program
}

fn swap(folder: &Path, version: &str, text: &str) {
    let dir = folder.join("mounted");
    std::fs::create_dir(dir.join(version)).unwrap();
    std::fs::write(dir.join(version).join("config.yml"), text).unwrap();
    symlink(version, dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

#[tokio::test]
async fn a_swap_of_a_config_map_is_seen_and_a_bad_one_changes_nothing() {
    let bench = Bench::new().await;
    push(&bench, "1").await;
    let text = bench.config(&[ALL]);
    let arguments = ["server", "--reload-interval", "50ms"];
    let mut server = Server::start(mounted(&text, &arguments));
    arrives(&bench.target, "app", "1").await;

    let folder = server.program.folder.path().to_owned();
    swap(&folder, "..bad", "sync: [");
    let line = server.says("ERROR").await;
    assert!(line.contains("mirror.yml:1:"), "{line}");
    server.says("the one before stays").await;
    push(&bench, "2").await;
    arrives(&bench.target, "app", "2").await;

    swap(&folder, "..idle", &text.replace(", interval: 1s", ""));
    server.says("no job has an `interval`").await;

    let elsewhere = text.replace("/app, type", "/moved, type");
    swap(
        &folder,
        "..good",
        &elsewhere.replace("name: app", "name: moved"),
    );
    server.says("the configuration was read again").await;
    arrives(&bench.target, "moved", "2").await;
    server.signal(Signal::INT);
    assert_eq!(server.end().await, 0);
}

#[tokio::test]
async fn a_hangup_has_the_configuration_read_again() {
    let bench = Bench::new().await;
    push(&bench, "1").await;
    let arguments = ["server", "--reload-interval", "0"];
    let mut server = Server::start(bench.program(&[ALL], &arguments));
    arrives(&bench.target, "app", "1").await;
    let path = server.program.folder.path().join("mirror.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    let target = format!("{}/app", bench.target.address());
    let moved = format!("{}/moved", bench.target.address());
    std::fs::write(&path, text.replace(&target, &moved)).unwrap();
    server.signal(Signal::HUP);
    server.says("the configuration was read again").await;
    arrives(&bench.target, "moved", "1").await;
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
}

/// A job that nobody runs but who asks for it.
const SELDOM: &str =
    "name: app, source: SOURCE/app, target: TARGET/app, type: repository, schedule: '0 0 1 1 *'";

#[tokio::test]
async fn what_it_cannot_have_is_told_in_one_line() {
    let bench = Bench::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for (arguments, wanted, part) in [
        (["--http-addr", taken.as_str()], 1, taken.as_str()),
        (["--admin-token-file", "none"], 3, "none"),
        (["--state-dir", "mirror.yml"], 1, "mirror.yml"),
        (["--state-dir", "/proc/none"], 1, "/proc/none"),
    ] {
        let mut program = bench.program(&[SELDOM], &["server"]);
        program.command.args(arguments);
        if arguments[0] != "--http-addr" {
            program.command.args(["--http-addr", "127.0.0.1:0"]);
        }
        let (code, out, err) = program.run().await;
        assert_eq!((code, out.as_str()), (wanted, ""), "{err}");
        assert!(err.contains(part) && err.lines().count() == 1, "{err}");
    }
    drop(listener);
}

#[tokio::test]
async fn what_is_known_outlives_the_process() {
    let bench = Bench::new().await;
    push(&bench, "1").await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state").display().to_string();
    let start = || Server::with_token(bench.program(&[SELDOM], &["server", "--state-dir", &dir]));
    let mut server = start();
    let id = server.run_job("app").await["run_id"].clone();
    server.post("/api/v1/jobs/app/pause").await;
    let before = server.get("/api/v1/jobs/app").await;
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);

    let mut server = start();
    let after = server
        .until("/api/v1/jobs/app", |job| job["running"].is_null())
        .await;
    assert!(before["last_success"].is_string(), "{before}");
    for member in ["last_success", "last_run", "tags", "paused", "state"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    let run = server
        .get(&format!("/api/v1/runs/{}", id.as_str().unwrap()))
        .await;
    assert_eq!(run["result"], "success");
    let text = server.metrics().await;
    let zero = "regmirror_sync_last_success_timestamp_seconds{sync_job=\"app\"} 0\n";
    assert!(!text.contains(zero), "{text}");
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);

    // One that is broken, or of another version, is put aside.
    let file = folder.path().join("state/state.json");
    for text in [
        "{\"version\": 1",
        "{\"version\": 99, \"jobs\": {}, \"runs\": []}",
    ] {
        std::fs::write(&file, text).unwrap();
        let mut server = start();
        let line = server.says("is of no use").await;
        assert!(
            line.contains("WARN") && line.contains("state.json"),
            "{line}"
        );
        let job = server.get("/api/v1/jobs/app").await;
        assert_eq!(job["last_success"], serde_json::Value::Null);
        assert_eq!(
            std::fs::read_to_string(file.with_extension("json.bad")).unwrap(),
            text
        );
        server.signal(Signal::TERM);
        assert_eq!(server.end().await, 0);
    }
}

#[tokio::test]
async fn it_ends_at_the_first_failure_if_told_to() {
    let bench = Bench::new().await;
    let mut server = Server::start(bench.program(&[ALL], &["server", "--abort-on-error"]));
    server.says("something failed").await;
    assert_eq!(server.end().await, 1);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let bench = Bench::new().await;
    push(&bench, "1").await;
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let mut server = Server::start(bench.program(&[ALL], &["server"]));
    bench.target.held().await;
    server.signal(Signal::TERM);
    server.says("a second signal stops at once").await;
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 143);
    bench.target.release();
}

#[tokio::test]
async fn as_the_first_process_of_a_container_it_obeys_as_well() {
    let probe = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "true"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("skipped: no namespaces here");
        return;
    }
    let bench = Bench::new().await;
    push(&bench, "1").await;
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let mut program = bench.program(&[ALL], &["server"]);
    let mut command = std::process::Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .arg(program.command.get_program())
        .args(program.command.get_args())
        .current_dir(program.folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    program.command = command;
    let mut server = Server::start(program);
    bench.target.held().await;
    let unshare = server.id();
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let child = std::fs::read_to_string(children).unwrap();
    let child = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.as_raw_pid())).unwrap();
    let inside = status
        .lines()
        .find(|line| line.starts_with("NSpid:"))
        .unwrap();
    assert!(inside.ends_with("\t1"), "{inside}");
    rustix::process::kill_process(child, Signal::TERM).unwrap();
    server.says("a second signal stops at once").await;
    bench.target.release();
    assert_eq!(server.end().await, 0);
    let there = tagged(bench.target.store(), &repo("app"), "1").await;
    assert!(there.is_some(), "what was under way was finished");
}

#[tokio::test]
async fn ctl_shows_and_does_what_the_api_does() {
    let bench = Bench::new().await;
    push(&bench, "1").await;
    let gone = "name: gone, source: 'SOURCE/gone:1', target: 'TARGET/gone:1', type: image, \
                schedule: '0 0 1 1 *'";
    let mut server = Server::with_token(bench.program(&[SELDOM, gone], &["server"]));
    let url = server.url().await;
    let token = server.program.folder.path().join("token");
    let ctl = async |arguments: &[&str], token: Option<&Path>| {
        let mut command = regmirror(&[&["ctl"], arguments].concat());
        command.env("REGMIRROR_URL", &url);
        if let Some(token) = token {
            command.env("REGMIRROR_ADMIN_TOKEN_FILE", token);
        }
        // The registries that the server asks are of this process.
        let output = tokio::task::spawn_blocking(move || command.output());
        told(&output.await.unwrap().unwrap())
    };
    let with = Some(token.as_path());
    let (code, _, err) = ctl(&["status"], None).await;
    assert!(code == 1 && err.contains("takes the token"), "{err}");
    server.run_job("app").await;
    let (code, out, err) = ctl(&["status"], with).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("healthy: 2 jobs"), "{out}");
    let row = out.lines().find(|line| line.starts_with("app ")).unwrap();
    assert!(row.contains("ok") && row.contains("s ago"), "{out}");
    let (code, out, _) = ctl(&["trigger", "--wait", "app", "gone"], with).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("app: success\n") && out.contains("gone: failure\n"),
        "{out}"
    );
    let (code, out, _) = ctl(&["status"], with).await;
    assert_eq!(code, 1, "not everything is well");
    assert!(out.starts_with("not healthy: 2 jobs, 1 failing"), "{out}");
    assert!(out.contains("could not find"), "{out}");
    let (code, out, _) = ctl(&["status", "-o", "json"], with).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["status"]["jobs"]["failing"]), (1, &1.into()));
    assert_eq!(json["jobs"]["jobs"][1]["sync_job"], "gone");

    for (arguments, wanted, part) in [
        (&["pause", "app"][..], 0, "app: paused"),
        (&["resume", "--all"], 0, "2 jobs resumed"),
        (&["pause", "none"], 1, "none: there is no such job"),
        (&["trigger", "none"], 1, "none: there is no such job"),
        (&["cancel", "none"], 1, "no such run is under way"),
        (&["reload"], 0, "read again: 2 jobs"),
        (&["log-level"], 0, "info"),
        (&["log-level", "warn"], 0, "warn"),
        (&["log-level"], 0, "warn"),
        (&["pause"], 2, "required"),
        (&["log-level", "loud"], 2, "expected trace"),
    ] {
        let (code, out, err) = ctl(arguments, with).await;
        assert_eq!(code, wanted, "{arguments:?}: {out}{err}");
        assert!(
            format!("{out}{err}").contains(part),
            "{arguments:?}: {out}{err}"
        );
    }

    let health = async |address: &str| {
        let address = address.to_owned();
        let run = move || {
            told(&crate::support::program::run(&[
                "healthcheck",
                "--http-addr",
                &address,
            ]))
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let address = url.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(health(&address).await, (0, String::new(), String::new()));
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    assert_eq!(health(&everywhere).await.0, 0);
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
    let (code, _, err) = health(&address).await;
    assert!(
        code == 1 && err.lines().count() == 1 && err.contains("no answer from"),
        "{err}"
    );
    let (code, _, err) = ctl(&["status"], None).await;
    assert!(code == 1 && err.contains("no answer from"), "{err}");
}
