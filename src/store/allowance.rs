//! What a store says it will bear.

use tokio::time::Instant;

/// What a store allows for the time being, as far as it has said. By default,
/// anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// It asked not to be sent anything before then.
    pub quiet_until: Option<Instant>,
    /// How many images may be pulled, where that is limited.
    pub pulls: Option<Pulls>,
}

/// How many images may still be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulls {
    /// So many.
    pub remaining: u64,
    /// Out of so many, where it says.
    pub limit: Option<u64>,
    /// There are more by then at the latest, where it says.
    pub renewed: Option<Instant>,
}
