//! The composition root: what is built from what.
//!
//! The only room that knows every other: it turns a configuration's locations
//! into stores, runs jobs, and serves the embedded registry.

pub mod demo;
mod once;
mod serve;
mod stores;

pub use once::{Summary, run_once};
pub use serve::{Content, serve_registry};
pub use stores::{OpenError, OpenStores};

pub use crate::http::RetryPolicy;
