//! `sync`: an entry to a job.

use std::collections::HashSet;

use super::{optional_text, schedule, text};
use crate::config::fault::Faults;
use crate::config::{duration, raw};
use crate::oci::{Host, Location, Reference, Repository};
use crate::select::Filter;
use crate::sync::{Backup, Job, Policy, RateLimit, Scope};

pub(super) fn job(
    number: usize,
    entry: &raw::Sync,
    defaults: &raw::Defaults,
    names: &mut HashSet<String>,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Option<Job> {
    let entry_at = format!("sync[{number}]");
    let at = |key: &str| format!("{entry_at}.{key}");
    schedule(&entry_at, &entry.interval, &entry.schedule, faults);
    let source = text(&at("source"), entry.source.as_ref(), faults);
    let target = text(&at("target"), entry.target.as_ref(), faults);
    let backup = entry.backup.as_ref().or(defaults.backup.as_ref());
    let backup = optional_text(&at("backup"), backup, faults);
    let backup = backup.and_then(|text| faults.keep(&at("backup"), parse_backup(&text)));
    let filter = |key: &str, allow: &[String], deny: &[String], faults: &mut Faults| {
        faults.keep(&at(key), Filter::new(allow, deny))
    };
    let tags = filter("tags", &entry.tags.allow, &entry.tags.deny, faults);
    let repositories = filter("repos", &entry.repos.allow, &entry.repos.deny, faults);
    let rate_limit = rate_limit(&entry_at, entry, defaults, faults, warnings);
    let name = unique_name(number, entry, names, faults);
    let scope = match entry.kind.as_deref() {
        Some("image") => {
            let scope = image(&at, source?, target?, faults);
            unused(&at("tags"), entry.tags != raw::Tags::default(), warnings);
            unused(
                &at("repos"),
                entry.repos != raw::Patterns::default(),
                warnings,
            );
            scope
        }
        Some("repository") => {
            let source: Option<Reference> = faults.keep(&at("source"), source?.parse());
            let target: Option<Reference> = faults.keep(&at("target"), target?.parse());
            unused(
                &at("repos"),
                entry.repos != raw::Patterns::default(),
                warnings,
            );
            let (source, target, tags) = (source?, target?, tags?);
            for (key, reference) in [("source", &source), ("target", &target)] {
                if reference.tag.is_some() || reference.digest.is_some() {
                    warnings.push(format!(
                        "{}: the tag has no effect: all tags are copied",
                        at(key)
                    ));
                }
            }
            Some(Scope::Repository {
                source,
                target,
                tags,
            })
        }
        Some("registry") => {
            let source = faults.keep(&at("source"), parse_registry(source?));
            let target = faults.keep(&at("target"), parse_registry(target?));
            let ((source, below), (target, prefix)) = (source?, target?);
            if !below.is_unnamed() {
                faults.add(at("source"), "a registry is named without a repository");
            }
            Some(Scope::Registry {
                source,
                target,
                prefix,
                repositories: repositories?,
                tags: tags?,
            })
        }
        kind => {
            let seen = kind.map_or("missing".to_owned(), |kind| {
                format!("{kind:?} is not known")
            });
            let message = format!("{seen}: expected image, repository or registry");
            faults.add(at("type"), message);
            None
        }
    }?;
    if backup.is_some() && !matches!(scope, Scope::Image { .. }) {
        warnings.push(format!(
            "{}: one place for all tags: of the images overwritten in a run, the last one is kept",
            at("backup")
        ));
    }
    if is_to_itself(&scope) {
        faults.add(
            at("target"),
            "the same as the source: nothing would be copied",
        );
    }
    Some(Job {
        name: name?,
        scope,
        policy: Policy {
            backup,
            referrers: entry.referrers.or(defaults.referrers).unwrap_or(false),
            missing_only: false,
            rate_limit,
        },
    })
}

/// The reserve of pulls: each of its keys is the entry's, or the defaults'.
fn rate_limit(
    entry_at: &str,
    entry: &raw::Sync,
    defaults: &raw::Defaults,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Option<RateLimit> {
    let (own, usual) = (&entry.ratelimit, &defaults.ratelimit);
    // regsync takes 0 for "not given".
    let given = |limit: &raw::RateLimit| limit.min.filter(|&min| min != 0);
    let (at, min) = match (given(own), given(usual)) {
        (Some(min), _) => (entry_at, min),
        (None, Some(min)) => ("defaults", min),
        (None, None) => return None,
    };
    let Ok(min) = u64::try_from(min) else {
        faults.add(format!("{at}.ratelimit.min"), "expected a number of pulls");
        return None;
    };
    let given = |limit: &raw::RateLimit| limit.retry.clone().filter(|text| !text.is_empty());
    let (at, retry) = match (given(own), given(usual)) {
        (Some(retry), _) => (entry_at, retry),
        (None, Some(retry)) => ("defaults", retry),
        (None, None) => {
            let retry = RateLimit::RETRY;
            return Some(RateLimit { min, retry });
        }
    };
    let at = format!("{at}.ratelimit.retry");
    let retry = faults.keep(&at, duration::parse(&retry))?;
    if retry < RateLimit::RETRY {
        warnings.push(format!("{at}: raised to the least, 5m"));
    }
    Some(RateLimit {
        min,
        retry: retry.max(RateLimit::RETRY),
    })
}

fn image(
    at: &dyn Fn(&str) -> String,
    source: &str,
    target: &str,
    faults: &mut Faults,
) -> Option<Scope> {
    let source: Option<Reference> = faults.keep(&at("source"), source.parse());
    let target: Option<Reference> = faults.keep(&at("target"), target.parse());
    let (source, target) = (source?, target?);
    if target.digest.is_some() {
        faults.add(
            at("target"),
            "a target is named by a tag; its digest is the source's",
        );
    }
    Some(Scope::Image { source, target })
}

fn is_to_itself(scope: &Scope) -> bool {
    match scope {
        Scope::Image { source, target } => {
            source.location == target.location
                && source.repository == target.repository
                && source.digest.is_none()
                && source.tag_or_digest() == target.tag_or_digest()
        }
        Scope::Repository { source, target, .. } => {
            source.location == target.location && source.repository == target.repository
        }
        Scope::Registry {
            source,
            target,
            prefix,
            ..
        } => source == target && prefix.is_unnamed(),
    }
}

/// The name written, or the target's, made unique.
fn unique_name(
    number: usize,
    entry: &raw::Sync,
    names: &mut HashSet<String>,
    faults: &mut Faults,
) -> Option<String> {
    if let Some(name) = &entry.name {
        if !names.insert(name.clone()) {
            faults.add(
                format!("sync[{number}].name"),
                format!("another entry is called {name:?}"),
            );
        }
        return Some(name.clone());
    }
    let base = entry.target.clone()?;
    let mut name = base.clone();
    let mut copy = 2;
    while !names.insert(name.clone()) {
        name = format!("{base} ({copy})");
        copy += 1;
    }
    Some(name)
}

/// A registry, `HOST[/PREFIX]`, or a directory of layouts, `ocidir://PATH`.
fn parse_registry(text: &str) -> Result<(Location, Repository), String> {
    if text.contains("://") {
        let reference: Reference = text.parse().map_err(|error| format!("{error}"))?;
        return Ok((reference.location, Repository::unnamed()));
    }
    let (host, prefix) = match text.trim_end_matches('/').split_once('/') {
        Some((host, prefix)) => (host, Some(prefix)),
        None => (text.trim_end_matches('/'), None),
    };
    let host: Host = host.parse().map_err(|error| format!("{error}"))?;
    let prefix = match prefix {
        Some(prefix) => prefix.parse().map_err(|error| format!("{error}"))?,
        None => Repository::unnamed(),
    };
    Ok((Location::Registry(host), prefix))
}

/// A tag, or a reference when it has a `:` or a `/`, as regsync tells them.
fn parse_backup(text: &str) -> Result<Backup, String> {
    if !text.contains([':', '/']) {
        return match text.parse() {
            Ok(tag) => Ok(Backup::Tag(tag)),
            Err(error) => Err(format!("{error}")),
        };
    }
    let reference: Reference = text.parse().map_err(|error| format!("{error}"))?;
    match reference.digest {
        Some(_) => Err("a backup is named by a tag, not by a digest".to_owned()),
        None => Ok(Backup::Reference(reference)),
    }
}

fn unused(at: &str, given: bool, warnings: &mut Vec<String>) {
    if given {
        warnings.push(format!("{at}: has no effect for this type"));
    }
}
