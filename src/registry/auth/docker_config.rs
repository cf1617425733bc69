//! Credentials from the files that docker and podman keep.
//!
//! Sources: docker/cli `cli/config/configfile/file.go`; containers/image
//! `pkg/docker/config`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Credential;
use super::token::decode_pair;
use crate::http::{Secret, exposure};
use crate::oci::Host;

/// The credentials in docker's and podman's files, by registry.
#[derive(Debug, Default)]
pub struct DockerConfig {
    hosts: BTreeMap<Host, Entry>,
}

/// What the files say about one registry.
#[derive(Debug)]
enum Entry {
    Known(Credential),
    /// A helper program has it.
    Helper {
        helper: String,
        file: PathBuf,
    },
    /// There is something, and it is no credential.
    Broken {
        reason: &'static str,
        file: PathBuf,
    },
}

/// Files that cannot be used, or not for a certain registry. Never quotes what
/// is in them.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// The file is there and cannot be read.
    #[error("could not read the credentials file {}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what docker writes.
    #[error("the credentials file {} is broken at line {line}, column {column}", file.display())]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// The registry's entry holds no credential.
    #[error("the entry for {host} in {} {reason}", file.display())]
    Entry {
        /// The registry.
        host: Host,
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The registry's credential would come from a helper program.
    #[error(
        "the credentials for {host} are with the helper docker-credential-{helper}, says {}, and \
         helpers are not supported: give user and password in the configuration",
        file.display()
    )]
    Helper {
        /// The registry.
        host: Host,
        /// The helper's name.
        helper: String,
        /// Which file says so.
        file: PathBuf,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawFile {
    auths: Option<BTreeMap<String, RawEntry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct RawEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl DockerConfig {
    /// Reads the files that the environment leads to.
    ///
    /// They are `$DOCKER_CONFIG/config.json` or else `~/.docker/config.json`,
    /// `$REGISTRY_AUTH_FILE` and `$XDG_RUNTIME_DIR/containers/auth.json`; the
    /// first that knows a registry counts.
    ///
    /// # Errors
    ///
    /// When one of them is there and cannot be read.
    pub fn load() -> Result<Self, DockerConfigError> {
        Self::load_with(|name| std::env::var_os(name))
    }

    /// As [`load`](Self::load), in the environment that `variable` gives.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, DockerConfigError> {
        let variable = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let docker = variable("DOCKER_CONFIG")
            .or_else(|| Some(variable("HOME")?.join(".docker")))
            .map(|folder| folder.join("config.json"));
        let podman = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));

        let mut all = Self::default();
        // Somebody named this file, so that it is missing is a fault. The
        // others are only places where one may be.
        for (file, named) in [
            (docker, false),
            (variable("REGISTRY_AUTH_FILE"), true),
            (podman, false),
        ] {
            let Some(file) = file else { continue };
            match std::fs::read(&file) {
                Ok(bytes) => all.add(&file, &bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {}
                Err(source) => return Err(DockerConfigError::Unreadable { file, source }),
            }
        }
        Ok(all)
    }

    /// The credential for a registry; anonymous when no file knows it.
    ///
    /// # Errors
    ///
    /// When there is an entry for it that cannot be used: going on without
    /// credentials would mislead.
    pub fn credential(&self, host: &Host) -> Result<Credential, DockerConfigError> {
        match self.hosts.get(host) {
            None => Ok(Credential::Anonymous),
            Some(Entry::Known(credential)) => Ok(credential.clone()),
            Some(Entry::Helper { helper, file }) => Err(DockerConfigError::Helper {
                host: host.clone(),
                helper: helper.clone(),
                file: file.clone(),
            }),
            Some(Entry::Broken { reason, file }) => Err(DockerConfigError::Entry {
                host: host.clone(),
                file: file.clone(),
                reason,
            }),
        }
    }

    fn add(&mut self, file: &Path, bytes: &[u8]) -> Result<(), DockerConfigError> {
        // serde_json's own message may quote a password.
        let raw: RawFile =
            serde_json::from_slice(bytes).map_err(|error| DockerConfigError::Malformed {
                file: file.to_owned(),
                line: error.line(),
                column: error.column(),
            })?;
        let mut found: BTreeMap<Host, Entry> = BTreeMap::new();
        let helper = |name: &str| Entry::Helper {
            helper: name.to_owned(),
            file: file.to_owned(),
        };
        for (key, entry) in raw.auths.unwrap_or_default() {
            let Some(host) = host_of(&key) else { continue };
            let entry = match (credential_of(entry), &raw.creds_store) {
                (Ok(Some(credential)), _) => Entry::Known(credential),
                // An empty entry is the mark that docker leaves when it has
                // given the credential to its store.
                (Ok(None), Some(store)) if !store.is_empty() => helper(store),
                (Ok(None), _) => continue,
                (Err(reason), _) => Entry::Broken {
                    reason,
                    file: file.to_owned(),
                },
            };
            // A registry may be listed in several spellings: its plain name
            // decides.
            if key == host.as_str() || !found.contains_key(&host) {
                found.insert(host, entry);
            }
        }
        for (key, name) in raw.cred_helpers.unwrap_or_default() {
            if let Some(host) = host_of(&key) {
                found.insert(host, helper(&name));
            }
        }
        if found.values().any(|entry| matches!(entry, Entry::Known(_)))
            && let Some(text) = exposure(file)
        {
            tracing::warn!("{}: {text}", file.display());
        }
        for (host, entry) in found {
            self.hosts.entry(host).or_insert(entry);
        }
        Ok(())
    }
}

