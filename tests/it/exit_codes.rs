//! Exit codes: each of them, on the real binary.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use crate::support::bench::Bench;
use crate::support::images::{push_image, repo, tagged};
use crate::support::program::{Program, end};
use crate::support::{Fault, TestRegistry};

const ALL: &str = "name: app, source: SOURCE/app, target: TARGET/app, type: repository";

/// A source with two tags.
async fn with_two() -> Bench {
    let bench = Bench::new().await;
    for name in ["1", "2"] {
        let app = repo("app");
        push_image(bench.source.store(), &app, Some(name), &[name.as_bytes()]).await;
    }
    bench
}

async fn code(bench: &Bench, arguments: &[&str]) -> i32 {
    bench.program(&[ALL], arguments).run().await.0
}

#[tokio::test]
async fn differences_and_changes_are_4_where_the_code_is_to_tell() {
    let bench = with_two().await;
    assert_eq!(code(&bench, &["check"]).await, 0);
    assert_eq!(code(&bench, &["check", "--exit-code"]).await, 4);
    assert_eq!(code(&bench, &["once", "--dry-run", "--exit-code"]).await, 4);
    assert_eq!(code(&bench, &["once", "--exit-code"]).await, 4);
    assert_eq!(code(&bench, &["once", "--exit-code"]).await, 0);
    assert_eq!(code(&bench, &["check", "--exit-code"]).await, 0);
    // What failed counts more.
    bench
        .source
        .on("HEAD", "/manifests/1", 99, Fault::reply(403, &[], ""));
    bench
        .source
        .on("GET", "/manifests/1", 99, Fault::reply(403, &[], ""));
    push_image(bench.source.store(), &repo("app"), Some("3"), &[b"3"]).await;
    assert_eq!(code(&bench, &["check", "--exit-code"]).await, 1);
    assert_eq!(code(&bench, &["once", "--exit-code"]).await, 1);
}

#[tokio::test]
async fn no_job_of_that_name_and_no_place_for_a_report_are_2() {
    let bench = with_two().await;
    for (arguments, said) in [
        (&["once", "--job", "ap"][..], "did you mean `app`?"),
        (&["check", "--job", "a["], "`a[` is no pattern"),
        (
            &["auth", "check", "--job", "x"],
            "no job's name matches `x`",
        ),
        (
            &["once", "--report", "no/such/file"],
            "could not write no/such/file",
        ),
        (
            &["once", "--code-quality", "no/file"],
            "could not write no/file",
        ),
    ] {
        let (code, out, err) = bench.program(&[ALL], arguments).run().await;
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    assert_eq!(bench.source.requests(), 0, "nothing was begun");
}

#[tokio::test]
async fn registries_that_allow_no_more_are_5() {
    let bench = with_two().await;
    bench
        .source
        .on("HEAD", "/manifests/", 99, Fault::reply(429, &[], ""));
    let (code, out, err) = bench.program(&[ALL], &["check"]).run().await;
    assert_eq!(code, 5, "{out}{err}");
    assert!(out.contains("rate limited"), "{out}");
    // One that says for how long is waited for, as long as there is time.
    bench.source.heal();
    let tomorrow = Fault::reply(429, &[("retry-after", "86400")], "");
    bench.source.on("HEAD", "/manifests/", 99, tomorrow);
    let limit = ["once", "--max-duration", "200ms", "-o", "json"];
    let (code, out, err) = bench.program(&[ALL], &limit).run().await;
    assert_eq!(code, 5, "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["stopped"], "max_duration", "{out}");
}

/// Reads what the program logs until a line holds `part`.
async fn said(child: &mut Child, part: &'static str) -> Box<dyn Read + Send> {
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            let count = stderr.read_line(&mut line).expect("readable");
            assert_ne!(count, 0, "it ended without `{part}`");
        }
        stderr
    });
    Box::new(reading.await.expect("it said so"))
}

/// `once`, held while it sends the first blob of one of two tags. There is a place
/// for one in the pool.
async fn held(bench: &Bench, arguments: &[&str]) -> (Child, Program) {
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let one = |name: u8| {
        let (source, target) = (format!("SOURCE/app:{name}"), format!("TARGET/app:{name}"));
        format!("name: t{name}, source: '{source}', target: '{target}', type: image")
    };
    let mut program = Program::new(&one_at_a_time(bench, &[&one(1), &one(2)]), arguments);
    let child = program.start();
    bench.target.held().await;
    (child, program)
}

