//! The file's serde twin to a [`Config`], or to every fault in it.

mod creds;
mod job;

use std::collections::HashSet;

use creds::registries;
use job::job;

use super::effective::{effective, inherit};
use super::fault::Faults;
use super::finding::{Check, Finding};
use super::{Config, Report, duration, raw};

/// Keys of regsync's that this version does not act on. A file that has one is
/// refused: to leave it out silently would give another mirror.
const NOT_OFFERED: &[&str] = &[
    "api",
    "apiOpts",
    "backupFailure",
    "blobLimit",
    "cacheCount",
    "cacheTime",
    "digestTags",
    "fastCheck",
    "fastCopy",
    "forceRecursive",
    "hooks",
    "includeExternal",
    "latest",
    "mediaTypes",
    "mirrors",
    "pathPrefix",
    "platform",
    "platformIndex",
    "platforms",
    "priority",
    "referrerFilters",
    "referrerSlow",
    "referrerSource",
    "referrerTarget",
    "repoAuth",
    "reqPerSec",
    "scheme",
    "semverRange",
    "sort",
    "tagSets",
];

/// The newest version of the configuration language that is understood.
const VERSION: i64 = 1;

/// What the file means, as far as it can be understood, and what is wrong with
/// it.
pub(super) fn config(raw: &raw::Config) -> (Config, Vec<Finding>) {
    let mut faults = Faults::default();
    let mut warnings = Vec::new();
    if let Some(version) = raw.version.filter(|&version| version != VERSION) {
        faults.add(
            "version",
            format!("{version} is not known: this program understands {VERSION}"),
        );
    }
    not_offered(raw, &mut faults);
    let registries = registries(&raw.creds, &mut faults, &mut warnings);
    let parallel = match raw.defaults.parallel {
        None | Some(0) => Config::PARALLEL,
        Some(count) => match usize::try_from(count) {
            Ok(count @ 1..=1000) => count,
            _ => {
                faults.add("defaults.parallel", "expected a number from 1 to 1000");
                Config::PARALLEL
            }
        },
    };
    let defaults = &raw.defaults;
    schedule(
        "defaults",
        &defaults.interval,
        &defaults.schedule,
        &mut faults,
    );
    let mut names = HashSet::new();
    let mut entries = Vec::with_capacity(raw.sync.len());
    let mut jobs = Vec::with_capacity(raw.sync.len());
    for (number, entry) in raw.sync.iter().enumerate() {
        let (entry, inherited) = inherit(entry, &raw.defaults);
        let known = faults.0.len();
        jobs.extend(job(
            number,
            &entry,
            &raw.defaults,
            &mut names,
            &mut faults,
            &mut warnings,
        ));
        trace_back(number, &inherited, &mut faults.0[known..]);
        entries.push(entry);
    }
    if raw.sync.is_empty() && faults.0.is_empty() {
        warnings.push("sync: there are no entries, so there is nothing to do".to_owned());
    }
    let config = Config {
        effective: effective(raw, entries, &jobs),
        registries,
        docker_config: !raw.defaults.skip_docker_config.unwrap_or(false),
        user_agent: raw
            .defaults
            .user_agent
            .clone()
            .filter(|text| !text.is_empty()),
        parallel,
        jobs,
        warnings: Report::default(),
    };
    let mut findings = faults.0;
    findings.extend(warnings.iter().map(|warning| {
        let (at, message) = warning.split_once(": ").unwrap_or(("", warning));
        Finding::warning(Check::Unused, at, message)
    }));
    // An inherited value is looked at once for each entry.
    let mut seen = HashSet::new();
    findings.retain(|finding| seen.insert((finding.at.clone(), finding.message.clone())));
    (config, findings)
}

/// Lays a fault of an inherited value to the `defaults` that it comes from.
fn trace_back(number: usize, inherited: &[&str], findings: &mut [Finding]) {
    let entry = format!("sync[{number}].");
    for finding in findings {
        let Some(key) = finding.at.strip_prefix(&entry) else {
            continue;
        };
        let below = |name: &&&str| {
            let rest = key.strip_prefix(**name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if inherited.iter().any(|name| below(&name)) {
            finding.at = format!("defaults.{key}");
        }
    }
}

fn not_offered(raw: &raw::Config, faults: &mut Faults) {
    fn walk(at: &str, value: &serde_json::Value, faults: &mut Faults) {
        if let Some(map) = value.as_object() {
            for (key, value) in map {
                let at = format!("{at}{}{key}", if at.is_empty() { "" } else { "." });
                if NOT_OFFERED.contains(&key.as_str()) {
                    faults.add(
                        at,
                        "this version of regmirror does not offer this regsync key yet",
                    );
                } else {
                    walk(&at, value, faults);
                }
            }
        }
        for (number, value) in value.as_array().into_iter().flatten().enumerate() {
            walk(&format!("{at}[{number}]"), value, faults);
        }
    }
    let value = serde_json::to_value(raw).expect("maps with text for keys");
    walk("", &value, faults);
}

/// Schedules are for the daemon; they are checked all the same, so that a file
/// is not accepted here that would be refused there.
fn schedule(at: &str, interval: &Option<String>, cron: &Option<String>, faults: &mut Faults) {
    if let Some(text) = interval.as_deref().filter(|text| !text.is_empty()) {
        faults.keep(&format!("{at}.interval"), duration::parse(text));
    }
    if let Some(text) = cron.as_deref().filter(|text| !text.is_empty()) {
        let text = text.trim();
        let zone = text.starts_with("TZ=") || text.starts_with("CRON_TZ=");
        let fields = text.split_whitespace().count() - usize::from(zone);
        if fields != 5 && !text.contains('@') {
            let message = format!("{text:?} has {fields} fields: expected the 5 of cron");
            faults.add(format!("{at}.schedule"), message);
        }
    }
}

fn text<'a>(at: &str, value: Option<&'a String>, faults: &mut Faults) -> Option<&'a str> {
    let value = value.map(String::as_str).unwrap_or_default();
    if value.is_empty() {
        faults.add(at, "missing");
        return None;
    }
    plain(at, value, faults)
}

fn optional_text(at: &str, value: Option<&String>, faults: &mut Faults) -> Option<String> {
    let value = value.filter(|value| !value.is_empty())?;
    plain(at, value, faults).map(ToOwned::to_owned)
}

/// Refuses a template: its text would be taken for the value.
fn plain<'a>(at: &str, value: &'a str, faults: &mut Faults) -> Option<&'a str> {
    if value.contains("{{") {
        faults.add(at, "this version of regmirror does not offer templates yet");
        return None;
    }
    Some(value)
}
