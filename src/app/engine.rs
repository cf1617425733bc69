//! What runs the daemon's jobs: the executor and the stores of the configuration
//! at hand.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::metered::{Meters, known};
use super::once::{log, span, unopened};
use super::stores::{OpenError, OpenStores};
use crate::config::Config;
use crate::daemon::{Engine, Known};
use crate::http::RetryPolicy;
use crate::sync::{
    Audience, Executor, Job, Kept, Limits, Outcome, PoolStatus, RunId, RunReport, Watch,
};
use crate::telemetry::metrics::Metrics;

/// How many failures of one run are logged, and kept.
const FAILURES: usize = 50;

/// How many copied tags of one run are kept.
const CHANGES: usize = 50;

/// Mirrors: runs jobs through one pool, with the stores of one configuration
/// after the other.
#[derive(Debug)]
pub struct Mirror {
    executor: Executor,
    audience: Audience,
    meters: Meters,
    /// Those of the configuration at hand; a run works with what it began with.
    stores: Mutex<Arc<OpenStores>>,
}

impl Mirror {
    /// A mirror for `config` that tells `watch` what it does, and counts its
    /// requests.
    ///
    /// # Errors
    ///
    /// As [`OpenStores::new`].
    pub fn new(
        config: &Config,
        watch: Arc<dyn Watch>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let audience = Audience {
            watch,
            kept: Kept {
                changed: CHANGES,
                failed: FAILURES,
                others: 0,
            },
        };
        let limits = Limits {
            images: config.parallel,
            ..Limits::default()
        };
        let meters = Meters(Some(metrics));
        let stores = OpenStores::new(config, RetryPolicy::default())?.metered(meters.clone());
        Ok(Self {
            executor: Executor::new(limits).telling(audience.clone()),
            audience,
            meters,
            stores: Mutex::new(Arc::new(stores)),
        })
    }

    fn stores(&self) -> Arc<OpenStores> {
        Arc::clone(&self.stores.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn run(&self, id: RunId, job: &Job, stop: &CancellationToken) -> RunReport {
        let open = match self.stores().of(job) {
            Ok(open) => open,
            Err(error) => {
                tracing::error!("{}", error.one_line());
                return unopened(id, job, &error, &self.audience);
            }
        };
        let report = self.executor.run_as(id, job, &open, stop).await;
        for tag in &report.tags {
            if let Outcome::Failed { error, .. } = &tag.outcome {
                tracing::error!(source = %tag.source, "{error}");
            }
        }
        let untold = report.totals.failed.saturating_sub(FAILURES as u64);
        if untold > 0 {
            tracing::error!("and {untold} more tags failed");
        }
        log(&report, open.source.allowance());
        report
    }
}

#[async_trait]
impl Engine for Mirror {
    async fn run(&self, id: RunId, job: &Job, stop: &CancellationToken) -> RunReport {
        let span = span(&job.name, &id);
        self.run(id, job, stop).instrument(span).await
    }

    fn configure(&self, config: &Config) -> Result<(), String> {
        let stores = OpenStores::new(config, RetryPolicy::default());
        let stores = stores.map_err(|error| error.to_string())?;
        let stores = stores.metered(self.meters.clone()).after(&self.stores());
        *self.stores.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(stores);
        self.executor.resize(config.parallel);
        Ok(())
    }

    fn pool(&self) -> PoolStatus {
        self.executor.pool()
    }

    fn registries(&self) -> Vec<Known> {
        let registries = self.stores().registries();
        registries.iter().map(known).collect()
    }
}
