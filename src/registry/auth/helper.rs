//! Credential helpers: programs that keep credentials for docker.
//!
//! Source: docker/docker-credential-helpers, `client/client.go` and
//! `credentials/error.go`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::Credential;
use crate::http::{Secret, printable};
use crate::oci::Host;
use crate::process::Running;

/// What every helper's program is called, before its name.
const PREFIX: &str = "docker-credential-";

/// What a helper says, with exit code 1, of a registry that it does not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// How much a helper may answer, in bytes.
const ANSWER: usize = 64 << 10;

/// How much of what a helper says is shown, in bytes.
const SHOWN: usize = 300;

/// How long a helper's failure is taken for its answer.
const FAILURE: Duration = Duration::from_secs(5);

/// A helper's name: its program is `docker-credential-NAME`.
///
/// It has letters, digits, `_`, `.` and `-`, so that it can lead to no other
/// program than one of that kind on the `PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HelperName(String);

impl fmt::Display for HelperName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// Text that names no credential helper.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a credential helper: expected letters, digits, `_`, `.` and `-`")]
pub struct HelperNameError(String);

/// With or without `docker-credential-` before it.
impl FromStr for HelperName {
    type Err = HelperNameError;

    fn from_str(text: &str) -> Result<Self, HelperNameError> {
        let name = text.strip_prefix(PREFIX).unwrap_or(text);
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        match !name.is_empty() && name.bytes().all(known) {
            true => Ok(Self(name.to_owned())),
            false => Err(HelperNameError(text.chars().take(80).collect())),
        }
    }
}

/// A helper that gave no answer, or none that makes sense. Never quotes a
/// credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the credential helper {name} {said}")]
pub struct HelperError {
    name: HelperName,
    said: String,
}

/// By helper and server. Whoever holds the lock asks.
type Answers = HashMap<(HelperName, String), Arc<tokio::sync::Mutex<Answer>>>;

/// Runs helpers and keeps what they answer, for all who ask.
#[derive(Debug)]
pub struct Helpers {
    /// Where to look for the programs; `None` is this program's `PATH`.
    path: Option<OsString>,
    limit: Duration,
    answers: Mutex<Answers>,
}

/// The last answer. Whoever holds the lock runs the helper, and all who waited
/// meanwhile take what came.
type Answer = Option<(Instant, Result<Option<Credential>, HelperError>)>;

impl Default for Helpers {
    fn default() -> Self {
        Self {
            path: None,
            limit: Duration::from_secs(30),
            answers: Mutex::default(),
        }
    }
}

impl Helpers {
    /// How long an answer is kept unless a configuration says.
    pub const KEPT: Duration = Duration::from_secs(60 * 60);

    /// Looks for programs in these directories, as `PATH` has them.
    #[must_use]
    pub fn in_path(self, path: impl Into<OsString>) -> Self {
        Self {
            path: Some(path.into()),
            ..self
        }
    }

    /// Gives a helper so long to answer, instead of 30 seconds.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// What the helper has for `server`; `None` when it knows of nothing. An
    /// answer counts for `kept`, and only if it is newer than `after`.
    ///
    /// # Errors
    ///
    /// When the helper fails. That is never to be taken for having nothing:
    /// another credential would go where it does not belong.
    pub(super) async fn ask(
        &self,
        name: &HelperName,
        server: &str,
        kept: Duration,
        after: Option<Instant>,
    ) -> Result<Option<Credential>, HelperError> {
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (name.clone(), server.to_owned());
            Arc::clone(answers.entry(key).or_default())
        };
        let mut answer = answer.lock().await;
        if let Some((when, known)) = &*answer {
            let kept = match known {
                Ok(_) => kept,
                Err(_) => FAILURE,
            };
            if when.elapsed() < kept && after.is_none_or(|after| *when > after) {
                return known.clone();
            }
        }
        let found = self.run(name, server).await.map_err(|said| HelperError {
            name: name.clone(),
            said,
        });
        *answer = Some((Instant::now(), found.clone()));
        found
    }

    async fn run(&self, name: &HelperName, server: &str) -> Result<Option<Credential>, String> {
        let mut command = Command::new(name.to_string());
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let started = Running::start(&mut command);
        let mut running = started.map_err(|error| match error.kind() {
            ErrorKind::NotFound => "is not on the PATH".to_owned(),
            _ => format!("cannot be run: {error}"),
        })?;
        let done = timeout(self.limit, talk(running.child(), server)).await;
        let (status, said) = done.map_err(|_| {
            let seconds = self.limit.as_secs_f64();
            format!("did not answer in {seconds} s, and was stopped")
        })??;
        read(status, &said)
    }
}

/// The name by which helpers know a registry: Docker Hub's is its index, as in
/// docker's own files.
pub(super) fn server_of(host: &Host) -> &str {
    match host.is_docker_hub() {
        true => "https://index.docker.io/v1/",
        false => host.as_str(),
    }
}

async fn talk(child: &mut Child, server: &str) -> Result<(ExitStatus, Vec<u8>), String> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let ask = async {
        if let Some(mut stdin) = stdin {
            // It may answer without having read the question.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
    };
    let hear = async {
        match stdout {
            Some(stdout) => hear(stdout).await,
            None => Ok(Vec::new()),
        }
    };
    let ((), said) = tokio::join!(ask, hear);
    let said = said?;
    let status = child.wait().await;
    Ok((status.map_err(|error| format!("was lost: {error}"))?, said))
}

async fn hear(stdout: impl AsyncRead + Unpin) -> Result<Vec<u8>, String> {
    let mut said = Vec::new();
    let mut stdout = stdout.take(ANSWER as u64 + 1);
    let heard = stdout.read_to_end(&mut said).await;
    heard.map_err(|error| format!("cannot be heard: {error}"))?;
    match said.len() > ANSWER {
        true => Err(format!("answers more than {} KiB", ANSWER >> 10)),
        false => Ok(said),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What a helper's answer means. On failure it is in words, on stdout too.
fn read(status: ExitStatus, said: &[u8]) -> Result<Option<Credential>, String> {
    if !status.success() {
        let text = String::from_utf8_lossy(said);
        let text = text.trim();
        return match text {
            NOT_FOUND => Ok(None),
            "" => Err(format!("failed ({status})")),
            // It may be the answer of one that failed after it.
            _ if text.contains(['{', '}']) => Err(format!("failed ({status})")),
            _ => Err(format!(
                "failed ({status}) and says \"{}\"",
                printable(text, SHOWN)
            )),
        };
    }
    // serde_json's own message may quote the secret.
    let raw: Raw = serde_json::from_slice(said)
        .map_err(|_| "gives no answer of the kind {\"Username\", \"Secret\"}".to_owned())?;
    match (raw.username.as_str(), raw.secret.as_str()) {
        ("", "") => Ok(None),
        ("", _) => Err("gives a secret without a user".to_owned()),
        (_, "") => Err("gives a user without a secret".to_owned()),
        _ => Ok(Some(Credential::of_user(
            raw.username,
            Secret::new(raw.secret),
        ))),
    }
}
