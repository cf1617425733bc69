//! The file's serde twin to a [`Config`], or to every fault in it.

use std::collections::{BTreeMap, HashSet};

use super::fault::{Fault, Faults};
use super::{Config, Login, Registry, duration, raw};
use crate::http::{Secret, Tls};
use crate::oci::{Host, Location, Reference, Repository};
use crate::select::Filter;
use crate::sync::{Backup, Job, Policy, Scope};

/// Keys of regsync's that this version does not act on. A file that has one is
/// refused: to leave it out silently would give another mirror.
const NOT_OFFERED: &[&str] = &[
    "api",
    "apiOpts",
    "backupFailure",
    "blobChunk",
    "blobLimit",
    "blobMax",
    "cacheCount",
    "cacheTime",
    "clientCert",
    "clientKey",
    "credExpire",
    "credHelper",
    "credHost",
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
    "ratelimit",
    "referrerFilters",
    "referrerSlow",
    "referrerSource",
    "referrerTarget",
    "regcert",
    "repoAuth",
    "reqPerSec",
    "scheme",
    "semverRange",
    "sort",
    "tagSets",
];

/// The newest version of the configuration language that is understood.
const VERSION: u64 = 1;

pub(super) fn config(raw: raw::Config, ignored: &[String]) -> Result<Config, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut warnings = Vec::new();
    if let Some(version) = raw.version.filter(|&version| version != VERSION) {
        faults.add(
            "version",
            format!("{version} is not known: expected {VERSION}"),
        );
    }
    keys(ignored, &mut faults, &mut warnings);
    let registries = registries(&raw.creds, &mut faults);
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
    let jobs = raw.sync.iter().enumerate().filter_map(|(number, entry)| {
        job(
            number,
            entry,
            &raw.defaults,
            &mut names,
            &mut faults,
            &mut warnings,
        )
    });
    let jobs = jobs.collect();
    if raw.sync.is_empty() {
        warnings.push("sync: there are no entries, so there is nothing to do".to_owned());
    }
    faults.unless_any(Config {
        registries,
        docker_config: !raw.defaults.skip_docker_config.unwrap_or(false),
        user_agent: raw.defaults.user_agent.filter(|text| !text.is_empty()),
        parallel,
        jobs,
        warnings,
    })
}

fn keys(ignored: &[String], faults: &mut Faults, warnings: &mut Vec<String>) {
    for path in ignored {
        let key = path.rsplit('.').next().unwrap_or(path);
        if NOT_OFFERED.contains(&key) {
            faults.add(
                path,
                "this version of regmirror does not offer this regsync key yet",
            );
        } else if !key.starts_with("x-") {
            warnings.push(format!("{path}: no such key; it has no effect"));
        }
    }
}

fn registries(creds: &[raw::Creds], faults: &mut Faults) -> BTreeMap<Host, Registry> {
    let mut registries = BTreeMap::new();
    for (number, entry) in creds.iter().enumerate() {
        let at = |key: &str| format!("creds[{number}].{key}");
        let name = text(&at("registry"), entry.registry.as_ref(), faults);
        let host = name.and_then(|name| faults.keep(&at("registry"), name.parse::<Host>()));
        let tls = match entry.tls.as_deref() {
            None | Some("" | "enabled") => Tls::Enabled,
            Some("insecure") => Tls::Insecure,
            Some("disabled") => Tls::Disabled,
            Some(other) => {
                let message =
                    format!("{other:?} is not known: expected enabled, insecure or disabled");
                faults.add(at("tls"), message);
                Tls::Enabled
            }
        };
        let concurrent = match entry.req_concurrent {
            None | Some(0) => None,
            Some(count) => {
                let count = usize::try_from(count).ok().filter(|&count| count <= 1000);
                if count.is_none() {
                    faults.add(at("reqConcurrent"), "expected a number from 0 to 1000");
                }
                count
            }
        };
        let hostname = optional_text(&at("hostname"), entry.hostname.as_ref(), faults);
        let hostname: Option<Host> =
            hostname.and_then(|text| faults.keep(&at("hostname"), text.parse()));
        let registry = Registry {
            hostname: hostname.map(|host| host.to_string()),
            tls,
            login: login(number, entry, faults),
            concurrent,
        };
        if let Some(host) = host
            && registries.insert(host.clone(), registry).is_some()
        {
            faults.add(at("registry"), format!("{host} has an entry already"));
        }
    }
    registries
}

fn login(number: usize, entry: &raw::Creds, faults: &mut Faults) -> Option<Login> {
    let at = |key: &str| format!("creds[{number}].{key}");
    let user = optional_text(&at("user"), entry.user.as_ref(), faults);
    let pass = optional_text(&at("pass"), entry.pass.as_ref(), faults);
    let token = optional_text(&at("token"), entry.token.as_ref(), faults);
    match (user, pass, token) {
        (Some(user), Some(pass), None) => Some(Login::Password {
            user,
            password: Secret::new(pass),
        }),
        // regsync's files may name the user beside an identity token.
        (_, None, Some(token)) => Some(Login::Token(Secret::new(token))),
        (None, None, None) => None,
        (_, Some(_), Some(_)) => {
            faults.add(at("token"), "there is a pass as well: keep one of them");
            None
        }
        (Some(_), None, None) => {
            faults.add(at("user"), "a user needs a pass");
            None
        }
        (None, Some(_), None) => {
            faults.add(at("pass"), "a pass needs a user");
            None
        }
    }
}

fn job(
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
    let filter = |key: &str, patterns: &raw::Patterns, faults: &mut Faults| {
        let filter = Filter::new(&patterns.allow, &patterns.deny);
        faults.keep(&at(key), filter)
    };
    let tags = filter("tags", &entry.tags, faults);
    let repositories = filter("repos", &entry.repos, faults);
    let scope = match entry.kind.as_deref() {
        Some("image") => {
            let scope = image(&at, source?, target?, faults);
            unused(&at("tags"), &entry.tags, warnings);
            unused(&at("repos"), &entry.repos, warnings);
            scope
        }
        Some("repository") => {
            let source: Option<Reference> = faults.keep(&at("source"), source?.parse());
            let target: Option<Reference> = faults.keep(&at("target"), target?.parse());
            unused(&at("repos"), &entry.repos, warnings);
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
        name: unique_name(number, entry, names, faults)?,
        scope,
        policy: Policy {
            backup,
            referrers: entry.referrers.or(defaults.referrers).unwrap_or(false),
            missing_only: false,
        },
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

fn unused(at: &str, patterns: &raw::Patterns, warnings: &mut Vec<String>) {
    if !patterns.allow.is_empty() || !patterns.deny.is_empty() {
        warnings.push(format!("{at}: has no effect for this type"));
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
