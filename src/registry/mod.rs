//! The distribution-spec client: a [`Registry`] is a store to read from and to
//! write to.
//!
//! One file for each family of endpoints; `client` is how a request is made,
//! `auth` what goes into its `Authorization`, `failure` what an answer means
//! that is no success. Source: OCI distribution-spec 1.1.

mod auth;
mod blobs;
mod cache;
mod client;
mod download;
mod failure;
mod ledger;
mod links;
mod listing;
mod manifests;
mod mirrored;
pub mod operation;
mod referrers;
mod seam;
mod upload;
mod warnings;

pub use auth::{
    Credential, DockerConfig, DockerConfigError, HelperError, HelperName, HelperNameError, Helpers,
    Keychain,
};
pub use cache::CacheLimits;
pub use client::{Options, Registry, default_address};
pub use ledger::LastQuota;
pub use mirrored::Mirrored;