/// The registry that a key names: `host`, or a legacy `https://host/v1/`.
/// `None` for keys that name a path below it.
fn host_of(key: &str) -> Option<Host> {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let bare = bare.unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    matches!(path.trim_end_matches('/'), "" | "v1" | "v2").then(|| host.parse().ok())?
}

fn credential_of(raw: RawEntry) -> Result<Option<Credential>, &'static str> {
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
    // What credential helpers write for a user who is only a token.
    Ok(Some(match user.as_str() {
        "<token>" => Credential::IdentityToken(password),
        _ => Credential::Basic { user, password },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> DockerConfig {
        let mut config = DockerConfig::default();
        config
            .add(Path::new("/x/config.json"), json.as_bytes())
            .unwrap();
        config
    }

    fn of(config: &DockerConfig, host: &str) -> Result<Credential, String> {
        config
            .credential(&host.parse().unwrap())
            .map_err(|error| error.to_string())
    }

    fn basic(user: &str, password: &str) -> Result<Credential, String> {
        Ok(Credential::Basic {
            user: user.to_owned(),
            password: Secret::from(password),
        })
    }

    #[test]
    fn every_form_of_an_entry_is_understood() {
        // dTpwOnE= is u:p:q, dTpwAAA= is u:p and two NULs.
        let config = parse(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "dTpwOnE="},
                "https://a.io/v2/": {"auth": "dTpwAAA="},
                "b.io:5000": {"username": "u", "password": "a:b\nc"},
                "c.io": {"auth": "dTpw", "identitytoken": "I"},
                "d.io": {"registrytoken": "R"},
                "e.io": {"username": "<token>", "password": "I"},
                "f.io": {},
                "g.io/team": {"auth": "dTpw"},
                "http://h.io": {"auth": "eDp5"}, "h.io": {"auth": "dTpw"}
            }, "HttpHeaders": {"x": "y"}}"#,
        );
        for hub in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            assert_eq!(of(&config, hub), basic("u", "p:q"));
        }
        assert_eq!(of(&config, "a.io"), basic("u", "p"));
        assert_eq!(of(&config, "b.io:5000"), basic("u", "a:b\nc"));
        assert_eq!(
            of(&config, "c.io"),
            Ok(Credential::IdentityToken("I".into()))
        );
        assert_eq!(
            of(&config, "d.io"),
            Ok(Credential::RegistryToken("R".into()))
        );
        assert_eq!(
            of(&config, "e.io"),
            Ok(Credential::IdentityToken("I".into()))
        );
        assert_eq!(of(&config, "h.io"), basic("u", "p"));
        for nobody in ["b.io", "f.io", "g.io", "elsewhere.io"] {
            assert_eq!(of(&config, nobody), Ok(Credential::Anonymous), "{nobody}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_an_error_for_its_registry_only() {
        let config = parse(
            r#"{"auths": {"a.io": {}, "b.io": {"auth": "dTpw"}, "c.io": {"auth": "hunter2!"},
                "d.io": {"auth": "OnA="}},
                "credsStore": "desktop", "credHelpers": {"e.io": "ecr-login"}}"#,
        );
        assert!(
            of(&config, "a.io")
                .unwrap_err()
                .contains("docker-credential-desktop")
        );
        assert_eq!(of(&config, "b.io"), basic("u", "p"));
        for broken in ["c.io", "d.io"] {
            let error = of(&config, broken).unwrap_err();
            assert!(error.contains("/x/config.json has an `auth`"), "{error}");
            assert!(!error.contains("hunter2"));
        }
        assert!(of(&config, "e.io").unwrap_err().contains("ecr-login"));
        assert_eq!(of(&config, "other.io"), Ok(Credential::Anonymous));
    }

    #[test]
    fn files_are_found_by_the_environment_and_the_first_decides() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let load = |names: &[(&str, &str)]| {
            DockerConfig::load_with(|asked| {
                let (_, path) = names.iter().find(|(name, _)| *name == asked)?;
                Some(folder.path().join(path).into())
            })
        };
        write(
            ".docker/config.json",
            r#"{"auths": {"a.io": {"auth": "dTpw"}}}"#,
        );
        write(
            "other/config.json",
            r#"{"auths": {"a.io": {"auth": "eDp5"}}}"#,
        );
        write(
            "run/containers/auth.json",
            r#"{"auths": {"a.io": {"auth": "eDp5"}, "b.io": {"auth": "dTpw"}}}"#,
        );
        write("broken.json", r#"{"auths": {"a.io": {"auth": "hunter2"#);

        let config = load(&[("HOME", ""), ("XDG_RUNTIME_DIR", "run")]).unwrap();
        assert_eq!(of(&config, "a.io"), basic("u", "p"));
        assert_eq!(of(&config, "b.io"), basic("u", "p"));
        let config = load(&[("HOME", ""), ("DOCKER_CONFIG", "other")]).unwrap();
        assert_eq!(of(&config, "a.io"), basic("x", "y"));
        let config = load(&[("DOCKER_CONFIG", "nowhere")]).unwrap();
        assert_eq!(of(&config, "a.io"), Ok(Credential::Anonymous));

        let error = load(&[("REGISTRY_AUTH_FILE", "nowhere")]).unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
        let error = load(&[("REGISTRY_AUTH_FILE", "broken.json")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("broken.json is broken at line 1"), "{error}");
        assert!(!error.contains("hunter2"));
    }
}
