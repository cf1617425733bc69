//! The embedded registry: a distribution-spec server over a store.
//!
//! It serves what a [`Hosted`](crate::store::Hosted) store holds, as the OCI
//! distribution-spec 1.1 says, and takes pushes. It knows no users: whoever
//! reaches it may do what its [`Options`] allow.

mod answer;
mod blobs;
mod body;
mod listing;
mod manifests;
mod query;
mod route;
mod server;
mod sessions;
mod uploads;

pub use server::{Options, router, serve};
