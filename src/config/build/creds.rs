//! `creds`: how to reach registries.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{optional_text, text};
use crate::config::fault::Faults;
use crate::config::{Login, Registry, duration, raw};
use crate::http::{Certificates, Chunks, Identity, Secret, Tls};
use crate::oci::Host;

pub(super) fn registries(
    creds: &[raw::Creds],
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> BTreeMap<Host, Registry> {
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
            ca: certificates(&at("regcert"), entry.regcert.as_ref(), faults),
            identity: identity(number, entry, faults),
            login: login(number, entry, faults, warnings),
            concurrent,
            chunks: chunks(number, entry, faults),
            idle: idle(&at("idleTimeout"), entry.idle_timeout.as_deref(), faults),
        };
        if let Some(host) = host
            && registries.insert(host.clone(), registry).is_some()
        {
            faults.add(at("registry"), format!("{host} has an entry already"));
        }
    }
    registries
}

/// How large blobs are sent. As for regsync, 0 stands for the default.
fn chunks(number: usize, entry: &raw::Creds, faults: &mut Faults) -> Chunks {
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
    Chunks { above, size }
}

fn certificates(at: &str, text: Option<&String>, faults: &mut Faults) -> Option<Certificates> {
    let text = optional_text(at, text, faults)?;
    faults.keep(at, Certificates::from_pem(&text))
}

fn identity(number: usize, entry: &raw::Creds, faults: &mut Faults) -> Option<Identity> {
    let at = |key: &str| format!("creds[{number}].{key}");
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    match (given(&entry.client_cert), given(&entry.client_key)) {
        (true, false) => faults.add(at("clientCert"), "a clientCert needs a clientKey"),
        (false, true) => faults.add(at("clientKey"), "a clientKey needs a clientCert"),
        _ => {}
    }
    let chain = certificates(&at("clientCert"), entry.client_cert.as_ref(), faults);
    let key = optional_text(&at("clientKey"), entry.client_key.as_ref(), faults);
    let key = Secret::new(key?);
    faults.keep(&at("clientKey"), Identity::new(chain?, &key))
}

/// Bounded on both sides: shorter, and every pause of a busy host is a fault;
/// longer, and a dead one holds its place for hours.
fn idle(at: &str, text: Option<&str>, faults: &mut Faults) -> Option<Duration> {
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
    entry: &raw::Creds,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Option<Login> {
    let at = |key: &str| format!("creds[{number}].{key}");
    let user = optional_text(&at("user"), entry.user.as_ref(), faults);
    let pass = optional_text(&at("pass"), entry.pass.as_ref(), faults);
    let token = optional_text(&at("token"), entry.token.as_ref(), faults);
    let helper = helper(number, entry, faults, warnings);
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
            faults.add(at("user"), "a user needs a pass");
            None
        }
        (None, Some(_), None) => {
            faults.add(at("pass"), "a pass needs a user");
            None
        }
    }
}

fn helper(
    number: usize,
    entry: &raw::Creds,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Option<Login> {
    let at = |key: &str| format!("creds[{number}].{key}");
    let helper = optional_text(&at("credHelper"), entry.cred_helper.as_ref(), faults);
    let server = optional_text(&at("credHost"), entry.cred_host.as_ref(), faults);
    let kept = optional_text(&at("credExpire"), entry.cred_expire.as_ref(), faults);
    if helper.is_none() {
        let lonely = [("credHost", &server), ("credExpire", &kept)];
        for (key, _) in lonely.iter().filter(|(_, value)| value.is_some()) {
            warnings.push(format!("{}: it has no effect without credHelper", at(key)));
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
            let mut faults = Faults::default();
            let chunks = chunks(3, &entry, &mut faults);
            let lines: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
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
        assert_eq!(read(Some(1000), Some(500)), Ok(Chunks { above, size }));
        let told = read(Some(-2), Some(-1)).unwrap_err();
        assert!(told.contains("creds[3].blobMax: expected"), "{told}");
        assert!(told.contains("creds[3].blobChunk: expected"), "{told}");
        assert!(read(None, Some(1 << 31)).is_err());
    }
}
