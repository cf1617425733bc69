//! Running, or checking, every job of a configuration a single time.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::stores::OpenStores;
use crate::config::Config;
use crate::store::{Allowance, StoreError};
use crate::sync::{
    Audience, Checker, Executor, Job, Limits, Outcome, RunId, RunReport, TagReport, Tally, Totals,
};

/// What a run of all jobs did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The jobs' reports, in the configuration's order.
    pub runs: Vec<RunReport>,
    /// The sum of their counts.
    pub totals: Totals,
    /// Whether it was told to stop before it was done.
    pub interrupted: bool,
}

/// What is done with each job.
#[derive(Debug)]
enum Work {
    Copy(Executor),
    Check(Checker),
}

/// Runs every job of `config` at the same time, through one pool.
///
/// A job that fails, or panics, does not stop the others. When `stop` is
/// cancelled, copies under way are finished and no other is begun.
pub async fn run_once(
    config: &Config,
    stores: &Arc<OpenStores>,
    audience: Audience,
    stop: &CancellationToken,
) -> Summary {
    let limits = Limits {
        images: config.parallel,
        ..Limits::default()
    };
    let executor = Executor::new(limits).telling(audience.clone());
    each_job(config, stores, Work::Copy(executor), audience, stop).await
}

/// Looks what [`run_once`] would do. Nothing is written anywhere.
///
/// Where a source counts how often images are read, it looks into those that
/// would be copied only if it may `spend_pulls`.
pub async fn check(
    config: &Config,
    stores: &Arc<OpenStores>,
    audience: Audience,
    spend_pulls: bool,
    stop: &CancellationToken,
) -> Summary {
    let checker = Checker::new(audience.clone(), spend_pulls);
    each_job(config, stores, Work::Check(checker), audience, stop).await
}

async fn each_job(
    config: &Config,
    stores: &Arc<OpenStores>,
    work: Work,
    audience: Audience,
    stop: &CancellationToken,
) -> Summary {
    let work = Arc::new(work);
    let mut tasks = JoinSet::new();
    let mut order = HashMap::new();
    for (number, job) in config.jobs.iter().enumerate() {
        let (work, stores, stop) = (Arc::clone(&work), Arc::clone(stores), stop.clone());
        let (job, audience) = (job.clone(), audience.clone());
        let id = RunId::new();
        let (span, known) = (span(&job.name, &id), id.clone());
        let run = async move { work.run(id, &job, &stores, &audience, &stop).await };
        let task = tasks.spawn(run.instrument(span));
        order.insert(task.id(), (number, known));
    }
    let mut runs: Vec<(usize, RunReport)> = Vec::with_capacity(order.len());
    while let Some(ended) = tasks.join_next_with_id().await {
        let (id, report) = match ended {
            Ok((id, report)) => (id, Some(report)),
            Err(panicked) => (panicked.id(), None),
        };
        let Some((number, run)) = order.remove(&id) else {
            continue;
        };
        let report = report.unwrap_or_else(|| {
            let outcome = Outcome::fault("it ended the job");
            without_a_tag(run, &config.jobs[number], outcome, &audience)
        });
        runs.push((number, report));
    }
    runs.sort_by_key(|(number, _)| *number);
    let runs: Vec<RunReport> = runs.into_iter().map(|(_, report)| report).collect();
    let mut totals = Totals::default();
    for run in &runs {
        totals.add(&run.totals);
    }
    Summary {
        interrupted: runs.iter().any(|run| run.interrupted),
        runs,
        totals,
    }
}

impl Work {
    async fn run(
        &self,
        id: RunId,
        job: &Job,
        stores: &Arc<OpenStores>,
        audience: &Audience,
        stop: &CancellationToken,
    ) -> RunReport {
        let stores = match stores.of(job) {
            Ok(stores) => stores,
            Err(error) => return unopened(id, job, &error, audience),
        };
        let report = match self {
            Self::Copy(executor) => executor.run_as(id, job, &stores, stop).await,
            Self::Check(checker) => checker.run(id, job, stores.readers(), stop).await,
        };
        log(&report, stores.source.allowance());
        report
    }
}

/// What all lines say that a run logs.
pub(super) fn span(job: &str, id: &RunId) -> tracing::Span {
    tracing::info_span!("run", sync_job = job, run_id = %id)
}

pub(super) fn log(report: &RunReport, allowance: Allowance) {
    let Totals {
        copied,
        pending,
        unchanged,
        excluded,
        failed,
        bytes_sent,
        ..
    } = report.totals;
    tracing::info!(
        copied,
        pending,
        unchanged,
        excluded,
        failed,
        bytes = bytes_sent,
        duration_ms = u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        pulls_left = allowance.pulls.map(|pulls| pulls.remaining),
        "job done"
    );
}

pub(super) fn unopened(id: RunId, job: &Job, error: &StoreError, audience: &Audience) -> RunReport {
    let report = without_a_tag(id, job, Outcome::failed(error), audience);
    log(&report, Allowance::default());
    report
}

/// The report of a job that did not get to its first tag.
fn without_a_tag(id: RunId, job: &Job, outcome: Outcome, audience: &Audience) -> RunReport {
    let tally = Tally::begin(&job.name, id, audience);
    tally.tag(TagReport {
        source: job.scope.source().to_string(),
        target: job.scope.target().to_string(),
        outcome,
    });
    tally.end(false)
}
