//! The file's serde twin to a [`Config`], or to every fault in it.

mod creds;
mod expand;
mod job;
mod policy;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use creds::registries;
use expand::Expander;
use job::{Entry, job};

use super::effective::{effective, inherit};
use super::finding::{Check, Finding, Findings, Severity};
use super::{Config, Report, raw};
use crate::http::{Chunks, Secret};
use crate::oci::TagOrDigest;
use crate::schedule::{Schedule, duration};
use crate::sync::{Job, Scope};
use crate::template::Surroundings;

/// The newest version of the configuration language that is understood.
const VERSION: i64 = 1;

/// What the file means, as far as it can be understood, and what is wrong with
/// it, beside what was `found` when it was read.
pub(super) fn config(
    raw: &raw::Config,
    found: Vec<Finding>,
    surroundings: &dyn Surroundings,
) -> (Config, Vec<Finding>) {
    let mut findings = Findings::of(found);
    let mut expander = Expander {
        surroundings,
        secret: HashSet::new(),
    };
    if let Some(version) = raw.version.filter(|&version| version != VERSION) {
        let message = format!("{version} is not known: this program understands {VERSION}");
        findings.add("version", message);
    }
    let registries = registries(&raw.creds, &mut expander, &mut findings);
    let parallel = match raw.defaults.parallel {
        None | Some(0) => Config::PARALLEL,
        Some(count) => match usize::try_from(count) {
            Ok(count @ 1..=1000) => count,
            _ => {
                findings.add("defaults.parallel", "expected a number from 1 to 1000");
                Config::PARALLEL
            }
        },
    };
    let defaults = &raw.defaults;
    schedule(
        "defaults",
        &defaults.policy.interval,
        &defaults.policy.schedule,
        &mut findings,
    );
    let mut names = HashMap::new();
    let mut entries = Vec::with_capacity(raw.sync.len());
    let mut schedules = BTreeMap::new();
    let mut jobs: Vec<(usize, Job)> = Vec::with_capacity(raw.sync.len());
    for (number, entry) in raw.sync.iter().enumerate() {
        let (entry, inherited) = inherit(entry, &raw.defaults);
        let mut own = findings.of_part();
        let at = format!("sync[{number}]");
        let due = schedule(
            &at,
            &entry.policy.interval,
            &entry.policy.schedule,
            &mut own,
        );
        if inherited.contains(&"schedule") && entry.policy.interval.is_some() {
            let message = "has no effect: the schedule of defaults comes first, as in regsync";
            own.caution(format!("{at}.interval"), message);
        }
        let read = Entry {
            number,
            raw: &entry,
        };
        let job = job(&read, &mut names, &mut expander, &mut own);
        if let (Some(job), Some(due)) = (&job, due) {
            schedules.insert(job.name.clone(), due);
        }
        jobs.extend(job.map(|job| (number, job)));
        let mut own = own.into_list();
        // By the entry's key: the template may be another's.
        hide_secrets(&mut own, &expander);
        findings.extend(trace_back(number, &inherited, own));
        entries.push(entry);
    }
    collisions(&jobs, &mut findings);
    if raw.sync.is_empty() && findings.errors() == 0 {
        findings.warn("sync", "there are no entries, so there is nothing to do");
    }
    let jobs: Vec<Job> = jobs.into_iter().map(|(_, job)| job).collect();
    let config = Config {
        effective: effective(raw, entries, &jobs),
        secrets: raw.creds.iter().map(secrets).collect(),
        holds_secrets: raw.creds.iter().any(holds_secret),
        registries,
        docker_config: !raw.defaults.skip_docker_config.unwrap_or(false),
        user_agent: raw
            .defaults
            .user_agent
            .clone()
            .filter(|text| !text.is_empty()),
        parallel,
        blob_limit: blob_limit(&raw.defaults, &mut findings),
        cache: cache(&raw.defaults, &mut findings),
        jobs,
        schedules,
        places: BTreeMap::new(),
        warnings: Report::default(),
    };
    // An inherited value is looked at once for each entry.
    let mut seen = HashSet::new();
    let mut findings = findings.into_list();
    findings.retain(|finding| {
        let place = finding.place.as_ref().map(|place| place.start);
        seen.insert((finding.at.clone(), finding.message.clone(), place))
    });
    hide_secrets(&mut findings, &expander);
    (config, findings)
}

/// Tells what is wrong with a value that came from a secret without it.
fn hide_secrets(findings: &mut [Finding], expander: &Expander<'_>) {
    for finding in findings {
        let secret = expander.secret.contains(&finding.at);
        if secret && finding.within.is_none() && finding.severity == Severity::Error {
            let message = "what its template gives cannot be used here, and is a secret";
            message.clone_into(&mut finding.message);
        }
    }
}

fn secrets(entry: &raw::Creds) -> [Option<Secret>; 3] {
    [&entry.pass, &entry.token, &entry.client_key].map(|text| text.clone().map(Secret::new))
}

/// Whether a secret is written out, and does not come from elsewhere.
fn holds_secret(entry: &raw::Creds) -> bool {
    let secrets = [&entry.pass, &entry.token, &entry.client_key];
    let mut written = secrets.into_iter().flatten();
    written.any(|text| !text.is_empty() && !text.contains("{{"))
}

