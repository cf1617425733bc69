//! The YAML of `skopeo sync --src yaml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConvertError, Draft, Known, anywhere, base, entry, raw, read};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Registry {
    #[serde(default)]
    images: BTreeMap<String, Option<Vec<String>>>,
    #[serde(default)]
    images_by_tag_regex: BTreeMap<String, String>,
    #[serde(default)]
    images_by_semver: BTreeMap<String, String>,
    credentials: Option<Credentials>,
    tls_verify: Option<bool>,
    cert_dir: Option<String>,
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    username: String,
}

pub(super) fn convert(
    draft: &mut Draft,
    text: &str,
    target: Option<&str>,
) -> Result<(), ConvertError> {
    let file: BTreeMap<String, Registry> = read("skopeo sync", text)?;
    let target =
        target.ok_or_else(|| ConvertError::NoTarget("a file of skopeo sync".to_owned()))?;
    let target = target.trim_end_matches('/');
    for (host, registry) in file {
        let user = registry.credentials.map(|credentials| credentials.username);
        let user = user.filter(|user| !user.is_empty());
        draft.registry(
            &host,
            Known {
                password: user.is_some(),
                user,
                tls: (registry.tls_verify == Some(false)).then_some("insecure"),
                regcert: registry.cert_dir.map(|folder| {
                    format!("{{{{file \"{}/ca.crt\"}}}}", folder.trim_end_matches('/'))
                }),
            },
        );
        let job = |kind: &str, name: &str, source: &str| {
            entry(
                kind,
                format!("{host}/{source}"),
                format!("{target}/{}", base(name)),
            )
        };
        for (name, tags) in registry.images {
            let (digests, tags): (Vec<String>, Vec<String>) = tags
                .unwrap_or_default()
                .into_iter()
                .partition(|tag| tag.contains(':'));
            for digest in &digests {
                draft.job(job("image", &name, &format!("{name}@{digest}")));
            }
            if digests.is_empty() || !tags.is_empty() {
                let mut job = job("repository", &name, &name);
                job.tags.allow = tags.iter().map(|tag| regex::escape(tag)).collect();
                draft.job(job);
            }
        }
        for (name, pattern) in registry.images_by_tag_regex {
            let mut job = job("repository", &name, &name);
            job.tags.allow = vec![anywhere(&pattern)];
            draft.job(job);
        }
        for (name, range) in registry.images_by_semver {
            let mut job = job("repository", &name, &name);
            job.tags.semver_range = vec![range];
            draft.job(job);
        }
    }
    together(draft);
    Ok(())
}

/// Two jobs for one repository become one, and two repositories that would fall
/// together are told of.
fn together(draft: &mut Draft) {
    let mut jobs: Vec<raw::Sync> = Vec::new();
    for job in std::mem::take(&mut draft.config.sync) {
        let same = |other: &&mut raw::Sync| {
            other.kind == job.kind && other.source == job.source && other.target == job.target
        };
        match jobs.iter_mut().find(same) {
            Some(other) => {
                for tags in [&mut other.tags, &mut job.tags.clone()] {
                    let set = raw::TagSet {
                        semver_range: std::mem::take(&mut tags.semver_range),
                        allow: std::mem::take(&mut tags.allow),
                        deny: Vec::new(),
                    };
                    if set != raw::TagSet::default() {
                        other.tag_sets.push(set);
                    }
                }
            }
            None => jobs.push(job),
        }
    }
    let fallen: Vec<String> = jobs
        .iter()
        .enumerate()
        .filter(|(number, job)| {
            jobs[..*number]
                .iter()
                .any(|other| other.target == job.target && repository(other) != repository(job))
        })
        .filter_map(|(_, job)| job.target.clone())
        .collect();
    for target in fallen {
        draft.remark(format!(
            "{target}: several repositories go there, as skopeo does without --scoped"
        ));
    }
    draft.config.sync = jobs;
}

fn repository(job: &raw::Sync) -> Option<&str> {
    job.source.as_deref()?.split('@').next()
}
