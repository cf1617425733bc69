//! `creds`: how to reach registries.

use std::collections::BTreeMap;
use std::time::Duration;

use super::expand::Expander;
use crate::config::finding::Findings;
use crate::config::{Login, Registry, raw};
use crate::http::{Certificates, Chunks, Identity, Secret, Tls};
use crate::nearest::nearest;
use crate::oci::{Host, Repository};
use crate::schedule::duration;
use crate::template::Value;

pub(super) fn registries(
    creds: &[raw::Creds],
    expander: &mut Expander<'_>,
    faults: &mut Findings,
) -> BTreeMap<Host, Registry> {
    let mut registries = BTreeMap::new();
    for (number, written) in creds.iter().enumerate() {
        let at = |key: &str| format!("creds[{number}].{key}");
        let entry = &expanded(number, written, expander, faults);
        if entry.registry.is_none() {
            faults.missing(&at("registry"), ": expected host[:port]");
        }
        let name = entry.registry.as_ref();
        let host = name.and_then(|name| faults.keep(&at("registry"), name.parse::<Host>()));
        let tls = tls(number, entry, faults);
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
        let hostname = given(&entry.hostname);
        let hostname: Option<Host> =
            hostname.and_then(|text| faults.keep(&at("hostname"), text.parse()));
        let registry = Registry {
            hostname: hostname.map(|host| host.to_string()),
            tls,
            ca: certificates(&at("regcert"), entry.regcert.as_ref(), faults),
            identity: identity(number, entry, faults),
            login: login(number, written, entry, faults),
            concurrent,
            chunks: chunks(number, entry, faults),
            idle: idle(&at("idleTimeout"), entry.idle_timeout.as_deref(), faults),
            spacing: spacing(&at("reqPerSec"), entry.req_per_sec, faults),
            path_prefix: path_prefix(&at("pathPrefix"), entry, faults),
            // When all are known.
            readers: Vec::new(),
            repo_auth: entry.repo_auth.unwrap_or(false),
            without_head: without_head(number, entry, faults),
        };
        if let Some(host) = host
            && registries.insert(host.clone(), registry).is_some()
        {
            faults.add(at("registry"), format!("{host} has an entry already"));
        }
    }
    mirrors(creds, &mut registries, expander, faults);
    registries
}

fn tls(number: usize, entry: &raw::Creds, faults: &mut Findings) -> Tls {
    let at = |key: &str| format!("creds[{number}].{key}");
    // What is none of them was found when the file was read.
    let tls = match entry.tls.as_deref() {
        Some("enabled") => Some(Tls::Enabled),
        Some("insecure") => Some(Tls::Insecure),
        Some("disabled") => Some(Tls::Disabled),
        _ => None,
    };
    match entry.scheme.as_deref() {
        Some("http") => {
            faults.deprecated(at("scheme"), "tls: disabled stands for http");
            if tls.is_some_and(|tls| tls != Tls::Disabled) {
                faults.add(at("scheme"), "http, and tls says otherwise: keep tls");
            }
            Tls::Disabled
        }
        Some("https") => {
            faults.deprecated(at("scheme"), "https is what there is without it");
            if tls == Some(Tls::Disabled) {
                faults.add(at("scheme"), "https, and tls is disabled: keep tls");
            }
            tls.unwrap_or_default()
        }
        _ => tls.unwrap_or_default(),
    }
}

fn spacing(at: &str, rate: Option<f64>, faults: &mut Findings) -> Duration {
    let rate = rate.unwrap_or(0.0);
    if rate == 0.0 {
        return Duration::ZERO;
    }
    match (0.001..=1e6).contains(&rate) {
        true => Duration::from_secs_f64(1.0 / rate),
        false => {
            faults.add(
                at,
                "expected a number from 0.001 to 1000000, or 0 for no limit",
            );
            Duration::ZERO
        }
    }
}

fn path_prefix(at: &str, entry: &raw::Creds, faults: &mut Findings) -> Option<Repository> {
    let text = given(&entry.path_prefix)?;
    let text = text.trim_matches('/');
    match text.is_empty() {
        true => None,
        false => faults.keep(at, text.parse()),
    }
}

/// `apiOpts`, of which there is one, and `api`, which regsync ignores as well.
fn without_head(number: usize, entry: &raw::Creds, faults: &mut Findings) -> bool {
    const HEAD: &str = "disableHead";
    let at = |key: &str| format!("creds[{number}].{key}");
    if entry.api.is_some() {
        faults.deprecated(at("api"), "has no effect: there is one API");
    }
    for name in entry.api_opts.keys().filter(|name| *name != HEAD) {
        let hint = match nearest(name, [HEAD].into_iter()) {
            Some(name) => format!(": did you mean `{name}`?"),
            None => String::new(),
        };
        let message = format!("no such option; it has no effect{hint}");
        faults.warn(at(&format!("apiOpts.{name}")), message);
    }
    match entry.api_opts.get(HEAD).map(String::as_str) {
        None | Some("" | "false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => {
            faults.add(
                at(&format!("apiOpts.{HEAD}")),
                "expected \"true\" or \"false\"",
            );
            false
        }
    }
}

