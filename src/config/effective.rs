//! What a configuration comes to: an entry with what it takes from `defaults`,
//! and the whole with every default filled in and no secret.

use super::report::HIDDEN;
use super::{Config, raw};
use crate::http::{Chunks, HostOptions};
use crate::sync::{Job, Policy, RateLimit};

/// An entry with what `defaults` has of the keys that it has not, and the names
/// of these keys. As for regsync, what is empty is not there.
pub(super) fn inherit(
    entry: &raw::Sync,
    defaults: &raw::Defaults,
) -> (raw::Sync, Vec<&'static str>) {
    let mut entry = entry.clone();
    let mut inherited = Vec::new();
    macro_rules! take {
        ($($name:literal $($field:ident).+ if $missing:expr;)*) => {$(
            let given = &defaults.policy.$($field).+;
            if $missing(&entry.policy.$($field).+) && !$missing(given) {
                entry.policy.$($field).+ = given.clone();
                inherited.push($name);
            }
        )*};
    }
    // A schedule of the defaults comes before an interval of the entry.
    let scheduled = !blank(&entry.policy.schedule) || !blank(&defaults.policy.schedule);
    take! {
        "schedule" schedule if blank;
        "backup" backup if blank;
        "backupFailure" backup_failure if blank;
        "ratelimit.min" ratelimit.min if zero;
        "ratelimit.retry" ratelimit.retry if blank;
        "referrers" referrers if Option::is_none;
        "referrerFilters" referrer_filters if Option::is_none;
        "referrerSource" referrer_source if blank;
        "referrerTarget" referrer_target if blank;
        "referrerSlow" referrer_slow if Option::is_none;
        "digestTags" digest_tags if Option::is_none;
        "fastCheck" fast_check if Option::is_none;
        "fastCopy" fast_copy if Option::is_none;
        "forceRecursive" force_recursive if Option::is_none;
        "includeExternal" include_external if Option::is_none;
        "mediaTypes" media_types if Vec::is_empty;
        "platformIndex" platform_index if blank;
        "hooks.pre" hooks.pre if Option::is_none;
        "hooks.post" hooks.post if Option::is_none;
        "hooks.unchanged" hooks.unchanged if Option::is_none;
    }
    if !scheduled {
        take! { "interval" interval if blank; }
    }
    (entry, inherited)
}

fn blank(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(String::is_empty)
}

fn zero(number: &Option<i64>) -> bool {
    number.is_none_or(|number| number == 0)
}

/// The configuration as it holds: each default filled in, each secret hidden.
pub(super) fn effective(
    written: &raw::Config,
    entries: Vec<raw::Sync>,
    jobs: &[Job],
) -> raw::Config {
    let mut config = raw::Config {
        version: Some(1),
        creds: written.creds.iter().cloned().map(registry).collect(),
        defaults: general(written.defaults.clone()),
        sync: entries,
    };
    for (entry, job) in config.sync.iter_mut().zip(jobs) {
        entry.name = Some(job.name.clone());
        fill_entry(entry);
    }
    config
}

fn hidden(secret: &mut Option<String>) {
    if !blank(secret) {
        *secret = Some(HIDDEN.to_string().repeat(3));
    }
}

fn fill<T>(value: &mut Option<T>, usual: T) {
    value.get_or_insert(usual);
}

fn fill_text(value: &mut Option<String>, usual: &str) {
    if blank(value) {
        *value = Some(usual.to_owned());
    }
}

fn registry(mut entry: raw::Creds) -> raw::Creds {
    hidden(&mut entry.pass);
    hidden(&mut entry.token);
    hidden(&mut entry.client_key);
    if blank(&entry.scheme) {
        fill_text(&mut entry.tls, "enabled");
    }
    if !blank(&entry.cred_helper) {
        fill_text(&mut entry.cred_expire, "1h");
    }
    let chunks = Chunks::default();
    fill(&mut entry.priority, 0);
    fill(&mut entry.repo_auth, false);
    fill(&mut entry.blob_max, -1);
    fill(
        &mut entry.blob_chunk,
        i64::try_from(chunks.size).unwrap_or(i64::MAX),
    );
    fill(&mut entry.req_per_sec, 0.0);
    let concurrent = i64::try_from(HostOptions::CONCURRENT).unwrap_or(i64::MAX);
    fill(&mut entry.req_concurrent, concurrent);
    fill_text(&mut entry.idle_timeout, &seconds(HostOptions::IDLE));
    entry
}

fn general(mut defaults: raw::Defaults) -> raw::Defaults {
    let parallel = i64::try_from(Config::PARALLEL).unwrap_or(i64::MAX);
    fill(&mut defaults.parallel, parallel);
    fill(&mut defaults.skip_docker_config, false);
    let limit = i64::try_from(Chunks::default().largest_least).unwrap_or(i64::MAX);
    fill(&mut defaults.blob_limit, limit);
    fill(&mut defaults.cache_count, 0);
    fill_text(&mut defaults.cache_time, "0s");
    fill_text(&mut defaults.user_agent, Config::USER_AGENT);
    defaults
}

fn fill_entry(entry: &mut raw::Sync) {
    let raw::RateLimit { min, retry } = &mut entry.policy.ratelimit;
    fill(min, 0);
    fill_text(retry, &seconds(RateLimit::RETRY));
    if !blank(&entry.policy.backup) {
        fill_text(&mut entry.policy.backup_failure, "stop");
    }
    if !entry.platforms.is_empty() {
        fill_text(&mut entry.policy.platform_index, "sparse");
    }
    if entry.tags.latest.is_some() {
        fill_text(&mut entry.tags.sort, "semver");
    }
    if entry.policy.media_types.is_empty() {
        let types = Policy::MEDIA_TYPES.iter();
        entry.policy.media_types = types.map(ToString::to_string).collect();
    }
    if let Some(fast) = entry.policy.fast_copy.take() {
        fill(&mut entry.policy.fast_check, fast);
    }
    for flag in [
        &mut entry.policy.referrers,
        &mut entry.policy.referrer_slow,
        &mut entry.policy.digest_tags,
        &mut entry.policy.fast_check,
        &mut entry.policy.force_recursive,
        &mut entry.policy.include_external,
    ] {
        fill(flag, false);
    }
}

/// A duration as Go writes it.
fn seconds(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 3600 == 0 && seconds > 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 && seconds > 60 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
