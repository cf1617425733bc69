//! The demo: the main job between two embedded registries, with no network
//! and nothing to prepare.

mod seed;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use seed::Seeded;

use super::once::{Summary, run_once};
use super::stores::{OpenError, OpenStores};
use crate::config::{Config, ConfigError};
use crate::embedded::{self, Options};
use crate::http::RetryPolicy;
use crate::oci::Host;
use crate::store::{MemoryStore, StoreError};
use crate::sync::Audience;

/// The configuration that the demo runs.
const CONFIG: &str = include_str!("../../../config/demo.yml");

/// The registries that it names.
const SOURCE: &str = "source.demo.test";
const MIRROR: &str = "mirror.demo.test";

/// What the demo did.
#[derive(Debug)]
pub struct Demo {
    /// What the source registry was given.
    pub seeded: Seeded,
    /// Where the source registry listened.
    pub source: String,
    /// Where the mirror listened.
    pub mirror: String,
    /// What the first run copied.
    pub first: Summary,
    /// What was left for the second.
    pub second: Summary,
}

/// The demo could not be run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No port on loopback.
    #[error("could not listen on 127.0.0.1: {0}")]
    Listen(#[from] io::Error),
    /// The embedded configuration is broken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No stores.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The source registry could not be filled.
    #[error(transparent)]
    Seed(#[from] StoreError),
}

/// Starts a source and an empty mirror on loopback, fills the source, and runs
/// the same configuration twice.
///
/// # Errors
///
/// When it cannot get as far as the first run; what fails in a run is in its
/// summary.
pub async fn run(stop: &CancellationToken) -> Result<Demo, DemoError> {
    let content = MemoryStore::new("source");
    let seeded = seed::fill(&content).await?;
    // The servers end with this set, when the demo returns.
    let mut servers = JoinSet::new();
    let source = serve(&mut servers, content).await?;
    let mirror = serve(&mut servers, MemoryStore::new("mirror")).await?;

    let mut config = Config::parse(CONFIG, "config/demo.yml")?;
    for (name, address) in [(SOURCE, &source), (MIRROR, &mirror)] {
        let host: Host = name.parse().expect("a constant that is a host");
        config.registries.entry(host).or_default().hostname = Some(address.clone());
    }
    let stores = || OpenStores::new(&config, RetryPolicy::default()).map(Arc::new);
    let first = run_once(&config, &stores()?, Audience::default(), stop).await;
    // Opened anew: the second run knows nothing that the first one learnt.
    let second = run_once(&config, &stores()?, Audience::default(), stop).await;
    Ok(Demo {
        seeded,
        source,
        mirror,
        first,
        second,
    })
}

async fn serve(servers: &mut JoinSet<()>, content: MemoryStore) -> io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?.to_string();
    let router = embedded::router(Arc::new(content), Options::default());
    servers.spawn(async move {
        if let Err(error) = embedded::serve(listener, router, std::future::pending()).await {
            tracing::error!(%error, "an embedded registry ended");
        }
    });
    Ok(address)
}
