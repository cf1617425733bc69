//! What the tests share: registries with a request log, images.

mod auth;
pub(crate) mod bench;
pub(crate) mod daemon;
mod fault;
pub(crate) mod helper;
pub(crate) mod images;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod recorded;
mod registry;
pub(crate) mod server;
mod storm;
pub(crate) mod tls;
mod wire;

use std::time::Duration;

use regmirror::http::{HostOptions, HttpClient, RetryPolicy, Tls};
use regmirror::registry::{Keychain, Registry};

pub(crate) use auth::Auth;
pub(crate) use fault::{End, Fault};
pub(crate) use registry::TestRegistry;

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

/// The client under test for a test registry, of few and short waits.
pub(crate) fn registry_client(server: &TestRegistry, credential: impl Into<Keychain>) -> Registry {
    registry_client_of(server, credential, HostOptions::CONCURRENT)
}

/// The same, with so many requests at once in each direction.
pub(crate) fn registry_client_of(
    server: &TestRegistry,
    credential: impl Into<Keychain>,
    concurrent: usize,
) -> Registry {
    let options = HostOptions {
        concurrent,
        ..HostOptions::new(server.address())
    };
    registry_client_with(server, credential, options)
}

/// The same, reached as `options` say, but for TLS.
pub(crate) fn registry_client_with(
    server: &TestRegistry,
    credential: impl Into<Keychain>,
    options: HostOptions,
) -> Registry {
    let retry = RetryPolicy {
        attempts: 3,
        base: Duration::from_millis(2),
        cap: Duration::from_millis(4),
        patience: Duration::from_millis(1500),
    };
    let host = server.address().parse().expect("an address is a host");
    let options = options.with_tls(Tls::Disabled);
    let client = HttpClient::new("regmirror-test").expect("a client");
    Registry::new(host, &options, credential, &client, retry).expect("a valid address")
}
