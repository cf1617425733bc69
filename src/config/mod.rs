//! Configuration: regsync's version 1 YAML, to jobs that cannot be wrong.
//!
//! The serde twins of the file are private. What leaves this room has been
//! parsed into the values of `oci` and `sync`, or every fault of the file has
//! been found.

mod build;
mod convert;
mod effective;
mod finding;
mod pick;
mod raw;
mod report;
mod schema;
mod shape;
mod yaml;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

pub use convert::{ConvertError, Converted, Tool, convert};
pub use finding::{Check, Finding, Severity};
pub use pick::PickError;
pub use report::{Format, Report};
pub use schema::{schema, schema_text};

use crate::http::{Certificates, Chunks, Identity, Secret, Tls, exposure};
use crate::oci::{Host, Repository};
use crate::schedule::Schedule;
use crate::sync::Job;
use crate::template::Process;

/// How long a configuration may be, in bytes. It is parsed in memory.
pub const MAX_SIZE: u64 = 4 << 20;

/// A configuration without faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How to reach registries, where the file says so.
    pub registries: BTreeMap<Host, Registry>,
    /// Whether docker's configuration files are asked for credentials.
    pub docker_config: bool,
    /// What to call ourselves in requests, instead of the usual.
    pub user_agent: Option<String>,
    /// How many images are copied at once, over all jobs.
    pub parallel: usize,
    /// How large a chunk a registry may ask for at least, in bytes.
    pub blob_limit: u64,
    /// How many manifests and lists of each registry are kept, and how long.
    pub cache: Option<(usize, Duration)>,
    /// What to do.
    pub jobs: Vec<Job>,
    /// When each job is due, by its name. A job without is run by `once` alone.
    pub schedules: BTreeMap<String, Schedule>,
    /// The line and the column of each job's entry, by its name.
    pub places: BTreeMap<String, (usize, usize)>,
    /// What is odd about the file but does not stop it.
    pub warnings: Report,
    /// The file with every default filled in, and without secrets.
    effective: raw::Config,
    /// The secrets of its `creds` entries as they are written: password, token and
    /// client key.
    secrets: Vec<[Option<Secret>; 3]>,
    /// Whether a secret is written out in it.
    holds_secrets: bool,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read the configuration {origin}: {cause}")]
    Unreadable {
        /// The file.
        origin: String,
        /// Why.
        cause: std::io::Error,
    },
    /// All that is wrong with it, and what is odd.
    #[error("{0}")]
    Faulty(Report),
}

/// How to reach one registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registry {
    /// What to connect to, `host[:port]`, when not to its name.
    pub hostname: Option<String>,
    /// The connection's protection.
    pub tls: Tls,
    /// Certificates that are trusted there besides the system's.
    pub ca: Option<Certificates>,
    /// The client certificate for it.
    pub identity: Option<Identity>,
    /// Who we are there; `None` leaves it to docker's configuration.
    pub login: Option<Login>,
    /// How many requests may run at once, in each direction.
    pub concurrent: Option<usize>,
    /// How large blobs are sent.
    pub chunks: Chunks,
    /// How long it may keep silent.
    pub idle: Option<Duration>,
    /// How much time lies between the beginnings of two requests at least.
    pub spacing: Duration,
    /// What is put before every repository's name.
    pub path_prefix: Option<Repository>,
    /// What is read from before it, the registry itself among them, in this
    /// order; none, when it has no mirrors.
    pub readers: Vec<Host>,
    /// Whether no token is asked for that is for two repositories.
    pub repo_auth: bool,
    /// Whether what a tag points at is asked with GET alone.
    pub without_head: bool,
}

/// Who we are at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An identity token.
    Token(Secret),
    /// What a program says that keeps credentials for docker.
    Helper {
        /// The program is `docker-credential-NAME`.
        name: String,
        /// What to ask it for, instead of the registry's name.
        server: Option<String>,
        /// How long its answer is kept, when not as usual.
        kept: Option<Duration>,
    },
}

