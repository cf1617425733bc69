//! The files that docker and podman keep credentials in: where they are, and
//! that they may change.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tracing::{info, warn};

use super::docker_file::{DockerFile, Form};
use super::helper::server_of;
use super::{Credential, HelperError, Helpers};
use crate::http::exposure;
use crate::oci::{Host, Repository};

/// How long a file may be, in bytes. It is parsed in memory.
const MAX_SIZE: u64 = 4 << 20;

/// The variable that holds what else a file does.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// The credentials in docker's and podman's files, and with the helpers that
/// they name.
///
/// A file is read again when it has changed: a Secret that is mounted as one
/// is renewed while the program runs.
#[derive(Debug)]
pub struct DockerConfig {
    sources: Vec<Source>,
    helpers: Arc<Helpers>,
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
    #[error("{origin} is broken at line {line}, column {column}")]
    Malformed {
        /// Which file, or variable.
        origin: String,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// The registry's entry holds no credential.
    #[error("the entry for {host} in {origin} {reason}")]
    Entry {
        /// The registry.
        host: Host,
        /// Which file, or variable.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The helper that the file names for the registry failed.
    #[error(
        "{error} (asked for {host}, as {origin} wants; credentials in the configuration need no \
         helper)"
    )]
    Helper {
        /// The registry.
        host: Host,
        /// Which file, or variable.
        origin: String,
        /// What went wrong.
        error: HelperError,
    },
}

/// One place for credentials: the first of these files that is there.
#[derive(Debug)]
struct Source {
    files: Vec<(PathBuf, Form)>,
    /// Somebody named it, so that it is missing is a fault. The others are
    /// only places where one may be.
    named: bool,
    state: Mutex<(Print, Content)>,
}

/// What a source held when it was last in order.
#[derive(Debug, Clone, Default)]
struct Content {
    /// What to call it in messages.
    origin: String,
    file: Arc<DockerFile>,
}

/// By what a change of a source is seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Print {
    #[default]
    Missing,
    /// Which file, and its device, inode, length and times.
    File(usize, [u64; 3], [i64; 4]),
    /// It can be read once, such as a pipe, or is no file at all.
    Once,
    /// It cannot be seen.
    Hidden(io::ErrorKind),
}

impl DockerConfig {
    /// Reads what the environment leads to, the first that knows a registry
    /// counts:
    ///
    /// - what the variable `DOCKER_AUTH_CONFIG` holds,
    /// - `config.json`, else `.dockerconfigjson`, else `.dockercfg` in
    ///   `$DOCKER_CONFIG` or else `~/.docker`,
    /// - `$REGISTRY_AUTH_FILE`,
    /// - `$XDG_RUNTIME_DIR/containers/auth.json`,
    /// - `~/.dockercfg`.
    ///
    /// # Errors
    ///
    /// When one of them is there and cannot be read.
    pub fn load(helpers: Arc<Helpers>) -> Result<Self, DockerConfigError> {
        Self::load_with(helpers, |name| std::env::var_os(name))
    }

    /// As [`load`](Self::load), in the environment that `variable` gives.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(
        helpers: Arc<Helpers>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, DockerConfigError> {
        let given = |name| variable(name).filter(|value: &OsString| !value.is_empty());
        let path = |name| given(name).map(PathBuf::from);
        let mut sources = Vec::new();
        if let Some(text) = given(VARIABLE) {
            sources.push(Source::text(text.as_encoded_bytes())?);
        }
        let folder = path("DOCKER_CONFIG").or_else(|| Some(path("HOME")?.join(".docker")));
        if let Some(folder) = folder {
            let files = [
                ("config.json", Form::Config),
                (".dockerconfigjson", Form::Config),
                (".dockercfg", Form::Bare),
            ];
            let files = files.map(|(name, form)| (folder.join(name), form));
            let source = Source::files(files.into(), false)?;
            if source.is_missing() && given("DOCKER_CONFIG").is_some() {
                // So it is while a Secret that was to be mounted there is missing.
                warn!(
                    "DOCKER_CONFIG is {}, where there is no config.json: until there is one, \
                     registries have no credentials from there",
                    folder.display()
                );
            }
            sources.push(source);
        }
        if let Some(file) = path("REGISTRY_AUTH_FILE") {
            sources.push(Source::files(vec![(file, Form::Config)], true)?);
        }
        if let Some(folder) = path("XDG_RUNTIME_DIR") {
            let file = (folder.join("containers/auth.json"), Form::Config);
            sources.push(Source::files(vec![file], false)?);
        }
        if let Some(home) = path("HOME") {
            let file = (home.join(".dockercfg"), Form::Bare);
            sources.push(Source::files(vec![file], false)?);
        }
        Ok(Self { sources, helpers })
    }

