//! One file of docker's or podman's, and what it says about a registry.
//!
//! Sources: docker/cli `cli/config/configfile/file.go`; containers/image
//! `pkg/docker/config`; Kubernetes `pkg/credentialprovider/keyring.go`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Credential, HelperName};
use crate::http::Secret;
use crate::oci::{Host, Repository};

/// Why an entry cannot be used. Quotes nothing of what is in it.
pub(super) type Reason = String;

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct DockerFile {
    /// The most specific first.
    entries: Vec<(Key, Result<Credential, Reason>)>,
    helpers: BTreeMap<Host, String>,
    store: String,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `config.json`, `.dockerconfigjson` and `auth.json`.
    Config,
    /// `.dockercfg`: what others have as `auths`, and nothing else.
    Bare,
}

/// Whom an entry is for: a host, or some, and there the repositories below a
/// path.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    host: Pattern,
    path: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Host(Host),
    /// With `*` and `?`, which match within a label.
    Glob(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawFile {
    auths: Option<RawEntries>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

type RawEntries = BTreeMap<String, RawEntry>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct RawEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl DockerFile {
    /// Parses `bytes`. The error is where they are broken, as line and column:
    /// serde_json's own message may quote a password.
    pub(super) fn parse(bytes: &[u8], form: Form) -> Result<Self, (usize, usize)> {
        let raw = match form {
            Form::Config => serde_json::from_slice::<RawFile>(bytes),
            Form::Bare => serde_json::from_slice(bytes).map(|auths| RawFile {
                auths: Some(auths),
                ..RawFile::default()
            }),
        };
        let raw = raw.map_err(|error| (error.line(), error.column()))?;
        let mut entries = Vec::new();
        for (text, entry) in raw.auths.unwrap_or_default() {
            // An empty entry is the mark that docker leaves when it has given
            // the credential to its store.
            let (Some(key), Some(entry)) = (Key::parse(&text), credential_of(entry).transpose())
            else {
                continue;
            };
            // A registry may be listed in several spellings: its plain name
            // decides.
            let plain = matches!(&key.host, Pattern::Host(host) if text.starts_with(host.as_str()));
            entries.push((key, plain, entry));
        }
        entries.sort_by_key(|(key, plain, _)| (key.rank(), !plain));
        let helpers = raw.cred_helpers.unwrap_or_default().into_iter();
        let helpers =
            helpers.filter_map(|(key, name)| Some((Key::parse(&key)?.only_host()?, name)));
        Ok(Self {
            entries: entries
                .into_iter()
                .map(|(key, _, entry)| (key, entry))
                .collect(),
            helpers: helpers.collect(),
            store: raw.creds_store.unwrap_or_default(),
        })
    }

    /// Whether somebody who reads it learns a credential.
    pub(super) fn has_secrets(&self) -> bool {
        self.entries.iter().any(|(_, entry)| entry.is_ok())
    }

    /// The helper to ask for this registry, before the entries. One that is
    /// named for it alone counts before the store for all; an empty name is
    /// for having none.
    pub(super) fn helper(&self, host: &Host) -> Result<Option<HelperName>, Reason> {
        let name = self.helpers.get(host).unwrap_or(&self.store);
        if name.is_empty() {
            return Ok(None);
        }
        match name.parse() {
            Ok(name) => Ok(Some(name)),
            Err(error) => Err(format!("cannot be used: {error}")),
        }
    }

    /// The most specific entry: the longest path, then the host.
    pub(super) fn entry(
        &self,
        host: &Host,
        repo: Option<&Repository>,
    ) -> Option<Result<Credential, Reason>> {
        let repo = repo.map(Repository::as_str).unwrap_or_default();
        let mut entries = self.entries.iter();
        let found = entries.find(|(key, _)| key.is_for(host, repo));
        found.map(|(_, entry)| entry.clone())
    }
}

impl Key {
    /// `host`, `host/path`, `*.host`, or a legacy `https://host/v1/`.
    fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let bare = bare.unwrap_or(text);
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let path = path.trim_end_matches('/');
        let path = match path {
            "v1" | "v2" => "",
            path => path,
        };
        let host = match host.contains(['*', '?']) {
            true => Pattern::Glob(host.to_ascii_lowercase()),
            false => Pattern::Host(host.parse().ok()?),
        };
        Some(Self {
            host,
            path: path.to_owned(),
        })
    }

    fn only_host(self) -> Option<Host> {
        match self.host {
            Pattern::Host(host) if self.path.is_empty() => Some(host),
            _ => None,
        }
    }

    /// The more specific, the less.
    fn rank(&self) -> (bool, Reverse<usize>, Reverse<usize>) {
        let (glob, literal) = match &self.host {
            Pattern::Host(_) => (false, 0),
            Pattern::Glob(glob) => (true, glob.chars().filter(|c| !"*?".contains(*c)).count()),
        };
        (glob, Reverse(self.path.len()), Reverse(literal))
    }

    fn is_for(&self, host: &Host, repo: &str) -> bool {
        let below = repo.strip_prefix(&self.path);
        let path = self.path.is_empty()
            || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        path && match &self.host {
            Pattern::Host(own) => own == host,
            Pattern::Glob(glob) => is_like(host.as_str(), glob),
        }
    }
}

/// Whether a host is of as many labels as `glob`, and each is like its own.
fn is_like(host: &str, glob: &str) -> bool {
    let (labels, globs) = (host.split('.'), glob.split('.'));
    labels.clone().count() == globs.clone().count()
        && labels
            .zip(globs)
            .all(|(label, glob)| matches(label.as_bytes(), glob.as_bytes()))
}

fn matches(text: &[u8], glob: &[u8]) -> bool {
    // Where the last `*` was, and how much it has taken.
    let (mut star, mut at, mut next) = (None, 0, 0);
    while at < text.len() {
        match glob.get(next) {
            // The last label has the port, which no `*` is meant for.
            Some(b'*') => {
                star = Some((next, at));
                next += 1;
            }
            Some(&c) if c == text[at] || (c == b'?' && text[at] != b':') => {
                at += 1;
                next += 1;
            }
            _ => match star {
                Some((back, taken)) if text[taken] != b':' => {
                    star = Some((back, taken + 1));
                    (at, next) = (taken + 1, back + 1);
                }
                _ => return false,
            },
        }
    }
    glob[next..].iter().all(|&c| c == b'*')
}

fn credential_of(raw: RawEntry) -> Result<Option<Credential>, Reason> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(raw.registrytoken) {
        return Ok(Some(Credential::RegistryToken(token.into())));
    }
    if let Some(token) = given(raw.identitytoken) {
        return Ok(Some(Credential::IdentityToken(token.into())));
    }
    let (user, password) = match (given(raw.auth), given(raw.username)) {
        (Some(auth), _) => {
            decode_pair(&auth).ok_or("has an `auth` that is not base64 of user:password")?
        }
        (None, Some(user)) => (user, Secret::new(raw.password.unwrap_or_default())),
        (None, None) => return Ok(None),
    };
    Ok(Some(Credential::of_user(user, password)))
}

