//! One HTTP client for all registries: TLS, proxies, retry, limits.
//!
//! Knows nothing of registries. [`HttpClient`] is made once; a [`HostClient`]
//! for each host holds what its requests share: how many run at once, and
//! until when the host asked to be left alone. Trust belongs to an origin, not
//! to who asks: what the operator said of a host is true of that host only,
//! and what a server leads to is checked before it is connected to.

mod body;
mod client;
mod error;
mod guard;
mod host;
mod meter;
mod options;
mod request;
mod retry;
mod secret;
mod tls;

pub use body::{Streamed, exact_body};
pub use client::HttpClient;
pub use error::{HttpError, printable, printable_url};
pub use host::{Class, HostClient, Permit};
pub use meter::{Brake, Meter, Setback, Traffic};
pub use options::{Chunks, HostOptions, Tls};
pub use request::{Payload, Request, Response, Trail};
pub use retry::{RetryPolicy, Verdict, retry_after, verdict_of_status};
pub use secret::{Secret, exposure};
pub use tls::{Certificates, Identity, PemError};
