//! A daemon as people read it, from what its API says.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::output::{bytes, plural};
use crate::telemetry::deceives;

/// How many transfers are listed.
const TRANSFERS: usize = 10;

/// A member that is text; empty without one.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(value: &Value, member: &str) -> u64 {
    value
        .get(member)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    let found = value.get(member).and_then(Value::as_array);
    found.map(Vec::as_slice).unwrap_or_default()
}

fn time(value: &Value, member: &str) -> Option<DateTime<Utc>> {
    text(value, member).parse().ok()
}

/// The daemon, its registries and its jobs.
pub(super) fn table(status: &Value, jobs: &Value, registries: &Value, colour: bool) -> String {
    let now = time(status, "now").unwrap_or_else(Utc::now);
    let mut shown = String::new();
    head(&mut shown, status, now, colour);
    for registry in list(registries, "registries") {
        limits(&mut shown, registry, now);
    }
    let transfers = list(status, "transfers");
    for transfer in transfers.iter().take(TRANSFERS) {
        let (done, size) = (number(transfer, "bytes"), number(transfer, "size"));
        let (target, digest) = (text(transfer, "target"), text(transfer, "digest"));
        let short = digest.get(..19).unwrap_or(digest);
        let _ = writeln!(
            shown,
            "sending  {target} {short}  {} of {}",
            bytes(done),
            bytes(size)
        );
    }
    let jobs = list(jobs, "jobs");
    let names = jobs.iter().map(|job| text(job, "sync_job").chars().count());
    let wide = names.max().unwrap_or_default().clamp(3, 40);
    let _ = writeln!(
        shown,
        "\n{:<wide$}  {:<8} {:>12}  {:>12}  {:>7} {:>7} {:>7}",
        "job", "state", "last success", "next run", "in sync", "pending", "failed"
    );
    for job in jobs {
        row(&mut shown, job, wide, now, colour);
    }
    // What a registry said, and a job is called, must not draw on a terminal.
    shown.retain(|c| c == '\n' || c == '\u{1b}' || !deceives(c));
    shown
}

fn head(shown: &mut String, status: &Value, now: DateTime<Utc>, colour: bool) {
    let healthy = status.get("healthy") == Some(&Value::Bool(true));
    let draining = status.get("draining") == Some(&Value::Bool(true));
    let word = match (draining, healthy) {
        (true, _) => paint("ending", YELLOW, colour),
        (false, true) => paint("healthy", GREEN, colour),
        (false, false) => paint("not healthy", RED, colour),
    };
    let jobs = status.get("jobs").unwrap_or(&Value::Null);
    let _ = write!(shown, "{word}: {}", plural(number(jobs, "total"), "job"));
    for state in ["running", "failing", "paused", "unknown"] {
        if number(jobs, state) > 0 {
            let _ = write!(shown, ", {} {state}", number(jobs, state));
        }
    }
    let pool = status.get("pool").unwrap_or(&Value::Null);
    let _ = writeln!(
        shown,
        "; {} of {} workers busy, {} waiting",
        number(pool, "busy"),
        number(pool, "workers"),
        number(pool, "queued")
    );
    let _ = writeln!(
        shown,
        "regmirror {}, up {}, configuration {} of {} ago",
        text(status, "regmirror"),
        span(time(status, "started"), now),
        text(status, "config_hash"),
        span(time(status, "config_loaded"), now)
    );
    let error = text(status, "config_error");
    if !error.is_empty() {
        let word = paint("the configuration cannot be used:", RED, colour);
        let _ = writeln!(shown, "{word} {error}");
    }
}

fn limits(shown: &mut String, registry: &Value, now: DateTime<Utc>) {
    let paused = registry.get("paused") == Some(&Value::Bool(true));
    let left = registry.get("pulls_left").and_then(Value::as_u64);
    if !paused && left.is_none() {
        return;
    }
    let _ = write!(shown, "{}:", text(registry, "registry"));
    if let Some(left) = left {
        let _ = write!(shown, " {left} pulls left");
        if let Some(allowed) = registry.get("pulls_allowed").and_then(Value::as_u64) {
            let _ = write!(shown, " of {allowed}");
        }
        if let Some(resets) = time(registry, "resets").filter(|resets| *resets > now) {
            let _ = write!(shown, ", more in {}", span(Some(now), resets));
        }
    }
    if paused {
        let waiting = list(registry, "waiting");
        let jobs = plural(waiting.len() as u64, "job");
        let resumes = time(registry, "resumes").unwrap_or(now);
        let left = span(Some(now), resumes);
        let _ = write!(shown, " paused for {left}, {jobs} waiting");
    }
    shown.push('\n');
}

fn row(shown: &mut String, job: &Value, wide: usize, now: DateTime<Utc>, colour: bool) {
    let state = text(job, "state");
    let code = match state {
        "failing" => RED,
        "paused" | "waiting" => YELLOW,
        "ok" => GREEN,
        _ => "",
    };
    let state = paint(&format!("{state:<8}"), code, colour);
    let success = match time(job, "last_success") {
        Some(at) => format!("{} ago", span(Some(at), now)),
        None => "never".to_owned(),
    };
    let next = match time(job, "next_run") {
        Some(at) if at > now => format!("in {}", span(Some(now), at)),
        Some(_) => "now".to_owned(),
        None => "-".to_owned(),
    };
    let tags = job.get("tags").unwrap_or(&Value::Null);
    let _ = writeln!(
        shown,
        "{:<wide$}  {state} {success:>12}  {next:>12}  {:>7} {:>7} {:>7}",
        text(job, "sync_job"),
        number(tags, "in_sync"),
        number(tags, "pending"),
        number(tags, "failed"),
    );
    let error = job.get("last_run").map(|last| text(last, "error"));
    if let Some(error) = error.filter(|error| !error.is_empty()) {
        let _ = writeln!(shown, "    {error}");
    }
}

/// The time between two moments, in its largest unit: `3 h`.
fn span(from: Option<DateTime<Utc>>, to: DateTime<Utc>) -> String {
    let seconds = from.map_or(0, |from| (to - from).num_seconds().max(0));
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

fn paint(text: &str, code: &str, colour: bool) -> String {
    match colour && !code.is_empty() {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    }
}