/// Who is read from in which order: by priority, highest first, and of those that
/// are alike the registry itself last.
fn mirrors(
    creds: &[raw::Creds],
    registries: &mut BTreeMap<Host, Registry>,
    expander: &mut Expander<'_>,
    faults: &mut Findings,
) {
    let mut priorities: BTreeMap<Host, i64> = BTreeMap::new();
    let mut hosts = Vec::with_capacity(creds.len());
    for (number, entry) in creds.iter().enumerate() {
        let at = format!("creds[{number}].priority");
        let priority = entry.priority.unwrap_or(0);
        if u32::try_from(priority).is_err() {
            faults.add(at, "expected a number from 0");
        }
        // It was told before if it has none.
        let mut quiet = Findings::default();
        let at = format!("creds[{number}].registry");
        let name = expander.text(&at, entry.registry.as_ref(), &Value::NIL, &mut quiet);
        let host = name.and_then(|name| name.parse::<Host>().ok());
        if let Some(host) = &host {
            priorities.insert(host.clone(), priority);
        }
        hosts.push(host);
    }
    for (number, (entry, host)) in creds.iter().zip(hosts).enumerate() {
        /// How many mirrors a registry may have.
        const MOST: usize = 100;
        let mut readers = Vec::new();
        if entry.mirrors.len() > MOST {
            let message = format!("more than {MOST} mirrors");
            faults.add(format!("creds[{number}].mirrors"), message);
            continue;
        }
        for (index, name) in entry.mirrors.iter().enumerate() {
            let at = format!("creds[{number}].mirrors[{index}]");
            let mirror = faults.keep(&at, name.parse::<Host>());
            let Some(mirror) = mirror else {
                continue;
            };
            match host.as_ref() == Some(&mirror) {
                true => faults.add(at, "the registry itself is no mirror of it"),
                false if readers.contains(&mirror) => faults.add(at, "the same mirror twice"),
                false => readers.push(mirror),
            }
        }
        let Some(host) = host.filter(|_| !readers.is_empty()) else {
            continue;
        };
        readers.push(host.clone());
        let priority = |host: &Host| priorities.get(host).copied().unwrap_or(0);
        readers.sort_by_key(|host| std::cmp::Reverse(priority(host)));
        if let Some(registry) = registries.get_mut(&host) {
            registry.readers = readers;
        }
    }
}

/// What is written and not empty.
fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

/// The entry with its templates filled in.
fn expanded(
    number: usize,
    entry: &raw::Creds,
    expander: &mut Expander<'_>,
    findings: &mut Findings,
) -> raw::Creds {
    let at = |key: &str| format!("creds[{number}].{key}");
    let mut text = |key: &str, value: &Option<String>, findings: &mut Findings| {
        expander.text(&at(key), value.as_ref(), &Value::NIL, findings)
    };
    let (registry, user) = (
        text("registry", &entry.registry, findings),
        text("user", &entry.user, findings),
    );
    let mut secret = |key: &str, value: &Option<String>, findings: &mut Findings| {
        expander.secret_text(&at(key), value.as_ref(), findings)
    };
    raw::Creds {
        registry,
        user,
        pass: secret("pass", &entry.pass, findings),
        token: secret("token", &entry.token, findings),
        regcert: secret("regcert", &entry.regcert, findings),
        client_cert: secret("clientCert", &entry.client_cert, findings),
        client_key: secret("clientKey", &entry.client_key, findings),
        ..entry.clone()
    }
}

/// How large blobs are sent. As for regsync, 0 stands for the default.
fn chunks(number: usize, entry: &raw::Creds, faults: &mut Findings) -> Chunks {
    /// One chunk for each upload is held in memory.
    const MOST: u64 = 1 << 30;
    let at = |key: &str| format!("creds[{number}].{key}");
    let usual = Chunks::default();
    let above = match entry.blob_max {
        None | Some(-1 | 0) => None,
        Some(size) => {
            let size = u64::try_from(size).ok();
            if size.is_none() {
                let message = "expected a number of bytes, or -1 for no limit";
                faults.add(at("blobMax"), message);
            }
            size
        }
    };
    let size = match entry.blob_chunk {
        None | Some(0) => usual.size,
        Some(size) => match u64::try_from(size) {
            Ok(size) if size <= MOST => size,
            _ => {
                let message = format!("expected a number of bytes from 0 to {MOST}");
                faults.add(at("blobChunk"), message);
                usual.size
            }
        },
    };
    Chunks {
        above,
        size,
        ..usual
    }
}

