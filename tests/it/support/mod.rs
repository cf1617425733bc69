//! What the tests share: registries with a request log, images.

mod auth;
pub(crate) mod bench;
pub(crate) mod images;
pub(crate) mod recorded;
mod registry;

pub(crate) use auth::Auth;
pub(crate) use registry::{Fault, TestRegistry};

/// A client that knows nothing of registries.
pub(crate) fn client() -> reqwest::Client {
    // reqwest asks for a provider even where only plain HTTP is spoken. That
    // another test has set it already is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
}