fn one_at_a_time(bench: &Bench, entries: &[&str]) -> String {
    let with = "skipDockerConfig: true, parallel: 1";
    bench
        .config(entries)
        .replace("skipDockerConfig: true", with)
}

async fn arrived(target: &TestRegistry) -> usize {
    let mut count = 0;
    for name in ["1", "2"] {
        count += usize::from(tagged(target.store(), &repo("app"), name).await.is_some());
    }
    count
}

#[tokio::test]
async fn the_time_limit_finishes_what_is_under_way_and_is_5() {
    let bench = with_two().await;
    // The drain timeout is for signals.
    let arguments = [
        &["once", "--max-duration", "2s", "--report", "report.json"][..],
        &["--drain-timeout", "1ms"],
    ]
    .concat();
    let (mut child, program) = held(&bench, &arguments).await;
    let _stderr = said(&mut child, "the time is over").await;
    bench.target.release();
    let (code, out, _) = end(child).await;
    assert_eq!(code, 5, "{out}");
    assert_eq!(arrived(&bench.target).await, 1);
    assert!(out.lines().any(|line| line.starts_with("left ")), "{out}");
    let report: serde_json::Value = serde_json::from_str(&program.file("report.json")).unwrap();
    assert_eq!(report["exit_code"], 5);
    assert_eq!(report["stopped"], "max_duration");
    assert_eq!(report["result"], "canceled");
    assert_eq!(report["totals"]["copied"], 1);
    assert_eq!(report["totals"]["pending"], 1);
    // Time enough is no reason to end with 5.
    assert_eq!(code_of(&bench, "1h").await, 0);
    assert_eq!(arrived(&bench.target).await, 2);
}

async fn code_of(bench: &Bench, limit: &str) -> i32 {
    code(bench, &["once", "--max-duration", limit]).await
}

#[tokio::test]
async fn an_error_begins_nothing_more_where_it_is_to_abort() {
    let bench = with_two().await;
    let refused = Fault::reply(403, &[], "");
    bench.target.on("POST", "/blobs/uploads/", 99, refused);
    let text = one_at_a_time(&bench, &[ALL]);
    let mut program = Program::new(&text, &["once", "--abort-on-error", "-o", "json"]);
    let (code, out, err) = program.run().await;
    assert_eq!(code, 1, "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["stopped"], "error", "{out}");
    assert_eq!(report["totals"]["failed"], 1, "{out}");
    assert_eq!(report["result"], "failure", "{out}");
    // Without the flag, the other one is tried.
    let mut program = Program::new(&text, &["once", "-o", "json"]);
    let (code, out, _) = program.run().await;
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["totals"]["failed"], 2, "{out}");
}

#[tokio::test]
async fn lines_that_nobody_reads_end_it_quietly() {
    let bench = Bench::new().await;
    for number in 0..40 {
        let (app, name) = (repo("app"), format!("v{number}"));
        push_image(bench.source.store(), &app, Some(&name), &[name.as_bytes()]).await;
    }
    for arguments in [
        &["check", "-o", "jsonl", "-v", "warn"][..],
        &["once", "-o", "jsonl", "-v", "warn"],
    ] {
        let mut program = bench.program(&[ALL], arguments);
        let mut child = program.start();
        drop(child.stdout.take());
        let (code, _, err) = end(child).await;
        assert_eq!((code, err.as_str()), (128 + 13, ""), "{arguments:?}");
    }
    let copied = bench.target.count("PUT /v2/app/manifests/");
    assert!(copied < 40, "{copied} images were copied for nobody");
}

#[tokio::test]
async fn results_that_cannot_be_written_are_a_failure() {
    if !std::path::Path::new("/dev/full").exists() {
        return println!("skipped: there is no /dev/full here");
    }
    let bench = with_two().await;
    for output in ["table", "json", "jsonl"] {
        let mut program = bench.program(&[ALL], &["check", "-o", output, "-v", "off"]);
        let full = std::fs::File::options().write(true).open("/dev/full");
        program.command.stdout(full.unwrap());
        let (code, _, err) = program.run().await;
        assert_eq!(code, 1, "{output}: {err}");
        let line = "regmirror: could not write to standard output: No space left";
        assert!(
            err.starts_with(line) && err.lines().count() == 1,
            "{output}: {err}"
        );
    }
}
