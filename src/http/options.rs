//! How one host is reached.

use std::time::Duration;

use reqwest::Url;

use super::tls::Trust;
use super::{Certificates, Identity};

/// Whether and how the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// HTTPS, the certificate verified.
    #[default]
    Enabled,
    /// HTTPS, the certificate not verified: of this host, not of others that
    /// it leads to.
    Insecure,
    /// Plain HTTP.
    Disabled,
}

impl Tls {
    /// The scheme of URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Enabled | Self::Insecure => "https",
            Self::Disabled => "http",
        }
    }
}

/// How one host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOptions {
    /// What to connect to: `host` or `host:port`.
    pub address: String,
    /// The connection's protection.
    pub tls: Tls,
    /// Trusted besides the system's certificates: those of CAs, or the host's
    /// own. Holds for the hosts that this one leads to as well: what signs an
    /// internal registry signs its storage and its token server.
    pub ca: Option<Certificates>,
    /// Who we are, for a host that wants to know. Shown to no other.
    pub identity: Option<Identity>,
    /// How many requests may run at once, in each direction.
    pub concurrent: usize,
    /// How much time lies between the beginnings of two requests at least.
    pub spacing: Duration,
    /// How large content is sent.
    pub chunks: Chunks,
    /// How long the host may keep silent, or take nothing of a body that is
    /// sent to it. There is no limit on the whole.
    pub idle: Duration,
}

/// How content is sent to a host that takes it in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Content of more bytes than this is sent in pieces; without it, only when
    /// the host refuses the whole.
    pub above: Option<u64>,
    /// How large a piece is, in bytes. One at a time is held in memory.
    pub size: u64,
    /// How large the host may want a piece to be at least, in bytes: more would
    /// not be held in memory for it.
    pub largest_least: u64,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            above: None,
            // More than the 5 MiB that S3, where most registries store, wants
            // of a part.
            size: 8 << 20,
            largest_least: 64 << 20,
        }
    }
}

impl HostOptions {
    /// Requests at once in each direction, unless told otherwise: what a
    /// browser opens to one host, and below what any registry complains about.
    pub const CONCURRENT: usize = 6;

    /// How long a host may keep silent, unless told otherwise.
    pub const IDLE: Duration = Duration::from_secs(60);

    /// Verified HTTPS to `address`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: Tls::default(),
            ca: None,
            identity: None,
            concurrent: Self::CONCURRENT,
            spacing: Duration::ZERO,
            chunks: Chunks::default(),
            idle: Self::IDLE,
        }
    }

    /// The same host, protected by `tls`.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// The root of the host; `None` when the address is no `host[:port]`.
    pub fn url(&self) -> Option<Url> {
        let url = Url::parse(&format!("{}://{}/", self.tls.scheme(), self.address)).ok()?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        (bare && anonymous && url.has_host()).then_some(url)
    }

    pub(super) fn trust(&self) -> Trust {
        Trust {
            verify: self.tls != Tls::Insecure,
            ca: self.ca.clone(),
            identity: self.identity.clone(),
        }
    }
}
