//! Templates in values, expanded when the file is read.

use std::collections::HashSet;

use crate::config::finding::Findings;
use crate::config::raw;
use crate::template::{Surroundings, Template, Value};

/// Expands the templates of a file.
pub(super) struct Expander<'a> {
    pub(super) surroundings: &'a dyn Surroundings,
    /// The keys whose values came from `env` or `file`: what is wrong with them
    /// is told without them.
    pub(super) secret: HashSet<String>,
}

impl Expander<'_> {
    /// `value` with its template filled in. `None` when there is no value, or
    /// its template does not work.
    pub(super) fn text(
        &mut self,
        at: &str,
        value: Option<&String>,
        data: &Value,
        findings: &mut Findings,
    ) -> Option<String> {
        self.expand(at, value, data, false, findings)
    }

    /// The same for a value that is a secret by itself.
    pub(super) fn secret_text(
        &mut self,
        at: &str,
        value: Option<&String>,
        findings: &mut Findings,
    ) -> Option<String> {
        self.expand(at, value, &Value::NIL, true, findings)
    }

    fn expand(
        &mut self,
        at: &str,
        value: Option<&String>,
        data: &Value,
        hidden: bool,
        findings: &mut Findings,
    ) -> Option<String> {
        let text = value.filter(|value| !value.is_empty())?;
        if !text.contains("{{") {
            return Some(text.clone());
        }
        let rendered =
            Template::parse(text).and_then(|template| template.render(data, self.surroundings));
        match rendered {
            Ok(rendered) => {
                if rendered.secret {
                    self.secret.insert(at.to_owned());
                }
                Some(rendered.text).filter(|text| !text.is_empty())
            }
            Err(_) if hidden => {
                findings.add(
                    at,
                    "its template does not work; why is not shown, for it is a secret",
                );
                None
            }
            Err(error) => {
                findings.add_within(at, text, error.offset, error);
                None
            }
        }
    }
}

/// An entry as `.Sync`, with the names that regsync's struct has.
pub(super) fn entry_value(entry: &raw::Sync) -> Value {
    let text = |text: &Option<String>| Value::from(text.clone().unwrap_or_default());
    let flag = |flag: Option<bool>| Value::from(flag.unwrap_or(false));
    let list = |list: &[String]| Value::from(list.to_vec());
    let set = |allow: &[String], deny: &[String], ranges: &[String]| {
        Value::map([
            ("Allow", list(allow)),
            ("Deny", list(deny)),
            ("SemverRange", list(ranges)),
        ])
    };
    let tags = &entry.tags;
    let sets = entry.tag_sets.iter();
    let sets: Vec<Value> = sets
        .map(|tags| set(&tags.allow, &tags.deny, &tags.semver_range))
        .collect();
    let filters = entry.policy.referrer_filters.iter().flatten();
    let filters: Vec<Value> = filters
        .map(|filter| {
            Value::map([
                ("ArtifactType", text(&filter.artifact_type)),
                ("Annotations", Value::map(filter.annotations.clone())),
            ])
        })
        .collect();
    let hook = |hook: &Option<raw::Hook>| match hook {
        Some(hook) => Value::map([("Type", text(&hook.kind)), ("Params", list(&hook.params))]),
        None => Value::NIL,
    };
    Value::map([
        ("Name", text(&entry.name)),
        ("Source", text(&entry.source)),
        ("Target", text(&entry.target)),
        ("Type", text(&entry.kind)),
        ("Tags", set(&tags.allow, &tags.deny, &tags.semver_range)),
        ("TagSets", sets.into()),
        ("Repos", set(&entry.repos.allow, &entry.repos.deny, &[])),
        ("DigestTags", flag(entry.policy.digest_tags)),
        ("Referrers", flag(entry.policy.referrers)),
        ("ReferrerFilters", filters.into()),
        ("ReferrerSlow", flag(entry.policy.referrer_slow)),
        ("ReferrerSrc", text(&entry.policy.referrer_source)),
        ("ReferrerTgt", text(&entry.policy.referrer_target)),
        ("ReferrerSource", text(&entry.policy.referrer_source)),
        ("ReferrerTarget", text(&entry.policy.referrer_target)),
        ("Platform", text(&entry.platform)),
        ("Platforms", list(&entry.platforms)),
        ("FastCheck", flag(entry.policy.fast_check)),
        ("ForceRecursive", flag(entry.policy.force_recursive)),
        ("IncludeExternal", flag(entry.policy.include_external)),
        ("Backup", text(&entry.policy.backup)),
        ("Interval", text(&entry.policy.interval)),
        ("Schedule", text(&entry.policy.schedule)),
        (
            "RateLimit",
            Value::map([
                ("Min", Value::from(entry.policy.ratelimit.min.unwrap_or(0))),
                ("Retry", text(&entry.policy.ratelimit.retry)),
            ]),
        ),
        ("MediaTypes", list(&entry.policy.media_types)),
        (
            "Hooks",
            Value::map([
                ("Pre", hook(&entry.policy.hooks.pre)),
                ("Post", hook(&entry.policy.hooks.post)),
                ("Unchanged", hook(&entry.policy.hooks.unchanged)),
            ]),
        ),
    ])
}
