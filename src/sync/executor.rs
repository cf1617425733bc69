//! The executor: takes the steps of all jobs through one bounded pool.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::stream::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::admission;
use super::backup;
use super::copy::Copier;
use super::job::{Job, Stores};
use super::plan::{Planned, plan};
use super::report::{Outcome, RunReport, TagReport, Tally};
use super::step::{Decision, Step, Why, image_name};
use super::transfer::{End, Shared, Transfers};
use crate::oci::Digest;
use crate::store::{Sink, Source, StoreError};

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Images that are copied at once, over all jobs.
    pub images: usize,
    /// Blobs of one image that are copied at once.
    pub blobs: usize,
    /// How often an image is begun when a store wants to be left alone.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            images: 4,
            blobs: 4,
            attempts: 3,
        }
    }
}

/// One run of a job.
#[derive(Clone, Copy)]
struct Run<'a> {
    job: &'a Job,
    stores: &'a Stores,
    stop: &'a CancellationToken,
    tally: &'a Tally,
}

/// Runs jobs. All runs of one executor share its pool and its transfers.
#[derive(Debug)]
pub struct Executor {
    limits: Limits,
    slots: Semaphore,
    transfers: Transfers,
}

impl Executor {
    /// An executor with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: Semaphore::new(limits.images),
            transfers: Transfers::default(),
        }
    }

    /// Runs a job once: plans it, and does what the plan says.
    ///
    /// A tag that fails does not stop the others. When `stop` is cancelled,
    /// copies under way are finished and no other is begun.
    pub async fn run(&self, job: &Job, stores: &Stores, stop: &CancellationToken) -> RunReport {
        let tally = Tally::default();
        let run = Run {
            job,
            stores,
            stop,
            tally: &tally,
        };
        plan(job, &*stores.source, &*stores.target)
            .take_until(stop.cancelled())
            .for_each_concurrent(self.limits.images, |planned| self.take(planned, run))
            .await;
        tally.into_report(&job.name, stop.is_cancelled())
    }

    async fn take(&self, planned: Planned, run: Run<'_>) {
        let Run { stores, tally, .. } = run;
        let step = match planned {
            Ok(step) => step,
            Err(failure) => {
                return tally.tag(TagReport {
                    source: failure.subject,
                    target: String::new(),
                    outcome: failed(&failure.error),
                });
            }
        };
        let (digest, why) = match &step.decision {
            Decision::Copy { digest, why } => (digest, why),
            Decision::Unchanged { .. } => {
                tracing::debug!(tag = %step.from, "unchanged");
                return tally.count(|totals| totals.unchanged += 1);
            }
            Decision::Excluded(exclusion) => {
                tracing::debug!(tag = %step.from, %exclusion, "left out");
                return tally.count(|totals| totals.excluded += 1);
            }
        };
        let Some((digest, outcome)) = self.attempt(&step, digest, why, run).await else {
            return;
        };
        let written = step
            .to
            .clone()
            .map_or_else(|| digest.clone().into(), Into::into);
        tally.tag(TagReport {
            source: image_name(stores.source.name(), &step.source, &step.from),
            target: image_name(stores.target.name(), &step.target, &written),
            outcome,
        });
    }

    /// Copies an image when the stores want it and there is a place in the
    /// pool, and again if they only wanted to be left alone. `None` when told
    /// to stop before.
    async fn attempt(
        &self,
        step: &Step,
        planned: &Digest,
        why: &Why,
        run: Run<'_>,
    ) -> Option<(Digest, Outcome)> {
        let Run {
            job, stores, stop, ..
        } = run;
        let mut digest = planned.clone();
        let mut attempt = 1;
        loop {
            let admitted = admission::admitted(step, &job.policy, stores);
            digest = stop.run_until_cancelled(admitted).await?.unwrap_or(digest);
            let slot = self.slots.acquire().await.expect("slots are never closed");
            if stop.is_cancelled() {
                return None;
            }
            // Those who had their place before may have used up the pulls.
            if !admission::is_open(&job.policy, stores) {
                continue;
            }
            let copy = self.copy(step, &digest, why, run);
            let outcome = match AssertUnwindSafe(copy).catch_unwind().await {
                Ok(Ok(())) => Outcome::Copied {
                    digest: digest.clone(),
                    why: why.clone(),
                },
                Ok(Err(error)) => match admission::pause(
                    &error,
                    stores.source.allowance(),
                    stores.target.allowance(),
                    job.policy.rate_limit,
                ) {
                    Some(pause) if attempt < self.limits.attempts => {
                        drop(slot);
                        attempt += 1;
                        tracing::warn!(%error, wait_s = pause.as_secs(), "put back for later");
                        // What the stores tell of, admission waits for.
                        if admission::is_open(&job.policy, stores) {
                            stop.run_until_cancelled(sleep(pause)).await?;
                        }
                        continue;
                    }
                    _ => failed(&error),
                },
                Err(panic) => Outcome::Failed {
                    error: format!("a fault of regmirror's own: {}", panic_text(&*panic)),
                },
            };
            return Some((digest, outcome));
        }
    }

    async fn copy(
        &self,
        step: &Step,
        digest: &Digest,
        why: &Why,
        run: Run<'_>,
    ) -> Result<(), StoreError> {
        let Run {
            job, stores, tally, ..
        } = run;
        let source: End<'_, dyn Source> = End {
            store: &*stores.source,
            repo: &step.source,
        };
        let target: End<'_, dyn Sink> = End {
            store: &*stores.target,
            repo: &step.target,
        };
        let shared = Shared {
            limits: &self.limits,
            transfers: &self.transfers,
            tally,
        };
        let copier = Copier::new(source, target, job.policy.referrers, shared);
        let (manifest, turn) = copier.bring(digest).await?;
        if let Why::Referrers { .. } = why {
            return Ok(());
        }
        if let (Some(backup), Some(tag)) = (&job.policy.backup, &step.to) {
            // Looked at again: what is overwritten is what has to be kept.
            let current = target
                .store
                .resolve(target.repo, &tag.clone().into())
                .await?;
            if let Some(old) = current.filter(|current| current != digest) {
                // Keeping an image takes its turn. Two tags that change places
                // would each wait for the other's.
                drop(turn);
                backup::keep(&old, target.repo, backup, stores, shared).await?;
            }
        }
        copier.put(&manifest, step.to.as_ref()).await
    }
}

fn failed(error: &StoreError) -> Outcome {
    Outcome::Failed {
        error: error.one_line(),
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
