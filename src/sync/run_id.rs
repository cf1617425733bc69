//! What a run is called.

use std::fmt;

use chrono::Utc;

/// Names one run of a job, such as `20261124-125531-kwhcazpe`: when it was begun
/// (UTC), and something random. In the order of their names, runs are in the order
/// in which they began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// A name that no other run has.
    pub fn new() -> Self {
        let random: String = std::iter::repeat_with(|| fastrand::char('a'..='z'))
            .take(8)
            .collect();
        let now = Utc::now().format("%Y%m%d-%H%M%S");
        Self(format!("{now}-{random}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RunId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
