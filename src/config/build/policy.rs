//! How an entry's images are copied.

use std::time::Duration;

use super::expand::{Expander, entry_value};
use super::job::Entry;
use crate::config::finding::Findings;
use crate::config::raw;
use crate::oci::{Location, MediaType, Platform, Reference, Repository};
use crate::schedule::duration;
use crate::sync::{
    Backup, BackupFailure, Hook, Hooks, IndexForm, Platforms, Policy, RateLimit, ReferrerFilter,
    Referrers, Scope,
};
use crate::template::{Template, Value};

/// How long a hook may take at most.
const LONGEST_HOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// `expanded` is the entry with its templates filled in.
pub(super) fn policy(
    entry: &Entry<'_>,
    expanded: &raw::Sync,
    scope: Option<&Scope>,
    expander: &mut Expander<'_>,
    findings: &mut Findings,
) -> Option<Policy> {
    let raw = entry.raw;
    let known = findings.errors();
    let fast_check = raw
        .policy
        .fast_check
        .or(raw.policy.fast_copy)
        .unwrap_or(false);
    if raw.policy.fast_copy.is_some() {
        findings.deprecated(entry.at("fastCopy"), "is called fastCheck");
    }
    let force_recursive = raw.policy.force_recursive.unwrap_or(false);
    if fast_check && force_recursive {
        let message = "has no effect with forceRecursive, which looks through everything";
        findings.warn(entry.at("fastCheck"), message);
    }
    let policy = Policy {
        backup: backup(entry, expanded, scope, expander, findings),
        referrers: referrers(entry, expanded, expander, findings),
        digest_tags: raw.policy.digest_tags.unwrap_or(false),
        fast_check,
        force_recursive,
        include_external: raw.policy.include_external.unwrap_or(false),
        media_types: media_types(entry, findings),
        platforms: platforms(entry, findings),
        hooks: hooks(entry, findings),
        missing_only: false,
        rate_limit: rate_limit(entry, findings),
    };
    (findings.errors() == known).then_some(policy)
}

/// The template is tried on the entry's own target, so that what is wrong with
/// it is known before a tag is to be overwritten.
fn backup(
    entry: &Entry<'_>,
    expanded: &raw::Sync,
    scope: Option<&Scope>,
    expander: &mut Expander<'_>,
    findings: &mut Findings,
) -> Option<Backup> {
    let at = entry.at("backup");
    let failure = match entry.raw.policy.backup_failure.as_deref() {
        Some("continue") => BackupFailure::Continue,
        _ => BackupFailure::Stop,
    };
    let Some(text) = entry
        .raw
        .policy
        .backup
        .as_ref()
        .filter(|text| !text.is_empty())
    else {
        if entry.raw.policy.backup_failure.is_some() {
            findings.warn(entry.at("backupFailure"), "has no effect without backup");
        }
        return None;
    };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            findings.add_within(&at, text, error.offset, error);
            return None;
        }
    };
    let backup = Backup {
        template,
        entry: entry_value(expanded),
        failure,
    };
    let (location, repository) = example(scope);
    let data = Value::map([
        ("Ref", Backup::facts(&location, &repository, &tag("latest"))),
        ("Sync", backup.entry.clone()),
        ("Step", backup.entry.clone()),
    ]);
    if let Err(error) = backup.template.render(&data, expander.surroundings) {
        findings.add_within(&at, text, error.offset, error);
        return None;
    }
    let place = backup.place(
        &location,
        &repository,
        &tag("latest"),
        expander.surroundings,
    );
    let place = findings.keep(&at, place)?;
    let several = !matches!(scope, Some(Scope::Image { .. }));
    let other = backup.place(&location, &repository, &tag("other"), expander.surroundings);
    if several && other.as_ref() == Ok(&place) {
        findings.caution(
            at,
            "one place for all tags: of the images overwritten in a run, the last one is kept; \
             {{.Ref.Tag}} in it makes one for each",
        );
    }
    Some(backup)
}

fn tag(text: &str) -> crate::oci::Tag {
    text.parse().expect("letters are a tag")
}

/// A repository that the entry writes to, or one like it.
fn example(scope: Option<&Scope>) -> (Location, Repository) {
    let example: Repository = "example".parse().expect("letters are a repository");
    match scope {
        Some(Scope::Image { target, .. } | Scope::Repository { target, .. }) => {
            (target.location.clone(), target.repository.clone())
        }
        Some(Scope::Registry { target, prefix, .. }) => {
            let repository = prefix.join(&example).unwrap_or(example);
            (target.clone(), repository)
        }
        None => {
            let host = "registry.example"
                .parse()
                .expect("a name with a dot is a host");
            (Location::Registry(host), example)
        }
    }
}

