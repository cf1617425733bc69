//! `regmirror demo`: the main job at work, told as a story.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::exit::Exit;
use super::output::{self, bytes, plural};
use super::stop::Signals;
use super::table::{self, Look};
use crate::app::demo::{self, Demo};

pub(super) async fn run() -> Exit {
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let started = Instant::now();
    let demo = match demo::run(&signals.stop.token).await {
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
        "Two registries in memory. The source, on {source}, has {} in {}; every\n\
         image is for linux/amd64 and linux/arm64, and one has a signature and an SBOM.\n\
         The mirror, on {mirror}, is empty. Both runs below are of config/demo.yml.\n",
        plural(seeded.tags, "tag"),
        plural(seeded.repositories, "repository"),
    )?;
    let totals = &first.totals;
    writeln!(
        text,
        "The first run: {} copied\n",
        plural(totals.copied, "tag")
    )?;
    writeln!(text, "{}", table::summary(first, Look::default()))?;
    let brought = totals.blobs_shared + totals.blobs_present;
    writeln!(
        text,
        "{} sent, {}. Not sent again: {}. An image of the same repository had\n\
         brought {brought} blobs, and the mirror mounted {} from another of its repositories.\n\
         With the images came {} referrers: the signature and the SBOM.\n",
        plural(totals.blobs_copied, "blob"),
        bytes(totals.bytes_sent),
        bytes(totals.bytes_saved),
        totals.blobs_mounted,
        totals.referrers,
    )?;
    let totals = &second.totals;
    writeln!(
        text,
        "The second run: {} unchanged\n",
        plural(totals.unchanged, "tag")
    )?;
    writeln!(text, "{}", table::summary(second, Look::default()))?;
    match totals.copied + totals.failed {
        0 => writeln!(
            text,
            "Nothing to do: the mirror has every tag as the source has it.\n"
        )?,
        _ => writeln!(text, "The second run should have had nothing to do.\n")?,
    }
    writeln!(text, "Done in {:.1} s.", took.as_secs_f64())
}
