//! The real binary when it is told to stop, or is killed, in the middle of a
//! copy.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::bench::Bench;
use crate::support::images::{complete, push_image, repo, tagged};
use crate::support::program::{regmirror, told};
use crate::support::{Fault, TestRegistry};

const JOB: &str = "source: SOURCE/app, target: TARGET/app, type: repository, name: app";

/// `once` on its way, held while it sends the first blob; two tags are to be
/// copied, one after the other.
async fn held(bench: &Bench) -> (Child, tempfile::TempDir) {
    held_with(bench, &[]).await
}

async fn held_with(bench: &Bench, arguments: &[&str]) -> (Child, tempfile::TempDir) {
    for name in ["1", "2"] {
        push_image(
            bench.source.store(),
            &repo("app"),
            Some(name),
            &[name.as_bytes()],
        )
        .await;
    }
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.yml");
    let text = bench.config(&[JOB]).replace(
        "skipDockerConfig: true",
        "skipDockerConfig: true, parallel: 1",
    );
    std::fs::write(&path, text).unwrap();
    // As an operator would: otherwise the first line is a warning of that.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let child = regmirror(&["once", "-c", path.to_str().unwrap()])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bench.target.held().await;
    (child, folder)
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, signal).expect("the process is there");
}

/// Waits for the program's end without blocking the registries.
async fn end(child: Child) -> (Option<i32>, String, String) {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let limit = Duration::from_secs(30);
    let output = tokio::time::timeout(limit, output)
        .await
        .expect("it ends")
        .unwrap();
    match output.status.code() {
        Some(_) => {
            let (code, out, err) = told(&output);
            (Some(code), out, err)
        }
        None => (None, String::new(), String::new()),
    }
}

/// How many of the two tags are there, each of them complete.
async fn arrived(target: &TestRegistry) -> usize {
    let mut count = 0;
    for name in ["1", "2"] {
        if let Some(digest) = tagged(target.store(), &repo("app"), name).await {
            complete(target.store(), &repo("app"), &digest)
                .await
                .expect("complete");
            count += 1;
        }
    }
    count
}

/// A run after one that was stopped or killed has nothing left to do after it.
async fn make_up(bench: &Bench) {
    let summary = bench.run(&[JOB]).await;
    assert_eq!(summary.totals.failed, 0);
    assert_eq!(arrived(&bench.target).await, 2);
}

#[tokio::test]
async fn d8_a_signal_lets_the_copy_under_way_finish_and_begins_no_other() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let bench = Bench::new().await;
        let (mut child, _folder) = held(&bench).await;
        send(&child, signal);
        // The program says that it has understood before the copy may go on.
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let said = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut stderr, &mut line).map(|_| (line, stderr))
        });
        let (line, _stderr) = said.await.unwrap().unwrap();
        assert!(line.contains("a second signal stops at once"), "{line}");
        bench.target.release();
        let (ended, out, _) = end(child).await;
        assert_eq!(ended, Some(code), "{out}");
        assert!(out.contains("Interrupted"), "{out}");
        assert_eq!(arrived(&bench.target).await, 1);
        make_up(&bench).await;
    }
}

#[tokio::test]
async fn d8_what_does_not_end_in_time_is_dropped() {
    let bench = Bench::new().await;
    let (child, _folder) = held_with(&bench, &["--drain-timeout", "50ms"]).await;
    send(&child, Signal::TERM);
    let (code, _, err) = end(child).await;
    assert_eq!(code, Some(143), "{err}");
    assert!(err.contains("did not end within 0.05 s"), "{err}");
    assert_eq!(arrived(&bench.target).await, 0);
    bench.target.release();
    make_up(&bench).await;
}

#[tokio::test]
async fn d8_a_second_signal_ends_at_once() {
    let bench = Bench::new().await;
    let (child, _folder) = held(&bench).await;
    send(&child, Signal::TERM);
    send(&child, Signal::INT);
    // Which of them is seen as the second is not for us to say.
    let (code, _, _) = end(child).await;
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    assert_eq!(arrived(&bench.target).await, 0);
    bench.target.release();
    make_up(&bench).await;
}

#[tokio::test]
async fn d8_a_killed_process_leaves_nothing_half_written() {
    let bench = Bench::new().await;
    let (child, _folder) = held(&bench).await;
    send(&child, Signal::KILL);
    let (code, _, _) = end(child).await;
    assert_eq!(code, None);
    bench.target.release();
    assert_eq!(arrived(&bench.target).await, 0);
    make_up(&bench).await;
}

#[tokio::test]
async fn what_only_looks_ends_with_the_first_signal() {
    for command in [&["check"][..], &["auth", "check"]] {
        let bench = Bench::new().await;
        push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
        bench.source.on("GET", "/app/tags/list", 1, Fault::Hold);
        let mut program = bench.program(&[JOB], command);
        let child = program.start();
        bench.source.held().await;
        send(&child, Signal::INT);
        let (code, out, _) = end(child).await;
        assert_eq!(code, Some(130), "{command:?}");
        let told = out.contains("Interrupted: there is more that was not looked at.");
        assert_eq!(told, command == ["check"], "{out}");
        bench.source.release();
    }
}