fn referrers(
    entry: &Entry<'_>,
    expanded: &raw::Sync,
    expander: &mut Expander<'_>,
    findings: &mut Findings,
) -> Option<Referrers> {
    let raw = entry.raw;
    let data = Value::map([("Sync", entry_value(expanded))]);
    let mut place = |key: &str, value: &Option<String>, findings: &mut Findings| {
        let at = entry.at(key);
        let text = expander.text(&at, value.as_ref(), &data, findings)?;
        let reference: Reference = findings.keep(&at, text.parse())?;
        if reference.tag.is_some() || reference.digest.is_some() {
            findings.warn(at, "the tag has no effect: referrers have none");
        }
        Some(reference)
    };
    let source = place("referrerSource", &raw.policy.referrer_source, findings);
    let target = place("referrerTarget", &raw.policy.referrer_target, findings);
    if !raw.policy.referrers.unwrap_or(false) {
        let given = [
            (
                "referrerFilters",
                raw.policy
                    .referrer_filters
                    .as_ref()
                    .is_some_and(|list| !list.is_empty()),
            ),
            ("referrerSource", source.is_some()),
            ("referrerTarget", target.is_some()),
            ("referrerSlow", raw.policy.referrer_slow == Some(true)),
        ];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            findings.warn(entry.at(key), "has no effect without referrers: true");
        }
        return None;
    }
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let filters = raw.policy.referrer_filters.iter().flatten();
    Some(Referrers {
        filters: filters
            .map(|filter| ReferrerFilter {
                artifact_type: given(&filter.artifact_type),
                annotations: filter.annotations.clone(),
            })
            .collect(),
        source,
        target,
        slow: raw.policy.referrer_slow.unwrap_or(false),
    })
}

fn media_types(entry: &Entry<'_>, findings: &mut Findings) -> Vec<MediaType> {
    if entry.raw.policy.media_types.is_empty() {
        return Policy::MEDIA_TYPES.to_vec();
    }
    let mut types = Vec::with_capacity(entry.raw.policy.media_types.len());
    for (number, text) in entry.raw.policy.media_types.iter().enumerate() {
        let kind = MediaType::new(text);
        let at = entry.at(&format!("mediaTypes[{number}]"));
        if !kind.is_well_formed() {
            findings.add(
                at,
                format!("{text:?} is no media type: expected type/subtype"),
            );
        } else if !kind.is_manifest() {
            findings.warn(at, "no manifest that can be copied has this type");
        }
        types.push(kind);
    }
    types
}

fn platforms(entry: &Entry<'_>, findings: &mut Findings) -> Platforms {
    let raw = entry.raw;
    let one = raw.platform.as_ref().filter(|text| !text.is_empty());
    let one = one.and_then(|text| findings.keep(&entry.at("platform"), text.parse::<Platform>()));
    let mut several = Vec::with_capacity(raw.platforms.len());
    for (number, text) in raw.platforms.iter().enumerate() {
        let at = entry.at(&format!("platforms[{number}]"));
        several.extend(findings.keep(&at, text.parse::<Platform>()));
    }
    if raw.policy.platform_index.is_some() && raw.platforms.is_empty() {
        findings.warn(entry.at("platformIndex"), "has no effect without platforms");
    }
    let index = match raw.policy.platform_index.as_deref() {
        Some("rewrite") => IndexForm::Rewrite,
        _ => IndexForm::Sparse,
    };
    match (one, several.is_empty()) {
        (Some(platform), true) => Platforms::One(platform),
        (Some(_), false) => {
            let message = "there are platforms as well: one image, or an index of several";
            findings.add(entry.at("platform"), message);
            Platforms::All
        }
        (None, false) => Platforms::Some {
            platforms: several,
            index,
        },
        (None, true) => Platforms::All,
    }
}

fn hooks(entry: &Entry<'_>, findings: &mut Findings) -> Hooks {
    let mut hook = |name: &str, raw: &Option<raw::Hook>| {
        let raw = raw.as_ref()?;
        let at = |key: &str| entry.at(&format!("hooks.{name}.{key}"));
        let limit = match raw.timeout.as_deref().filter(|text| !text.is_empty()) {
            None => Hook::LIMIT,
            Some(text) => {
                let limit = findings.keep(&at("timeout"), duration::parse(text))?;
                if limit.is_zero() || limit > LONGEST_HOOK {
                    findings.add(at("timeout"), format!("{text} is not from 1ns to 24h"));
                }
                limit
            }
        };
        let Some((program, arguments)) = raw.params.split_first() else {
            let message = "missing: expected a list of the program and its arguments";
            findings.add(at("params"), message);
            return None;
        };
        if program.is_empty() || raw.params.iter().any(|text| text.contains('\0')) {
            findings.add(at("params"), "expected the name of a program first");
        }
        Some(Hook {
            program: program.clone(),
            arguments: arguments.to_vec(),
            limit,
        })
    };
    Hooks {
        pre: hook("pre", &entry.raw.policy.hooks.pre),
        post: hook("post", &entry.raw.policy.hooks.post),
        unchanged: hook("unchanged", &entry.raw.policy.hooks.unchanged),
    }
}

/// The reserve of pulls. regsync takes 0 for "not given".
fn rate_limit(entry: &Entry<'_>, findings: &mut Findings) -> Option<RateLimit> {
    let raw::RateLimit { min, retry } = &entry.raw.policy.ratelimit;
    let min = u64::try_from(min.unwrap_or(0));
    if min.is_err() {
        findings.add(entry.at("ratelimit.min"), "expected a number of pulls");
    }
    let at = entry.at("ratelimit.retry");
    let retry = match retry.as_deref().filter(|text| !text.is_empty()) {
        None => RateLimit::RETRY,
        Some(text) => {
            let retry = findings.keep(&at, duration::parse(text))?;
            if retry < RateLimit::RETRY {
                findings.caution(at, "raised to the least, 5m");
            }
            retry.max(RateLimit::RETRY)
        }
    };
    let min = min.ok().filter(|min| *min > 0)?;
    Some(RateLimit { min, retry })
}
