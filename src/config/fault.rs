//! What can be wrong with a configuration.

use std::fmt;
use std::io;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read the configuration {origin}: {cause}")]
    Unreadable {
        /// The file.
        origin: String,
        /// Why.
        cause: io::Error,
    },
    /// The text is no YAML, or a value has the wrong form.
    #[error("{origin}: {cause}")]
    Yaml {
        /// The file.
        origin: String,
        /// Where and what.
        cause: serde_yaml::Error,
    },
    /// Values that make no sense: all of them, a line each.
    #[error("{}", lines(origin, faults))]
    Faulty {
        /// The file.
        origin: String,
        /// What was found.
        faults: Vec<Fault>,
    },
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: `sync[2].tags.allow`.
    pub at: String,
    /// What, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.at, self.message),
        }
    }
}

fn lines(origin: &str, faults: &[Fault]) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| format!("{origin}: {fault}"))
        .collect();
    lines.join("\n")
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, at: impl Into<String>, message: impl fmt::Display) {
        self.0.push(Fault {
            at: at.into(),
            message: message.to_string(),
        });
    }

    /// Keeps a value, or notes why there is none.
    pub(super) fn keep<T, E: fmt::Display>(&mut self, at: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(at, error)).ok()
    }

    /// `value`, unless something was wrong anywhere.
    pub(super) fn unless_any<T>(self, value: T) -> Result<T, Vec<Fault>> {
        match self.0.is_empty() {
            true => Ok(value),
            false => Err(self.0),
        }
    }
}
