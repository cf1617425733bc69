//! `regmirror demo`: the main job at work, told as a story.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::exit::Exit;
use super::output::{self, bytes, plural};
use super::signals::Signals;
use crate::app::demo::{self, Demo};

pub(super) async fn run() -> Exit {
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => {
            output::error(&format!("could not watch for signals: {error}"));
            return Exit::Failed;
        }
    };
    let started = Instant::now();
    let demo = match demo::run(&signals.stop).await {
        Ok(demo) => demo,
        Err(error) => {
            output::error(&error.to_string());
            return Exit::Failed;
        }
    };
    output::print(&story(&demo, started.elapsed()));
    let (first, second) = (&demo.first.totals, &demo.second.totals);
    match signals.seen() {
        Some(number) => Exit::Signal(number),
        None if first.failed + second.failed > 0 || second.copied > 0 => Exit::Failed,
        None => Exit::Success,
    }
}

fn story(demo: &Demo, took: Duration) -> String {
    let mut text = String::new();
    write(&mut text, demo, took).expect("writing to a string does not fail");
    text
}

fn write(text: &mut String, demo: &Demo, took: Duration) -> std::fmt::Result {
    let Demo {
        seeded,
        source,
        mirror,
        first,
        second,
    } = demo;
    writeln!(
        text,
        "Two registries in memory: the source on {source} has {} in {}, each for\n\
         linux/amd64 and linux/arm64, with {} attached to one; the mirror on {mirror} is empty.\n\
         Both runs below are of config/demo.yml.\n",
        plural(seeded.tags, "tag"),
        plural(seeded.repositories, "repository"),
        plural(seeded.referrers, "referrer"),
    )?;
    writeln!(text, "First run\n\n{}", output::summary(first))?;
    let totals = &first.totals;
    let not_sent = totals.blobs_shared + totals.blobs_mounted + totals.blobs_present;
    writeln!(
        text,
        "{} sent ({}). {} more needed, and not sent again ({}): {} came with another\n\
         image of the repository, {} mounted from another repository of the mirror.\n",
        plural(totals.blobs_copied, "blob"),
        bytes(totals.bytes_sent),
        plural(not_sent, "blob"),
        bytes(totals.bytes_saved),
        totals.blobs_shared + totals.blobs_present,
        totals.blobs_mounted,
    )?;
    writeln!(text, "Second run\n\n{}", output::summary(second))?;
    match second.totals.copied + second.totals.failed {
        0 => writeln!(
            text,
            "Nothing to do: every tag was up to date, and no manifest was read.\n"
        )?,
        _ => writeln!(text, "The second run should have had nothing to do.\n")?,
    }
    writeln!(text, "Done in {:.1} s.", took.as_secs_f64())
}
