//! `sync`: an entry to a job.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use super::expand::{Expander, entry_value};
use super::policy::policy;
use crate::config::finding::Findings;
use crate::config::raw;
use crate::oci::{Host, Location, Reference, Repository};
use crate::select::{Filter, FilterError, Latest, Range, Selection, Sort, TagSet};
use crate::sync::{Job, Scope};

/// An entry that is being read.
pub(super) struct Entry<'a> {
    pub(super) number: usize,
    /// With what it has from `defaults`.
    pub(super) raw: &'a raw::Sync,
}

impl Entry<'_> {
    /// The path of one of its keys.
    pub(super) fn at(&self, key: &str) -> String {
        format!("sync[{}].{key}", self.number)
    }
}

pub(super) fn job(
    entry: &Entry<'_>,
    names: &mut HashMap<String, usize>,
    expander: &mut Expander<'_>,
    findings: &mut Findings,
) -> Option<Job> {
    let raw = entry.raw;
    let at = |key: &str| entry.at(key);
    let mut expanded = raw.clone();
    let mut place =
        |key: &str, value: &Option<String>, entry: &raw::Sync, findings: &mut Findings| {
            let data = crate::template::Value::map([("Sync", entry_value(entry))]);
            let text = expander.text(&at(key), value.as_ref(), &data, findings);
            if text.is_none() {
                findings.missing(&at(key), "");
            }
            text
        };
    let source = place("source", &raw.source, &expanded, findings);
    expanded.source.clone_from(&source);
    let target = place("target", &raw.target, &expanded, findings);
    expanded.target.clone_from(&target);
    let secret_target = expander.secret.contains(&at("target"));
    let name = unique_name(
        entry,
        target.as_ref().filter(|_| !secret_target),
        names,
        findings,
    );
    let tags = selection(entry, findings);
    let repositories = filter(&at("repos"), &raw.repos.allow, &raw.repos.deny, findings);
    let scope = scope(entry, source, target, tags, repositories, findings);
    let policy = policy(entry, &expanded, scope.as_ref(), expander, findings);
    let scope = scope?;
    if is_to_itself(&scope) {
        findings.add(
            at("target"),
            "the same as the source: nothing would be copied",
        );
    }
    Some(Job {
        name: name?,
        scope,
        policy: policy?,
    })
}

