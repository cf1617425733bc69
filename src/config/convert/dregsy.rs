//! dregsy's tasks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{ConvertError, Draft, Known, anywhere, entry, raw, read};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Task {
    name: String,
    interval: Option<u64>,
    source: Location,
    target: Location,
    #[serde(default)]
    mappings: Vec<Mapping>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Location {
    registry: String,
    auth: Option<String>,
    auth_refresh: Option<String>,
    #[serde(default)]
    skip_tls_verify: bool,
}

#[derive(Deserialize)]
struct Mapping {
    from: String,
    to: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    platform: Option<String>,
}

/// What `auth` holds, in base64.
#[derive(Deserialize)]
struct Auth {
    username: String,
}

pub(super) fn convert(draft: &mut Draft, text: &str) -> Result<(), ConvertError> {
    let file: File = read("dregsy", text)?;
    for task in file.tasks {
        for location in [&task.source, &task.target] {
            registry(draft, &task.name, location);
        }
        let several = task.mappings.len() > 1;
        for (number, mapping) in task.mappings.iter().enumerate() {
            let Some(mut job) = job(draft, &task, mapping) else {
                continue;
            };
            job.name = Some(match several {
                true => format!("{}-{}", task.name, number + 1),
                false => task.name.clone(),
            });
            match task.interval {
                Some(seconds) if seconds > 0 => job.policy.interval = Some(format!("{seconds}s")),
                _ => draft.remark(format!(
                    "{}: it has no interval and is run by `once`; give it an interval or a \
                     schedule for the daemon",
                    task.name
                )),
            }
            draft.job(job);
        }
    }
    Ok(())
}

fn registry(draft: &mut Draft, task: &str, location: &Location) {
    let auth = location.auth.as_deref().filter(|auth| *auth != "none");
    let decoded = auth.map(|auth| {
        let bytes = STANDARD.decode(auth.trim()).ok()?;
        serde_json::from_slice::<Auth>(&bytes).ok()
    });
    if let Some(None) = decoded {
        draft.remark(format!(
            "{task}: the auth for {} is not base64 of {{\"username\", \"password\"}}",
            location.registry
        ));
    }
    if location.auth_refresh.is_some() {
        draft.remark(format!(
            "{task}: {} has auth-refresh: use credHelper: docker-credential-ecr-login",
            location.registry
        ));
    }
    let auth = decoded.flatten();
    let known = Known {
        password: auth.is_some(),
        user: auth.map(|auth| auth.username),
        tls: location.skip_tls_verify.then_some("insecure"),
        regcert: None,
    };
    draft.registry(&location.registry, known);
}

fn job(draft: &mut Draft, task: &Task, mapping: &Mapping) -> Option<raw::Sync> {
    let (from, to) = (&mapping.from, mapping.to.as_ref());
    let (source, target) = (&task.source.registry, &task.target.registry);
    let mut job = match from.strip_prefix("regex:") {
        Some(pattern) if to.is_none() => {
            let mut job = entry("registry", source.clone(), target.clone());
            job.repos.allow = vec![anywhere(pattern.trim())];
            job
        }
        Some(_) => {
            draft.remark(format!(
                "{}: the mapping from {from} to {} rewrites names, which has no counterpart; \
                 write an entry for each repository",
                task.name,
                to.map_or("", String::as_str)
            ));
            return None;
        }
        None => {
            let path = |path: &str| path.trim_matches('/').to_owned();
            let (from, to) = (path(from), path(to.unwrap_or(from)));
            entry(
                "repository",
                format!("{source}/{from}"),
                format!("{target}/{to}"),
            )
        }
    };
    job.platform = mapping
        .platform
        .clone()
        .filter(|platform| platform != "all");
    tags(draft, task, &mapping.tags, &mut job);
    Some(job)
}

/// A tag is taken that any of the filters takes: verbatim, `semver:`, `regex:`.
fn tags(draft: &mut Draft, task: &Task, filters: &[String], job: &mut raw::Sync) {
    let mut set = raw::TagSet::default();
    for filter in filters {
        if let Some(range) = filter.strip_prefix("semver:") {
            job.tag_sets.push(raw::TagSet {
                semver_range: vec![range.trim().to_owned()],
                ..raw::TagSet::default()
            });
        } else if let Some(pattern) = filter.strip_prefix("regex:").map(str::trim) {
            match pattern.strip_prefix('!') {
                Some(pattern) => job.tag_sets.push(raw::TagSet {
                    deny: vec![anywhere(pattern.trim())],
                    ..raw::TagSet::default()
                }),
                None => set.allow.push(anywhere(pattern)),
            }
        } else if filter.contains(':') {
            draft.remark(format!(
                "{}: the tag filter {filter:?} has no counterpart",
                task.name
            ));
        } else {
            set.allow.push(regex::escape(filter));
        }
    }
    match job.tag_sets.is_empty() {
        true => job.tags.allow = set.allow,
        false if set.allow.is_empty() => {}
        false => job.tag_sets.insert(0, set),
    }
}