impl Config {
    /// How many images are copied at once unless the file says.
    pub const PARALLEL: usize = 4;

    /// What we call ourselves in requests unless the file says.
    pub const USER_AGENT: &str = concat!("regmirror/", env!("CARGO_PKG_VERSION"));

    /// Reads a file. That it holds a secret which all can read is a warning.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or with every fault that was found in it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let mut config = match std::fs::File::open(path) {
            Ok(file) => Self::read_from(file, &origin)?,
            Err(cause) => return Err(ConfigError::Unreadable { origin, cause }),
        };
        if config.holds_secrets {
            let exposed = exposure(path);
            let exposed = exposed.map(|text| Finding::warning(Check::Exposure, "", text));
            exposed
                .into_iter()
                .for_each(|finding| config.warnings.push(finding));
        }
        Ok(config)
    }

    /// The configuration as YAML with every default filled in and every secret
    /// hidden. Templates stand as they were written.
    pub fn effective(&self) -> String {
        serde_yaml::to_string(&self.effective).expect("maps with text for keys")
    }

    /// As [`effective`](Self::effective), with secrets as they are in the file.
    pub fn with_secrets(&self) -> String {
        let mut config = self.effective.clone();
        for (entry, [pass, token, key]) in config.creds.iter_mut().zip(&self.secrets) {
            let shown = |secret: &Option<Secret>| Some(secret.as_ref()?.expose().to_owned());
            entry.pass = shown(pass);
            entry.token = shown(token);
            entry.client_key = shown(key);
        }
        serde_yaml::to_string(&config).expect("maps with text for keys")
    }

    /// Reads a stream to its end; `origin` names it in messages.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn read_from(stream: impl Read, origin: &str) -> Result<Self, ConfigError> {
        let text = read_bounded(stream).map_err(|cause| ConfigError::Unreadable {
            origin: origin.to_owned(),
            cause,
        })?;
        Self::parse(&text, origin)
    }

    /// Reads text; `origin` names it in messages.
    ///
    /// # Errors
    ///
    /// With every fault that was found in it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let (root, mut findings) = yaml::read(text);
        let Some(root) = root else {
            let secrets = report::suspected(text);
            let report = Report::new(origin, text, findings, &secrets);
            return Err(ConfigError::Faulty(report));
        };
        let mut read = shape::read(&root);
        read.secrets.extend(report::commented(text));
        if findings.iter().any(|found| found.message == yaml::MORE) {
            // Nobody looked at the rest.
            read.secrets.extend(report::suspected(text));
        }
        findings.extend(read.findings);
        let (config, mut findings) = build::config(&read.config, findings, &Process);
        for finding in &mut findings {
            if finding.place.is_none() {
                finding.place = read.places.of(&finding.at);
            }
            if let (Some(place), Some((template, offset))) = (&finding.place, &finding.within) {
                // It stands there as it is, unless it has escapes.
                let start = text.get(place.clone()).and_then(|text| text.find(template));
                if let Some(start) = start {
                    let at = place.start + start + offset;
                    finding.place = Some(at..at);
                }
            }
        }
        let failed = findings
            .iter()
            .any(|found| found.severity == Severity::Error);
        let report = Report::new(origin, text, findings, &read.secrets);
        match failed {
            true => Err(ConfigError::Faulty(report)),
            false => Ok(Self {
                places: config
                    .jobs
                    .iter()
                    .enumerate()
                    .filter_map(|(number, job)| {
                        let place = read.places.of(&format!("sync[{number}]"))?;
                        Some((job.name.clone(), report.line_and_column(place.start)))
                    })
                    .collect(),
                warnings: report,
                ..config
            }),
        }
    }
}

fn read_bounded(stream: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    if stream.take(MAX_SIZE + 1).read_to_string(&mut text)? as u64 > MAX_SIZE {
        let message = format!("longer than the {} MiB that are read", MAX_SIZE >> 20);
        return Err(std::io::Error::other(message));
    }
    Ok(text)
}
