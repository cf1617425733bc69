//! The composition root: what is built from what.
//!
//! The only room that knows every other: it turns a configuration's locations
//! into stores, runs jobs, and serves the embedded registry.

mod access;
pub mod demo;
mod engine;
mod metered;
mod once;
mod remote;
mod serve;
mod stores;

pub use access::access;
pub use engine::Mirror;
pub use once::{Summary, check, run_once};
pub use remote::{Answer, Remote};
pub use serve::{Content, serve_registry};
pub use stores::{OpenError, OpenStores};

pub use crate::http::RetryPolicy;
