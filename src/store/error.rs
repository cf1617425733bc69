//! What can go wrong with a store, in the classes that callers act on.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The failures a caller can act on. Everything else stays in the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such repository, tag, manifest or blob.
    #[error("not found")]
    NotFound,
    /// The credentials, or the lack of them, do not allow it.
    #[error("access denied")]
    Denied,
    /// Too many requests; when known, how long to leave the store alone.
    #[error("rate limited")]
    RateLimited(Option<Duration>),
    /// The bytes are not what their digest or size promised.
    #[error("content does not match its descriptor")]
    Corrupt,
    /// Docker schema 1, which cannot be copied by digest.
    #[error("schema 1 manifest")]
    Schema1,
    /// It may work later: connection, time limit, server error.
    #[error("temporarily unavailable")]
    Unavailable,
    /// The store answered that it will not do this.
    #[error("refused")]
    Refused,
    /// A manifest points at content that the store does not have: it may have
    /// been cleared away since it was looked for.
    #[error("refused because content is missing there")]
    MissingContent,
    /// The store cannot do this at all, such as list its repositories.
    #[error("not offered by this store")]
    Unsupported,
    /// What the store answered or holds makes no sense.
    #[error("malformed")]
    Malformed,
    /// The directory or disk cannot be used.
    #[error("storage failure")]
    Storage,
}

impl ErrorKind {
    /// What a person can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NotFound => "check the name, and that the credentials may see it",
            Self::Denied => "check the credentials and their rights for this repository",
            Self::RateLimited(_) => "run again later, or sign in for a higher limit",
            Self::Corrupt => {
                "the copy there is damaged: push it again, or check what is in between"
            }
            Self::Schema1 => "push the image again with a tool of this decade",
            Self::Unavailable => {
                "check that it is reachable; the next run goes on where this stopped"
            }
            Self::Refused => "see what the server says, and its policy",
            Self::MissingContent => "run again: what is missing is sent then",
            Self::Unsupported => "use another type of job, or another store",
            Self::Malformed => {
                "check that it is the address of a registry, or the path of a layout; \
                 if it is, push the image again"
            }
            Self::Storage => "check the path, its permissions and the free space",
        }
    }
}

/// A failed store operation: what was tried, on what, and why it failed.
///
/// `Display` states this level only; [`chain`] adds the causes.
#[derive(Debug)]
pub struct StoreError {
    kind: ErrorKind,
    action: &'static str,
    subject: String,
    /// How often it was begun from the beginning.
    times: u32,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// `action` completes "could not …", `subject` names what it was done to.
    pub fn new(kind: ErrorKind, action: &'static str, subject: impl Into<String>) -> Self {
        Self {
            kind,
            action,
            subject: subject.into(),
            times: 1,
            source: None,
        }
    }

    /// Adds the cause: an error, or a text for one.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// The same failure, seen as `kind`.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same failure, after the whole was begun so many times.
    #[must_use]
    pub fn tried(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// The class of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The whole story in one line: this error, its causes, what to do.
    pub fn one_line(&self) -> String {
        let times = match self.times {
            1 => String::new(),
            times => format!(" (begun {times} times)"),
        };
        format!("{}{times}; {}", chain(self), self.kind.advice())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "could not {} {}: {}",
            self.action, self.subject, self.kind
        )
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|cause| cause.as_ref() as _)
    }
}

/// An error and its causes in one line, joined by colons. A cause that only
/// repeats what stands before it is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_action_subject_cause_and_way_out() {
        let error = StoreError::new(ErrorKind::NotFound, "read tag", "h.io/a:1")
            .because("404 MANIFEST_UNKNOWN");
        assert_eq!(error.to_string(), "could not read tag h.io/a:1: not found");
        assert_eq!(
            error.one_line(),
            "could not read tag h.io/a:1: not found: 404 MANIFEST_UNKNOWN; \
             check the name, and that the credentials may see it"
        );
    }
}
