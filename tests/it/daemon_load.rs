//! What the daemon takes with a thousand jobs, and over time against registries
//! that fail. Both are measured, not tested, and left out of `cargo test`:
//!
//! ```console
//! cargo test --release --test it -- --ignored --nocapture --test-threads 1 daemon_load
//! ```

#![expect(clippy::cast_precision_loss, reason = "shown with one decimal")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::bench::Bench;
use crate::support::daemon::Server;
use crate::support::images::{complete, push_image, repo, tagged};

const JOBS: usize = 1000;

/// Resident memory in KiB, and open files.
fn taken(server: &Server) -> (u64, usize) {
    let id = server.id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let memory = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    (memory, files)
}

/// How late each job's last run began, in milliseconds, and how many ran.
fn lags(jobs: &Value) -> Vec<u64> {
    let jobs = jobs["jobs"].as_array().unwrap().iter();
    let mut lags: Vec<u64> = jobs
        .filter_map(|job| job["last_run"]["lag_ms"].as_u64())
        .collect();
    lags.sort_unstable();
    lags
}

/// A thousand jobs of one tag, each at this time.
fn thousand(bench: &Bench, when: &str) -> Server {
    let entries: Vec<String> = (0..JOBS)
        .map(|number| {
            format!(
                "name: job{number:04}, source: 'SOURCE/app{number}:1', \
                 target: 'TARGET/app{number}:1', type: image, {when}"
            )
        })
        .collect();
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let program = bench.program(&entries, &["server"]);
    Server::start(program)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes"]
async fn a_thousand_jobs() {
    let bench = Bench::new().await;
    for number in 0..JOBS {
        let app = repo(&format!("app{number}"));
        push_image(bench.source.store(), &app, Some("1"), &[b"layer"]).await;
    }
    for (when, rounds, seconds) in [
        ("interval: 1m", 3, 60),
        // All at once.
        ("schedule: '* * * * *'", 2, 60),
        // Half an hour of them in a minute and a half.
        ("interval: 3s", 30, 3),
    ] {
        let mut server = thousand(&bench, when);
        server
            .until("/api/v1/status", |status| status["jobs"]["unknown"] == 0)
            .await;
        let (mut late, mut curve) = (Vec::new(), String::new());
        for number in 0..rounds {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            bench.clear_logs();
            server.forget_log();
            late.extend(lags(&server.get("/api/v1/jobs").await));
            if number % (rounds / 3).max(1) == 0 || number + 1 == rounds {
                let (memory, files) = taken(&server);
                let _ = write!(curve, " {:.1} MiB/{files} files", memory as f64 / 1024.0);
            }
        }
        late.sort_unstable();
        let at = |part: usize| late[(late.len() - 1) * part / 100];
        let status = server.get("/api/v1/status").await;
        let mut times: Vec<Duration> = Vec::new();
        let mut size = 0;
        for _ in 0..21 {
            let began = Instant::now();
            size = server.metrics().await.len();
            times.push(began.elapsed());
        }
        times.sort_unstable();
        println!(
            "{when}: {} runs, lag median {} ms, 99th percentile {} ms, most {} ms;{curve}; \
             /metrics of {size} bytes in {:.1} ms (median of 21); {} failing",
            late.len(),
            at(50),
            at(99),
            at(100),
            times[10].as_secs_f64() * 1000.0,
            status["jobs"]["failing"],
        );
        assert_eq!(status["jobs"]["failing"], 0);
        server.signal(Signal::TERM);
        assert_eq!(server.end().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes"]
async fn five_minutes_against_registries_that_fail() {
    const REPOSITORIES: usize = 20;
    let bench = Bench::new().await;
    let entries: Vec<String> = (0..REPOSITORIES)
        .map(|number| {
            format!(
                "name: job{number}, source: SOURCE/app{number}, target: TARGET/app{number}, \
                 type: repository, interval: 2s"
            )
        })
        .collect();
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let mut server = Server::start(bench.program(&entries, &["server"]));
    let url = server.url().await;
    println!("{url}");
    bench.source.storm(1);
    bench.target.storm(2);
    let began = Instant::now();
    let mut pushed = 0;
    let mut last = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(330) {
        let app = repo(&format!("app{}", pushed % REPOSITORIES));
        let tag = format!("v{}", pushed / REPOSITORIES % 40);
        let layer = vec![u8::try_from(pushed % 251).unwrap(); 40_000 + pushed];
        push_image(bench.source.store(), &app, Some(&tag), &[&layer]).await;
        pushed += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
        if began.elapsed() >= last {
            let (memory, files) = taken(&server);
            let runs = server.get("/api/v1/status").await;
            println!(
                "{:>3} s: {:.1} MiB, {files} files, {} of {REPOSITORIES} failing, {} running",
                began.elapsed().as_secs(),
                memory as f64 / 1024.0,
                runs["jobs"]["failing"],
                runs["jobs"]["running"],
            );
            let live = server.ask(reqwest::Method::GET, "/livez", "").await;
            assert_eq!(live.status(), 200);
            last += Duration::from_secs(30);
            bench.clear_logs();
            server.forget_log();
        }
    }
    println!(
        "{pushed} images pushed, {} requests struck",
        bench.source.struck() + bench.target.struck()
    );
    bench.source.calm();
    bench.target.calm();
    server
        .until("/api/v1/status", |status| status["healthy"] == true)
        .await;
    for number in 0..REPOSITORIES {
        let app = repo(&format!("app{number}"));
        for tag in 0..40 {
            let tag = format!("v{tag}");
            let Some(wanted) = tagged(bench.source.store(), &app, &tag).await else {
                continue;
            };
            loop {
                if tagged(bench.target.store(), &app, &tag).await.as_ref() == Some(&wanted) {
                    break;
                }
                bench.target.until(|target| target.requests() > 0).await;
                bench.clear_logs();
            }
            complete(bench.target.store(), &app, &wanted).await.unwrap();
        }
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
}
