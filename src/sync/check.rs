//! Checking: what a run would do, and what that would take. It reads only.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::cost::{Look, Looked};
use super::job::{Job, Readers};
use super::plan::{Memory, plan};
use super::platforms::Manifests;
use super::report::{Outcome, RunReport, Tally};
use super::run_id::RunId;
use super::step::{Decision, Step};
use super::watch::Audience;
use crate::oci::Digest;

/// How many tags are looked into at once.
const AT_ONCE: usize = 16;

/// How many manifests and blobs are remembered to have been counted. Those
/// beyond count as often as they are met.
const REMEMBERED: usize = 1_000_000;

/// Looks what jobs would do. It reads only, and what several images need counts
/// once over all jobs.
#[derive(Debug, Default)]
pub struct Checker {
    audience: Audience,
    pub(super) spend_pulls: bool,
    manifests: Arc<Manifests>,
    counted: Mutex<HashSet<(String, Digest)>>,
}

impl Checker {
    /// A checker that tells `audience` what it finds. Where a source counts how
    /// often images are read, it looks into them only if it may `spend_pulls`.
    pub fn new(audience: Audience, spend_pulls: bool) -> Self {
        Self {
            audience,
            spend_pulls,
            ..Self::default()
        }
    }

    /// Looks what a run of `job` would do, until `stop`.
    pub async fn run(
        &self,
        id: RunId,
        job: &Job,
        stores: Readers<'_>,
        stop: &CancellationToken,
    ) -> RunReport {
        let tally = Tally::begin(&job.name, id, &self.audience);
        let memory = Memory::with(Arc::clone(&self.manifests), Arc::clone(tally.watch()));
        let take = async |step: Step| {
            let outcome = self.look(&step, job, stores, &memory).await;
            tally.tag(step.report(outcome, stores));
        };
        let planned = plan(job, stores, &memory);
        let complete = tally.follow(planned, &memory, stop, AT_ONCE, &take).await;
        tally.end(!complete)
    }

    async fn look(&self, step: &Step, job: &Job, stores: Readers<'_>, memory: &Memory) -> Outcome {
        let (choice, why) = match &step.decision {
            Decision::Copy { choice, why } => (choice, why.clone()),
            Decision::Unchanged { digest } => {
                return Outcome::Unchanged {
                    digest: digest.clone(),
                };
            }
            Decision::Excluded(exclusion) => return Outcome::Excluded(exclusion.clone()),
        };
        let look = Look {
            checker: self,
            job,
            stores,
            step,
            memory,
        };
        match look.cost(choice).await {
            Ok(Looked::Cost(cost)) => Outcome::Pending {
                digest: choice.to.clone(),
                why,
                cost,
            },
            Ok(Looked::Excluded(exclusion)) => Outcome::Excluded(exclusion),
            Err(error) => Outcome::failed(&error),
        }
    }

    /// Whether something of the target is met for the first time.
    pub(super) fn is_new(&self, target: &str, digest: &Digest) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.len() < REMEMBERED {
            true => counted.insert((target.to_owned(), digest.clone())),
            false => !counted.contains(&(target.to_owned(), digest.clone())),
        }
    }
}