fn scope(
    entry: &Entry<'_>,
    source: Option<String>,
    target: Option<String>,
    tags: Option<Selection>,
    repositories: Option<Filter>,
    findings: &mut Findings,
) -> Option<Scope> {
    let raw = entry.raw;
    let at = |key: &str| entry.at(key);
    let kind = raw.kind.as_deref();
    let image = kind == Some("image");
    for (key, unused) in [
        ("tags", image && raw.tags != raw::Tags::default()),
        ("tagSets", image && !raw.tag_sets.is_empty()),
        (
            "repos",
            (image || kind == Some("repository")) && raw.repos != raw::Patterns::default(),
        ),
    ] {
        if unused {
            findings.warn(at(key), "has no effect for this type");
        }
    }
    match kind {
        Some("image") => {
            let source: Option<Reference> = parsed(&at("source"), source, findings);
            let target: Option<Reference> = parsed(&at("target"), target, findings);
            let (source, target) = (source?, target?);
            if target.digest.is_some() {
                let message = "a target is named by a tag; its digest is the source's";
                findings.add(at("target"), message);
            }
            Some(Scope::Image { source, target })
        }
        Some("repository") => {
            let source: Option<Reference> = parsed(&at("source"), source, findings);
            let target: Option<Reference> = parsed(&at("target"), target, findings);
            let (source, target, tags) = (source?, target?, tags?);
            for (key, reference) in [("source", &source), ("target", &target)] {
                if reference.tag.is_some() || reference.digest.is_some() {
                    let message = "the tag has no effect: all tags are copied";
                    findings.warn(at(key), message);
                }
            }
            Some(Scope::Repository {
                source,
                target,
                tags,
            })
        }
        Some("registry") => {
            let source =
                source.and_then(|text| findings.keep(&at("source"), parse_registry(&text)));
            let target =
                target.and_then(|text| findings.keep(&at("target"), parse_registry(&text)));
            let ((source, below), (target, prefix)) = (source?, target?);
            if !below.is_unnamed() {
                let message = "a registry is named without a repository";
                findings.add(at("source"), message);
            }
            Some(Scope::Registry {
                source,
                target,
                prefix,
                repositories: repositories?,
                tags: tags?,
            })
        }
        _ => {
            findings.missing(&at("type"), ": expected image, repository or registry");
            None
        }
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    at: &str,
    text: Option<String>,
    findings: &mut Findings,
) -> Option<T> {
    findings.keep(at, text?.parse())
}

/// All that is wrong with the choice of tags is found at once.
fn selection(entry: &Entry<'_>, findings: &mut Findings) -> Option<Selection> {
    let raw = entry.raw;
    let tags = &raw.tags;
    let mut sets = Vec::new();
    let own = raw::TagSet {
        semver_range: tags.semver_range.clone(),
        allow: tags.allow.clone(),
        deny: tags.deny.clone(),
    };
    // Beside sets, a choice that chooses nothing is none.
    let mut complete = true;
    if raw.tag_sets.is_empty() || own != raw::TagSet::default() {
        let set = tag_set(&entry.at("tags"), &own, findings);
        complete &= set.is_some();
        sets.extend(set);
    }
    for (number, set) in raw.tag_sets.iter().enumerate() {
        let set = tag_set(&entry.at(&format!("tagSets[{number}]")), set, findings);
        complete &= set.is_some();
        sets.extend(set);
    }
    let sort = match tags.sort.as_deref() {
        None | Some("" | "semver") => Sort::Semver,
        Some("name") => Sort::Name,
        // Others were found when the file was read.
        Some(_) => Sort::Created,
    };
    let latest = match tags.latest {
        None => None,
        Some(count) => {
            let count = usize::try_from(count).ok().and_then(NonZeroUsize::new);
            if count.is_none() {
                findings.add(entry.at("tags.latest"), "expected a number from 1");
                complete = false;
            }
            count.map(|count| Latest { count, sort })
        }
    };
    if tags.latest.is_none() && tags.sort.is_some() {
        findings.warn(entry.at("tags.sort"), "has no effect without latest");
    }
    complete.then_some(Selection { sets, latest })
}

fn tag_set(at: &str, set: &raw::TagSet, findings: &mut Findings) -> Option<TagSet> {
    let mut ranges = Vec::with_capacity(set.semver_range.len());
    // As for regsync, what is empty is not there.
    let given = |range: &&String| !range.trim().is_empty();
    let wanted = set.semver_range.iter().filter(given).count();
    for (number, range) in set.semver_range.iter().enumerate() {
        if !given(&range) {
            continue;
        }
        let range = Range::parse(range);
        ranges.extend(findings.keep(&format!("{at}.semverRange[{number}]"), range));
    }
    let filter = filter(at, &set.allow, &set.deny, findings)?;
    (ranges.len() == wanted).then_some(TagSet { ranges, filter })
}

fn filter(at: &str, allow: &[String], deny: &[String], findings: &mut Findings) -> Option<Filter> {
    /// How many patterns a list may have: each takes time to prepare.
    const MOST: usize = 10_000;
    for (key, patterns) in [("allow", allow), ("deny", deny)] {
        if patterns.len() > MOST {
            findings.add(format!("{at}.{key}"), format!("more than {MOST} patterns"));
            return None;
        }
    }
    match Filter::new(allow, deny) {
        Ok(filter) => Some(filter),
        // Those that are wrong one by one, each with its place.
        Err(_) => {
            let mut check = |key: &str, patterns: &[String]| {
                for (number, pattern) in patterns.iter().enumerate() {
                    let one: Result<_, FilterError> =
                        Filter::new(std::slice::from_ref(pattern), &[]);
                    findings.keep(&format!("{at}.{key}[{number}]"), one);
                }
            };
            check("allow", allow);
            check("deny", deny);
            None
        }
    }
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

/// The name written, or the target's, made unique. A target that comes from a
/// secret is named as it was written.
fn unique_name(
    entry: &Entry<'_>,
    target: Option<&String>,
    names: &mut HashMap<String, usize>,
    findings: &mut Findings,
) -> Option<String> {
    if let Some(name) = entry.raw.name.as_ref().filter(|name| !name.is_empty()) {
        if name.chars().any(char::is_control) || name.len() > 200 {
            let message = "a name has at most 200 bytes and no control characters";
            findings.add(entry.at("name"), message);
            return None;
        }
        if names.insert(name.clone(), 1).is_some() {
            let message = format!("another entry is called {name:?}");
            findings.add(entry.at("name"), message);
        }
        return Some(name.clone());
    }
    let base = target.or(entry.raw.target.as_ref())?;
    let mut name = base.clone();
    while names.contains_key(&name) {
        // How many are called so.
        let count = names.entry(base.clone()).or_insert(1);
        *count += 1;
        name = format!("{base} ({count})");
    }
    names.insert(name.clone(), 1);
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