/// Warns of jobs that write the same tags: the last one wins, each time.
fn collisions(jobs: &[(usize, Job)], findings: &mut Findings) {
    /// How many jobs for one repository each is compared with.
    const COMPARED: usize = 20;
    let mut images: HashMap<_, usize> = HashMap::new();
    let mut repositories: HashMap<_, Vec<&(usize, Job)>> = HashMap::new();
    for job @ (number, Job { scope, .. }) in jobs {
        let (Scope::Image { target, .. } | Scope::Repository { target, .. }) = scope else {
            continue;
        };
        let place = (&target.location, &target.repository);
        let tag = match scope {
            Scope::Image { .. } => target.tag_to_write(),
            _ => None,
        };
        let same = tag.and_then(|tag| images.insert((place, tag), *number));
        let others = repositories.entry(place).or_default();
        let other = others
            .iter()
            .find(|(_, other)| collide(scope, &other.scope));
        if let Some(other) = same.or(other.map(|(other, _)| *other)) {
            let message = format!("sync[{other}] and sync[{number}] write the same target tag");
            findings.caution(format!("sync[{number}].target"), message);
        }
        if others.len() < COMPARED {
            others.push(job);
        }
    }
}

fn collide(one: &Scope, other: &Scope) -> bool {
    match (one, other) {
        (Scope::Image { target: one, .. }, Scope::Image { target: other, .. }) => {
            one.location == other.location
                && one.repository == other.repository
                && one.tag_to_write().is_some()
                && one.tag_to_write() == other.tag_to_write()
        }
        (Scope::Image { target: image, .. }, Scope::Repository { target, tags, .. })
        | (Scope::Repository { target, tags, .. }, Scope::Image { target: image, .. }) => {
            let tag = image.tag_to_write().map(TagOrDigest::from);
            image.location == target.location
                && image.repository == target.repository
                && tag.is_some_and(|tag| {
                    tags.latest.is_none() && tags.excludes(tag.as_str()).is_none()
                })
        }
        (
            Scope::Repository {
                target: one, tags, ..
            },
            Scope::Repository {
                target: other,
                tags: others,
                ..
            },
        ) => one.location == other.location && one.repository == other.repository && tags == others,
        _ => false,
    }
}

/// Lays a fault of an inherited value to the `defaults` that it comes from.
fn trace_back(number: usize, inherited: &[&str], findings: Vec<Finding>) -> Vec<Finding> {
    let entry = format!("sync[{number}].");
    let from_defaults = |finding: &Finding| {
        let key = finding.at.strip_prefix(&entry)?;
        let below = |name: &&&str| {
            let rest = key.strip_prefix(**name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        inherited.iter().find(below)?;
        Some(format!("defaults.{key}"))
    };
    let traced = findings
        .into_iter()
        .filter_map(|finding| match from_defaults(&finding) {
            // It has one for other entries.
            Some(_) if finding.check == Check::Unused => None,
            Some(at) => Some(Finding { at, ..finding }),
            None => Some(finding),
        });
    traced.collect()
}

/// How large a chunk a registry may ask for at least. As for regsync, 0 stands
/// for the default.
fn blob_limit(defaults: &raw::Defaults, findings: &mut Findings) -> u64 {
    /// One chunk for each upload is held in memory.
    const MOST: u64 = 1 << 30;
    let usual = Chunks::default().largest_least;
    match defaults.blob_limit {
        None | Some(0) => usual,
        Some(limit) => match u64::try_from(limit) {
            Ok(limit) if limit <= MOST => limit,
            _ => {
                let message = format!("expected a number of bytes from 0 to {MOST}");
                findings.add("defaults.blobLimit", message);
                usual
            }
        },
    }
}

/// As for regsync, both have to be given.
fn cache(defaults: &raw::Defaults, findings: &mut Findings) -> Option<(usize, Duration)> {
    let count = defaults.cache_count.unwrap_or(0);
    let time = defaults
        .cache_time
        .as_deref()
        .filter(|text| !text.is_empty());
    let time = time.map(|text| findings.keep("defaults.cacheTime", duration::parse(text)));
    let time = time.map_or(Some(Duration::ZERO), |time| time)?;
    let Some(count) = usize::try_from(count)
        .ok()
        .filter(|count| *count <= 1_000_000)
    else {
        findings.add("defaults.cacheCount", "expected a number from 0 to 1000000");
        return None;
    };
    match (count > 0, !time.is_zero()) {
        (true, true) => Some((count, time)),
        (true, false) => {
            findings.warn("defaults.cacheCount", "has no effect without cacheTime");
            None
        }
        (false, true) => {
            findings.warn("defaults.cacheTime", "has no effect without cacheCount");
            None
        }
        (false, false) => None,
    }
}

/// When a job is due: its schedule comes before its interval.
fn schedule(
    at: &str,
    interval: &Option<String>,
    cron: &Option<String>,
    findings: &mut Findings,
) -> Option<Schedule> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let interval = given(interval).and_then(|text| {
        let at = format!("{at}.interval");
        let interval = findings.keep(&at, duration::parse(&text))?;
        findings.keep(&at, Schedule::every(interval))
    });
    let cron = given(cron)
        .and_then(|text| findings.keep(&format!("{at}.schedule"), Schedule::parse(&text)));
    cron.or(interval)
}
