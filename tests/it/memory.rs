//! An image streams through: what is resident does not grow with it, and
//! nothing is written but the blob itself.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use regmirror::store::Sink;

use crate::support::Fault;
use crate::support::bench::Bench;
use crate::support::images::{push_image, repo, tagged};
use crate::support::program::{regmirror, told};

/// Several times what may be resident: 6 to 7 MiB were seen.
const LAYER: usize = 128 << 20;
const RESIDENT_KIB: u64 = 16 << 10;

/// What the kernel says of a process' memory, in KiB.
fn memory(process: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it is running");
    let line = status.lines().find(|line| line.starts_with(field));
    let number = line.expect("the kernel tells").split_whitespace().nth(1);
    number.expect("a number").parse().expect("a number")
}

/// The most that a process has had resident so far, in KiB.
fn peak(process: u32) -> u64 {
    memory(process, "VmHWM:")
}

#[tokio::test]
async fn a_large_image_streams_through_in_little_memory() {
    let bench = Bench::new().await;
    let app = repo("app");
    let layer = vec![7; LAYER];
    push_image(bench.source.store(), &app, Some("1"), &[&layer]).await;
    drop(layer);
    let folder = tempfile::tempdir().unwrap();
    let (out, temporary) = (folder.path().join("out"), folder.path().join("temporary"));
    fs::create_dir(&temporary).unwrap();
    let entries = [
        "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image".to_owned(),
        format!(
            "source: 'SOURCE/app:1', target: 'ocidir://{}:1', type: image",
            out.display()
        ),
    ];
    // By its last request the image has passed, and the process is there to
    // be looked at.
    bench.target.on("PUT", "/manifests/1", 1, Fault::Hold);
    for (entry, looked_at) in entries.iter().zip([true, false]) {
        let path = folder.path().join("mirror.yml");
        fs::write(&path, bench.config(&[entry])).unwrap();
        let child = regmirror(&["once", "-c", path.to_str().unwrap()])
            .env("TMPDIR", &temporary)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if looked_at {
            bench.target.held().await;
            // Without the pages of the program, of which a debug build has many.
            let own = peak(child.id()) - memory(child.id(), "RssFile:");
            assert!(own < RESIDENT_KIB, "{own} KiB were resident");
            bench.target.release();
        }
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let (code, out, err) = told(&ended.await.unwrap());
        assert_eq!(code, 0, "{out}{err}");
        let left = fs::read_dir(&temporary).unwrap().count();
        assert_eq!(left, 0, "something was written to TMPDIR");
    }
    assert!(tagged(bench.target.store(), &app, "1").await.is_some());
    let mut sizes: Vec<u64> = fs::read_dir(out.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes.len(), 3, "a layer, a config, a manifest: {sizes:?}");
    assert_eq!(sizes[2], LAYER as u64);
}

/// So many tags, in lines that are not kept. Their names alone take some: each is
/// told of once, however often it is listed. Names are long, so that lines that were
/// kept would stand out from what threads take on a busy machine: 95 MiB were seen
/// with them, 51 to 66 without.
const TAGS: usize = 100_000;
const LISTED_KIB: u64 = 80 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_json_do_not_build_up() {
    let bench = Bench::new().await;
    let app = repo("app");
    let image = push_image(bench.source.store(), &app, Some("v0"), &[b"x"]).await;
    for number in 1..TAGS {
        let name = crate::support::images::tag(&format!("v{number}{}", "x".repeat(100)));
        let store = bench.source.store();
        Sink::put_manifest(store, &app, &image, Some(&name))
            .await
            .unwrap();
    }
    let job = "name: app, source: SOURCE/app, target: TARGET/app, type: repository, \
               tags: {deny: ['v[1-9].*']}";
    let mut program = bench.program(&[job], &["check", "-o", "jsonl", "-v", "off"]);
    let mut child = program.start();
    let stdout = child.stdout.take().expect("a pipe");
    let read = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(stdout).lines();
        let mut count = lines.by_ref().take(TAGS - 2000).count();
        // The pipe holds less than what is left: it is there, and waits.
        let peak = peak(child.id());
        count += lines.count();
        (count, peak, child.wait().unwrap().code())
    });
    let (count, peak, code) = read.await.unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(count, TAGS + 3, "a start, each tag, a job, a report");
    assert!(peak < LISTED_KIB, "{peak} KiB were resident");
}
