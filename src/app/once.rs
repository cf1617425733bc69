//! Running every job of a configuration a single time.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::stores::OpenStores;
use crate::config::Config;
use crate::store::Allowance;
use crate::sync::{Executor, Job, Limits, Outcome, RunReport, TagReport, Totals};

/// What a run of all jobs did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The jobs' reports, in the configuration's order.
    pub runs: Vec<RunReport>,
    /// The sum of their counts.
    pub totals: Totals,
    /// Whether it was told to stop before it was done.
    pub interrupted: bool,
}

/// Runs every job of `config` at the same time, through one pool.
///
/// A job that fails, or panics, does not stop the others. When `stop` is
/// cancelled, copies under way are finished and no other is begun.
pub async fn run_once(config: &Config, stores: OpenStores, stop: &CancellationToken) -> Summary {
    let limits = Limits {
        images: config.parallel,
        ..Limits::default()
    };
    let shared = Arc::new((Executor::new(limits), Arc::new(stores)));
    let mut tasks = JoinSet::new();
    let mut order = std::collections::HashMap::new();
    for (number, job) in config.jobs.iter().enumerate() {
        let (shared, job, stop) = (Arc::clone(&shared), job.clone(), stop.clone());
        let task = tasks.spawn(async move { run(&shared.0, &shared.1, &job, &stop).await });
        order.insert(task.id(), number);
    }
    let mut runs: Vec<(usize, RunReport)> = Vec::with_capacity(order.len());
    while let Some(ended) = tasks.join_next_with_id().await {
        let (id, report) = match ended {
            Ok((id, report)) => (id, Some(report)),
            Err(panicked) => (panicked.id(), None),
        };
        let number = order[&id];
        let report = report.unwrap_or_else(|| {
            let error = "a fault of regmirror's own ended the job; please report it".to_owned();
            failed(&config.jobs[number], error)
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

async fn run(
    executor: &Executor,
    stores: &Arc<OpenStores>,
    job: &Job,
    stop: &CancellationToken,
) -> RunReport {
    let (report, allowance) = match stores.of(job) {
        Ok(stores) => {
            let report = executor.run(job, &stores, stop).await;
            (report, stores.source.allowance())
        }
        Err(error) => (failed(job, error.one_line()), Allowance::default()),
    };
    let Totals {
        copied,
        unchanged,
        excluded,
        failed,
        bytes_sent,
        ..
    } = report.totals;
    tracing::info!(
        sync_job = %job.name,
        copied,
        unchanged,
        excluded,
        failed,
        bytes = bytes_sent,
        pulls_left = allowance.pulls.map(|pulls| pulls.remaining),
        "job done"
    );
    report
}

/// The report of a job that did not get to its first tag.
fn failed(job: &Job, error: String) -> RunReport {
    let totals = Totals {
        failed: 1,
        ..Totals::default()
    };
    RunReport {
        job: job.name.clone(),
        totals,
        tags: vec![TagReport {
            source: job.scope.source().to_string(),
            target: job.scope.target().to_string(),
            outcome: Outcome::Failed { error },
        }],
        interrupted: false,
    }
}
