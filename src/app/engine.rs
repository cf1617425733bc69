//! What runs the daemon's jobs: the executor and the stores of the configuration
//! at hand.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::once::{log, unopened};
use super::stores::{OpenError, OpenStores};
use crate::config::Config;
use crate::daemon::{Engine, Skip};
use crate::http::RetryPolicy;
use crate::sync::{Audience, Executor, Job, Kept, Limits, Outcome, RunReport};

/// How many failures of one run are logged, and kept.
const FAILURES: usize = 50;

/// Mirrors: runs jobs through one pool, with the stores of one configuration
/// after the other.
#[derive(Debug)]
pub struct Mirror {
    now: Mutex<Arc<Parts>>,
}

/// What a run works with, to its end.
#[derive(Debug)]
struct Parts {
    images: usize,
    executor: Arc<Executor>,
    stores: Arc<OpenStores>,
}

impl Mirror {
    /// A mirror for `config`.
    ///
    /// # Errors
    ///
    /// As [`OpenStores::new`].
    pub fn new(config: &Config) -> Result<Self, OpenError> {
        let stores = OpenStores::new(config, RetryPolicy::default())?;
        Ok(Self {
            now: Mutex::new(Arc::new(Parts {
                images: config.parallel,
                executor: Arc::new(executor(config.parallel)),
                stores: Arc::new(stores),
            })),
        })
    }

    fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn executor(images: usize) -> Executor {
    let limits = Limits {
        images,
        ..Limits::default()
    };
    Executor::new(limits).telling(audience())
}

fn audience() -> Audience {
    Audience {
        kept: Kept {
            changed: 0,
            failed: FAILURES,
            others: 0,
        },
        ..Audience::default()
    }
}

#[async_trait]
impl Engine for Mirror {
    async fn run(&self, job: &Job, stop: &CancellationToken) -> RunReport {
        let Parts {
            executor, stores, ..
        } = &*self.parts();
        let open = match stores.of(job) {
            Ok(open) => open,
            Err(error) => return unopened(job, &error, &audience()),
        };
        let report = executor.run(job, &open, stop).await;
        for tag in &report.tags {
            if let Outcome::Failed { error, .. } = &tag.outcome {
                tracing::error!(sync_job = %job.name, source = %tag.source, "{error}");
            }
        }
        let untold = report.totals.failed.saturating_sub(FAILURES as u64);
        if untold > 0 {
            tracing::error!(sync_job = %job.name, "and {untold} more tags failed");
        }
        log(&report, open.source.allowance());
        report
    }

    fn configure(&self, config: &Config) -> Result<(), String> {
        let before = self.parts();
        let stores = OpenStores::new(config, RetryPolicy::default());
        let stores = stores.map_err(|error| error.to_string())?;
        let executor = match before.images == config.parallel {
            true => Arc::clone(&before.executor),
            false => Arc::new(executor(config.parallel)),
        };
        let parts = Parts {
            images: config.parallel,
            executor,
            stores: Arc::new(stores.after(&before.stores)),
        };
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(parts);
        Ok(())
    }

    fn skipped(&self, job: &str, why: Skip) {
        match why {
            Skip::StillRunning => {
                tracing::warn!(sync_job = job, "due, but still running: skipped");
            }
            Skip::Paused => tracing::info!(sync_job = job, "due, but paused: skipped"),
        }
    }
}
