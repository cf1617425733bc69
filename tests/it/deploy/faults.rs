//! What is not as it should be in a cluster: the pod says so in its last line, which
//! is what its status shows, and by its code; what runs goes on.

use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;

use super::pod::Pod;
use super::running::{program, server};
use crate::support::bench::Bench;
use crate::support::daemon::Server;
use crate::support::program::Program;

const JOB: &str =
    "name: app, source: SOURCE/app, target: TARGET/app, type: repository, interval: 1h";

/// A server's pod with this configuration.
fn with(text: &str) -> Option<Pod> {
    server(&[("regmirror-config", &[("config.yml", text)])])
}

/// Every line is an event of the log, and the last one's message is given.
fn last_line(log: &str) -> String {
    let event = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}: {log}"))
    };
    let mut events: Vec<Value> = log.lines().map(event).collect();
    let last = events.pop().unwrap_or_else(|| panic!("it says nothing"));
    assert_eq!(last["level"], "ERROR", "{log}");
    last["message"].as_str().unwrap().to_owned()
}

/// How a server's pod ends that cannot start: its code, and its last line.
async fn ends(mut program: Program) -> (i32, String) {
    program.command.args(["--http-addr", "127.0.0.1:0"]);
    let (code, out, err) = program.run().await;
    assert_eq!(out, "");
    (code, last_line(&err))
}

#[tokio::test]
async fn a_configuration_with_faults_is_3_and_each_of_them_a_line() {
    let Some(pod) = with("sync:\n- {type: imag, source: a, target: b}\n- {type: image}\n") else {
        return;
    };
    let mut program = program(&pod);
    let (code, _, err) = program.run().await;
    assert_eq!(code, 3);
    let last = last_line(&err);
    assert!(
        last.ends_with("config.yml cannot be used: 3 errors"),
        "{last}"
    );
    assert_eq!(err.lines().count(), 4, "{err}");
    assert!(
        err.contains("config.yml:2:10: sync[0].type: `imag`"),
        "{err}"
    );
    assert_eq!(std::fs::read_dir(pod.folder("data")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_config_map_without_the_file_or_with_nothing_to_do_is_3() {
    let Some(pod) = server(&[("regmirror-config", &[("mirror.yml", "sync: []")])]) else {
        return;
    };
    let (code, last) = ends(program(&pod)).await;
    assert_eq!(code, 3);
    assert!(
        last.contains("config.yml") && last.contains("No such file"),
        "{last}"
    );
    let (code, last) = ends(program(&with("sync: []").unwrap())).await;
    assert_eq!(code, 3);
    assert!(last.contains("no job has an `interval`"), "{last}");
}

#[tokio::test]
async fn a_reload_of_faults_changes_nothing_and_the_pod_stays_ready() {
    let bench = Bench::new().await;
    let text = bench.config(&[JOB]);
    let Some(pod) = with(&text) else { return };
    let mut program = program(&pod);
    program.command.args(["--reload-interval", "50ms"]);
    let mut server = Server::start(program);
    server.url().await;
    pod.update(
        "regmirror-config",
        &[("config.yml", "sync: [{type: imag}]")],
    );
    let line = server.says("cannot be used").await;
    assert!(last_line(&line).contains("the one before stays"), "{line}");
    assert_eq!(server.ask(Method::GET, "/readyz", "").await.status(), 200);
    let jobs = server.get("/api/v1/jobs").await;
    assert_eq!(jobs["jobs"][0]["sync_job"], "app");
    let status = server.get("/api/v1/status").await;
    assert_eq!(status["healthy"], false, "{status}");
    pod.update(
        "regmirror-config",
        &[("config.yml", &text.replace("name: app", "name: moved"))],
    );
    server.says("was read again").await;
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_is_1() {
    let bench = Bench::new().await;
    let Some(pod) = with(&bench.config(&[JOB])) else {
        return;
    };
    // Nobody may write there, root neither: it is a file.
    std::fs::write(pod.folder("data").join("state"), "").unwrap();
    let (code, last) = ends(program(&pod)).await;
    assert_eq!(code, 1);
    assert!(
        last.contains("could not write to the state directory"),
        "{last}"
    );
    assert_eq!(bench.source.requests(), 0, "nothing was begun");
}

#[tokio::test]
async fn a_registry_s_secret_that_is_broken_is_3_and_is_not_shown() {
    let bench = Bench::new().await;
    let text = bench
        .config(&[JOB])
        .replace("skipDockerConfig: true", "parallel: 2");
    let broken = "{\"auths\": {\"r.test\": {\"auth\": \"hunter2\"}},}";
    let held: &[(&str, &[(&str, &str)])] = &[
        ("regmirror-config", &[("config.yml", &text)]),
        ("regmirror-registry", &[(".dockerconfigjson", broken)]),
    ];
    let Some(pod) = server(held) else { return };
    let (code, last) = ends(program(&pod)).await;
    assert_eq!(code, 3);
    assert!(
        last.contains("docker/config.json is broken at line 1"),
        "{last}"
    );
    assert!(!last.contains("hunter2"), "{last}");
}

#[tokio::test]
async fn a_token_s_secret_without_the_token_is_3() {
    let Some(pod) = with("defaults: {interval: 1h}\nsync: []\n") else {
        return;
    };
    let bench = Bench::new().await;
    pod.update("regmirror-config", &[("config.yml", &bench.config(&[JOB]))]);
    let mut program = program(&pod);
    program.command.env(
        "REGMIRROR_ADMIN_TOKEN_FILE",
        pod.folder("docker").join("token"),
    );
    let (code, last) = ends(program).await;
    assert_eq!(code, 3);
    assert!(last.contains("could not use the token in"), "{last}");
}

#[tokio::test]
async fn a_command_before_which_somebody_sits_tells_them_and_no_program() {
    let Some(pod) = with("") else { return };
    for arguments in [&["ctl", "status"][..], &["healthcheck"]] {
        let mut command = crate::support::program::regmirror(arguments);
        command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
        command.env("REGMIRROR_URL", "http://127.0.0.1:1");
        command.env("REGMIRROR_HTTP_ADDR", "127.0.0.1:1");
        let (code, _, err) = Program::of(command).run().await;
        assert!(code == 1 && err.starts_with("regmirror: "), "{err}");
    }
    drop(pod);
}
