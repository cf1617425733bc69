//! `regmirror server`: runs jobs when they are due, reads its configuration again,
//! and ends when it is told to.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::bench::Bench;
use crate::support::images::{complete, push_image, repo, tagged};
use crate::support::program::{Program, end};
use crate::support::{Fault, TestRegistry};

const ALL: &str =
    "name: app, source: SOURCE/app, target: TARGET/app, type: repository, interval: 1s";

/// The server under way, and what it logs.
struct Server {
    child: Option<Child>,
    log: UnboundedReceiver<String>,
    program: Program,
}

impl Server {
    fn start(mut program: Program) -> Self {
        let mut child = program.start();
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, log) = unbounded_channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child: Some(child),
            log,
            program,
        }
    }

    /// Waits until a line with `part` is logged.
    async fn says(&mut self, part: &str) -> String {
        let mut all = String::new();
        loop {
            let limit = std::time::Duration::from_secs(30);
            let line = tokio::time::timeout(limit, self.log.recv()).await;
            let line = line.ok().flatten();
            let line = line.unwrap_or_else(|| panic!("no `{part}` in:\n{all}"));
            if line.contains(part) {
                return line;
            }
            all += &line;
            all.push('\n');
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    async fn end(mut self) -> i32 {
        end(self.child.take().expect("it runs")).await.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn push(bench: &Bench, name: &str) {
    let app = repo("app");
    push_image(bench.source.store(), &app, Some(name), &[name.as_bytes()]).await;
}

/// Waits until a tag is at the target.
async fn arrives(target: &TestRegistry, of: &str, name: &str) {
    let line = format!("PUT /v2/{of}/manifests/{name} 201");
    target.until(|target| target.log().contains(&line)).await;
    let digest = tagged(target.store(), &repo(of), name).await.unwrap();
    complete(target.store(), &repo(of), &digest).await.unwrap();
}

#[tokio::test]
async fn jobs_run_when_they_are_due_and_again() {
    let bench = Bench::new().await;
    push(&bench, "1").await;
    let server = Server::start(bench.program(&[ALL], &["server", "--http-addr", "127.0.0.1:0"]));
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
    let (code, out, err) = bench
        .program(&[&job], &["server", "--http-addr", "127.0.0.1:0"])
        .run()
        .await;
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        err.contains("no job has an `interval` or a `schedule`"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
    let (code, _, err) = Program::new("sync: {", &["server", "--http-addr", "127.0.0.1:0"])
        .run()
        .await;
    assert_eq!(code, 3, "{err}");
}

#[tokio::test]
async fn a_signal_finishes_or_drops_what_is_under_way_and_is_0() {
    for (timeout, arrived) in [("100s", true), ("50ms", false)] {
        let bench = Bench::new().await;
        push(&bench, "1").await;
        bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
        let arguments = [
            "server",
            "--http-addr",
            "127.0.0.1:0",
            "--drain-timeout",
            timeout,
        ];
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
    let arguments = [
        "server",
        "--http-addr",
        "127.0.0.1:0",
        "--reload-interval",
        "50ms",
    ];
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
    let arguments = [
        "server",
        "--http-addr",
        "127.0.0.1:0",
        "--reload-interval",
        "0",
    ];
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