fn certificates(at: &str, text: Option<&String>, faults: &mut Findings) -> Option<Certificates> {
    let text = text.filter(|text| !text.is_empty())?;
    faults.keep(at, Certificates::from_pem(text))
}

fn identity(number: usize, entry: &raw::Creds, faults: &mut Findings) -> Option<Identity> {
    let at = |key: &str| format!("creds[{number}].{key}");
    match (
        given(&entry.client_cert).is_some(),
        given(&entry.client_key).is_some(),
    ) {
        (true, false) => faults.add(at("clientCert"), "a clientCert needs a clientKey"),
        (false, true) => faults.add(at("clientKey"), "a clientKey needs a clientCert"),
        _ => {}
    }
    let chain = certificates(&at("clientCert"), entry.client_cert.as_ref(), faults);
    let key = given(&entry.client_key);
    let key = Secret::new(key?);
    faults.keep(&at("clientKey"), Identity::new(chain?, &key))
}

/// Bounded on both sides: shorter, and every pause of a busy host is a fault;
/// longer, and a dead one holds its place for hours.
fn idle(at: &str, text: Option<&str>, faults: &mut Findings) -> Option<Duration> {
    let text = text.filter(|text| !text.is_empty())?;
    let idle = faults.keep(at, duration::parse(text))?;
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(60 * 60));
    if !(least..=most).contains(&idle) {
        faults.add(at, format!("{text} is not from 1s to 1h"));
        return None;
    }
    Some(idle)
}

fn login(
    number: usize,
    written: &raw::Creds,
    entry: &raw::Creds,
    faults: &mut Findings,
) -> Option<Login> {
    let at = |key: &str| format!("creds[{number}].{key}");
    let user = given(&entry.user);
    let pass = given(&entry.pass);
    let token = given(&entry.token);
    let helper = helper(number, entry, faults);
    let others = [("user", &user), ("pass", &pass), ("token", &token)];
    if let Some(helper) = helper {
        for (key, _) in others.iter().filter(|(_, value)| value.is_some()) {
            faults.add(
                at(key),
                "there is a credHelper as well: keep one way to sign in",
            );
        }
        return Some(helper);
    }
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
            // One whose template does not work was told of.
            if given(&written.pass).is_none() {
                faults.add(at("user"), "a user needs a pass");
            }
            None
        }
        (None, Some(_), None) => {
            faults.add(at("pass"), "a pass needs a user");
            None
        }
    }
}

fn helper(number: usize, entry: &raw::Creds, faults: &mut Findings) -> Option<Login> {
    let at = |key: &str| format!("creds[{number}].{key}");
    let helper = given(&entry.cred_helper);
    let server = given(&entry.cred_host);
    let kept = given(&entry.cred_expire);
    if helper.is_none() {
        let lonely = [("credHost", &server), ("credExpire", &kept)];
        for (key, _) in lonely.iter().filter(|(_, value)| value.is_some()) {
            faults.warn(at(key), "has no effect without credHelper");
        }
    }
    let kept = kept.and_then(|text| faults.keep(&at("credExpire"), duration::parse(&text)));
    let text = helper?;
    // The name is all that is written in most files, the program in regsync's.
    let name = text.strip_prefix("docker-credential-").unwrap_or(&text);
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || !name.chars().all(known) {
        let message = format!(
            "{text:?} is no helper: expected docker-credential-NAME, which has letters, digits, \
             `_`, `.` and `-`"
        );
        faults.add(at("credHelper"), message);
        return None;
    }
    Some(Login::Helper {
        name: name.to_owned(),
        server,
        // As in regsync, none at all is the usual.
        kept: kept.filter(|kept| !kept.is_zero()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_as_regsync_has_them() {
        let read = |blob_max, blob_chunk| {
            let entry = raw::Creds {
                blob_max,
                blob_chunk,
                ..raw::Creds::default()
            };
            let mut faults = Findings::default();
            let chunks = chunks(3, &entry, &mut faults);
            let lines = faults.into_list();
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            match lines.is_empty() {
                true => Ok(chunks),
                false => Err(lines.join("\n")),
            }
        };
        let usual = Chunks::default();
        assert_eq!(read(None, None), Ok(usual));
        assert_eq!(read(Some(-1), Some(0)), Ok(usual));
        assert_eq!(read(Some(0), None), Ok(usual));
        let (above, size) = (Some(1000), 500);
        assert_eq!(
            read(Some(1000), Some(500)),
            Ok(Chunks {
                above,
                size,
                ..usual
            })
        );
        let told = read(Some(-2), Some(-1)).unwrap_err();
        assert!(told.contains("creds[3].blobMax: expected"), "{told}");
        assert!(told.contains("creds[3].blobChunk: expected"), "{told}");
        assert!(read(None, Some(1 << 31)).is_err());
    }
}