    /// The credential for a repository, and where it comes from; anonymous when
    /// nobody knows one. What was learnt up to `after` does not count.
    ///
    /// # Errors
    ///
    /// When there is an entry for it that cannot be used, or its helper fails:
    /// to go on with another credential, or without, would mislead.
    pub(super) async fn credential(
        &self,
        host: &Host,
        repo: Option<&Repository>,
        after: Option<Instant>,
    ) -> Result<(Credential, Option<String>), DockerConfigError> {
        for source in &self.sources {
            let Content { origin, file } = source.content(after.is_some());
            let unusable = |reason| DockerConfigError::Entry {
                host: host.clone(),
                origin: origin.clone(),
                reason,
            };
            if let Some(helper) = file.helper(host).map_err(unusable)? {
                let server = server_of(host);
                let found = self
                    .helpers
                    .ask(&helper, server, Helpers::KEPT, after)
                    .await;
                let found = found.map_err(|error| DockerConfigError::Helper {
                    host: host.clone(),
                    origin: origin.clone(),
                    error,
                })?;
                if let Some(credential) = found {
                    return Ok((credential, Some(format!("{helper}, as {origin} wants"))));
                }
            }
            if let Some(found) = file.entry(host, repo) {
                let found = found.map_err(unusable)?;
                return Ok((found, Some(origin)));
            }
        }
        Ok((Credential::Anonymous, None))
    }
}

impl Source {
    fn text(text: &[u8]) -> Result<Self, DockerConfigError> {
        let origin = format!("the variable {VARIABLE}");
        let content = Content::parse(origin, text, Form::Config)?;
        Ok(Self {
            files: Vec::new(),
            named: false,
            state: Mutex::new((Print::Once, content)),
        })
    }

    fn files(files: Vec<(PathBuf, Form)>, named: bool) -> Result<Self, DockerConfigError> {
        let mut source = Self {
            files,
            named,
            state: Mutex::default(),
        };
        // What changes between the two is seen the next time.
        let print = source.print();
        let content = source.read()?;
        if let Print::File(at, ..) = print
            && let file = &source.files[at].0
            && content.file.has_secrets()
            && let Some(text) = exposure(file)
        {
            warn!("{}: {text}", file.display());
        }
        source.state = Mutex::new((print, content));
        Ok(source)
    }

    fn is_missing(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 == Print::Missing
    }

    /// What is there now, or was last in order. Reads it if it has changed, or
    /// if it is to be read `again`.
    fn content(&self, again: bool) -> Content {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (print, content) = &mut *state;
        if *print == Print::Once {
            return content.clone();
        }
        let now = self.print();
        let changed = now != *print;
        if changed || again {
            match self.read() {
                Ok(read) => {
                    if changed {
                        info!("{} was read again", read.origin);
                    }
                    *content = read;
                }
                Err(error) if changed => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                    warn!("{error}{cause}; what was there before counts on");
                }
                Err(_) => {}
            }
            *print = now;
        }
        content.clone()
    }

    fn print(&self) -> Print {
        for (at, (file, _)) in self.files.iter().enumerate() {
            match std::fs::metadata(file) {
                Ok(data) if data.is_file() => {
                    let times = [
                        data.mtime(),
                        data.mtime_nsec(),
                        data.ctime(),
                        data.ctime_nsec(),
                    ];
                    return Print::File(at, [data.dev(), data.ino(), data.len()], times);
                }
                Ok(_) => return Print::Once,
                Err(error) if is_missing(&error) => {}
                Err(error) => return Print::Hidden(error.kind()),
            }
        }
        Print::Missing
    }

    fn read(&self) -> Result<Content, DockerConfigError> {
        for (file, form) in &self.files {
            let unreadable = |source| DockerConfigError::Unreadable {
                file: file.clone(),
                source,
            };
            let origin = format!("the credentials file {}", file.display());
            let mut bytes = Vec::new();
            match File::open(file) {
                Ok(file) => file.take(MAX_SIZE + 1).read_to_end(&mut bytes),
                Err(error) if is_missing(&error) && !self.named => continue,
                Err(error) => Err(error),
            }
            .map_err(unreadable)?;
            if bytes.len() as u64 > MAX_SIZE {
                let limit = format!("longer than the {} MiB that are read", MAX_SIZE >> 20);
                return Err(unreadable(io::Error::other(limit)));
            }
            return Content::parse(origin, &bytes, *form);
        }
        let origin = self.files.first().map(|(file, _)| file.display());
        Ok(Content {
            origin: origin.map_or_else(String::new, |file| format!("the missing file {file}")),
            file: Arc::default(),
        })
    }
}

impl Content {
    fn parse(origin: String, bytes: &[u8], form: Form) -> Result<Self, DockerConfigError> {
        match DockerFile::parse(bytes, form) {
            Ok(file) => Ok(Self {
                origin,
                file: Arc::new(file),
            }),
            Err((line, column)) => Err(DockerConfigError::Malformed {
                origin,
                line,
                column,
            }),
        }
    }
}

/// Whether nothing is there, even if it is for want of the folder.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests;