/// Splits base64 of `user:password`.
fn decode_pair(text: &str) -> Option<(String, Secret)> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    let pair = String::from_utf8(bytes).ok()?;
    let (user, password) = pair.split_once(':')?;
    let password = password.trim_end_matches('\0');
    (!user.is_empty()).then(|| (user.to_owned(), Secret::new(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> DockerFile {
        DockerFile::parse(json.as_bytes(), Form::Config).unwrap()
    }

    /// The entry for `host` or `host/repository`.
    fn of(file: &DockerFile, name: &str) -> Option<Result<Credential, Reason>> {
        let (host, repo) = match name.split_once('/') {
            Some((host, repo)) => (host, Some(repo.parse().unwrap())),
            None => (name, None),
        };
        file.entry(&host.parse().unwrap(), repo.as_ref())
    }

    fn basic(user: &str, password: &str) -> Option<Result<Credential, Reason>> {
        Some(Ok(Credential::Basic {
            user: user.to_owned(),
            password: Secret::from(password),
        }))
    }

    #[test]
    fn f8_every_form_of_an_entry_is_understood() {
        // dTpwOnE= is u:p:q, dTpwAAA= is u:p and two NULs, dTpwCnE6cg== has a
        // line break: u:p\nq:r.
        let file = parse(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "dTpwOnE="},
                "https://a.io/v2/": {"auth": "dTpwAAA="},
                "b.io:5000": {"username": "u", "password": "a:b\nc"},
                "c.io": {"auth": "dTpw", "identitytoken": "I"},
                "d.io": {"registrytoken": "R"},
                "e.io": {"username": "<token>", "password": "I"},
                "f.io": {},
                "http://h.io": {"auth": "eDp5"}, "h.io": {"auth": "dTpw"},
                "i.io": {"auth": "dTpwCnE6cg=="}
            }, "HttpHeaders": {"x": "y"}}"#,
        );
        for hub in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            assert_eq!(of(&file, hub), basic("u", "p:q"));
        }
        let identity = || Some(Ok(Credential::IdentityToken("I".into())));
        assert_eq!(of(&file, "a.io"), basic("u", "p"));
        assert_eq!(of(&file, "b.io:5000"), basic("u", "a:b\nc"));
        assert_eq!(of(&file, "c.io"), identity());
        let token = Credential::RegistryToken("R".into());
        assert_eq!(of(&file, "d.io"), Some(Ok(token)));
        assert_eq!(of(&file, "e.io"), identity());
        assert_eq!(of(&file, "h.io"), basic("u", "p"));
        assert_eq!(of(&file, "i.io"), basic("u", "p\nq:r"));
        for nobody in ["b.io", "f.io", "elsewhere.io"] {
            assert_eq!(of(&file, nobody), None, "{nobody}");
        }
        for hub in ["docker.io", "registry-1.docker.io"] {
            let other = parse(&format!(r#"{{"auths": {{"{hub}": {{"auth": "dTpw"}}}}}}"#));
            assert_eq!(of(&other, "docker.io"), basic("u", "p"));
        }
    }

    #[test]
    fn f8_the_longest_path_counts() {
        let file = parse(
            r#"{"auths": {
                "a.io": {"username": "host"},
                "a.io/team": {"username": "team"},
                "a.io/team/app/": {"username": "app"},
                "b.io/team": {"username": "b"},
                "c.io/team": {}, "c.io": {"username": "c"},
                "docker.io/library": {"username": "library"}
            }}"#,
        );
        for (name, user) in [
            ("a.io", "host"),
            ("a.io/other", "host"),
            ("a.io/teams", "host"),
            ("a.io/team", "team"),
            ("a.io/team/apps", "team"),
            ("a.io/team/app", "app"),
            ("a.io/team/app/x", "app"),
            ("b.io/team/x", "b"),
            ("c.io/team/x", "c"),
            ("docker.io/library/alpine", "library"),
        ] {
            assert_eq!(of(&file, name), basic(user, ""), "{name}");
        }
        for nobody in ["b.io", "b.io/other", "docker.io/other/x"] {
            assert_eq!(of(&file, nobody), None, "{nobody}");
        }
    }

    #[test]
    fn f9_hosts_may_be_globs_for_each_label() {
        let file = parse(
            r#"{"auths": {
                "*.a.io": {"username": "any"},
                "*.a.io/team": {"username": "team"},
                "x*.a.io": {"username": "x"},
                "y.a.io": {"username": "y"},
                "*.*.b.io:5000": {"username": "port"},
                "123.dkr.ecr.*.amazonaws.com": {"username": "aws"}
            }}"#,
        );
        for (name, user) in [
            ("r.a.io", "any"),
            ("r.a.io/other", "any"),
            ("r.a.io/team/app", "team"),
            ("xyz.a.io", "x"),
            ("y.a.io", "y"),
            ("p.q.b.io:5000", "port"),
            ("123.dkr.ecr.eu-west-1.amazonaws.com", "aws"),
        ] {
            assert_eq!(of(&file, name), basic(user, ""), "{name}");
        }
        for nobody in [
            "a.io",
            "p.q.a.io",
            "r.a.io:5000",
            "p.q.b.io",
            "r.a.io.evil.com",
            "evil.com",
        ] {
            assert_eq!(of(&file, nobody), None, "{nobody}");
        }
        assert!(matches(b"abcbc", b"a*bc") && matches(b"abc", b"a?c*"));
        assert!(!matches(b"abcb", b"a*bc") && !matches(b"ab", b"ab?"));
        assert!(!matches(b"io:5000", b"*") && !matches(b"io:5000", b"i*"));
    }

    #[test]
    fn f8_a_registry_s_helper_counts_before_the_store() {
        let file = parse(
            r#"{"credsStore": "desktop", "credHelpers": {"a.io": "ecr-login", "b.io": "",
                "https://index.docker.io/v1/": "hub", "c.io": "../../evil"}}"#,
        );
        let helper = |host: &str| {
            let found = file.helper(&host.parse().unwrap())?;
            Ok::<_, Reason>(found.map(|name| name.to_string()))
        };
        for (host, name) in [
            ("a.io", "ecr-login"),
            ("docker.io", "hub"),
            ("other.io", "desktop"),
        ] {
            assert_eq!(helper(host), Ok(Some(format!("docker-credential-{name}"))));
        }
        assert_eq!(helper("b.io"), Ok(None));
        assert!(helper("c.io").unwrap_err().contains("\"../../evil\""));
    }

    #[test]
    fn f8_what_cannot_be_used_is_an_error_for_its_registry_only() {
        let file = parse(
            r#"{"auths": {"b.io": {"auth": "dTpw"}, "c.io": {"auth": "hunter2!"},
                "d.io": {"auth": "OnA="}}}"#,
        );
        assert_eq!(of(&file, "b.io"), basic("u", "p"));
        for broken in ["c.io", "d.io"] {
            let error = of(&file, broken).unwrap().unwrap_err();
            assert!(error.starts_with("has an `auth`"), "{error}");
            assert!(!error.contains("hunter2"));
        }
        assert!(
            !format!(
                "{:?}",
                parse(r#"{"auths": {"a.io": {"auth": "dTpodW50ZXIy"}}}"#)
            )
            .contains("hunter2")
        );
    }

    #[test]
    fn f9_a_dockercfg_has_no_auths_around_its_entries() {
        let text = br#"{"https://a.io/v1/": {"auth": "dTpw", "email": "x"}}"#;
        let file = DockerFile::parse(text, Form::Bare).unwrap();
        assert_eq!(of(&file, "a.io"), basic("u", "p"));
        assert_eq!(DockerFile::parse(b"{\n]", Form::Bare).unwrap_err(), (2, 1));
    }
}
