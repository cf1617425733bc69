//! What a run did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use futures::stream::{self, BoxStream, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cost::Cost;
use super::plan::{Memory, Planned};
use super::run_id::RunId;
use super::step::{Exclusion, Step, Why};
use super::watch::{Audience, Event, Kept, Watch};
use crate::oci::Digest;
use crate::store::{ErrorKind, StoreError};

/// What one run of a job did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// The job's name.
    pub job: String,
    /// Which run of it.
    pub id: RunId,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The counts.
    pub totals: Totals,
    /// Tags by the names of their sources: as many as were to be kept.
    pub tags: Vec<TagReport>,
    /// Whether the run was told to stop before it had seen every tag.
    pub interrupted: bool,
}

/// Counts over one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Tags that were copied.
    pub copied: u64,
    /// Tags that would be copied: the run only looked, or was told to stop.
    pub pending: u64,
    /// Tags that were the same on both sides.
    pub unchanged: u64,
    /// Tags that a rule left out.
    pub excluded: u64,
    /// Tags and listings that failed.
    pub failed: u64,
    /// Of these, those that failed because a registry allows no more for now.
    pub limited: u64,
    /// Images that were kept before their tag was moved.
    pub backups: u64,
    /// Manifests that were sent, referrers included.
    pub manifests: u64,
    /// Manifests that refer to an image and were sent.
    pub referrers: u64,
    /// Blobs that were sent.
    pub blobs_copied: u64,
    /// Blobs that the target took over from another of its repositories.
    pub blobs_mounted: u64,
    /// Blobs that the target had.
    pub blobs_present: u64,
    /// Blobs that another image of this process had just brought.
    pub blobs_shared: u64,
    /// Blobs that may not be passed on, and were not.
    pub blobs_withheld: u64,
    /// Bytes of blobs that were sent.
    pub bytes_sent: u64,
    /// Bytes of blobs that were needed and did not have to be sent.
    pub bytes_saved: u64,
    /// What it would take to copy the pending tags, if that was looked for.
    pub cost: Cost,
}

impl Totals {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        let Self {
            copied,
            pending,
            unchanged,
            excluded,
            failed,
            limited,
            backups,
            manifests,
            referrers,
            blobs_copied,
            blobs_mounted,
            blobs_present,
            blobs_shared,
            blobs_withheld,
            bytes_sent,
            bytes_saved,
            cost,
        } = other;
        self.copied += copied;
        self.pending += pending;
        self.limited += limited;
        self.cost.add(cost);
        self.unchanged += unchanged;
        self.excluded += excluded;
        self.failed += failed;
        self.backups += backups;
        self.manifests += manifests;
        self.referrers += referrers;
        self.blobs_copied += blobs_copied;
        self.blobs_mounted += blobs_mounted;
        self.blobs_present += blobs_present;
        self.blobs_shared += blobs_shared;
        self.blobs_withheld += blobs_withheld;
        self.bytes_sent += bytes_sent;
        self.bytes_saved += bytes_saved;
    }
}

/// What became of one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagReport {
    /// The image at the source, as people write it. The repository, if a rule
    /// leaves out all of it.
    pub source: String,
    /// The image at the target; empty when a listing failed, and for a repository
    /// that is left out.
    pub target: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it now.
    Copied {
        /// The manifest's digest.
        digest: Digest,
        /// Why it was copied.
        why: Why,
    },
    /// It would be copied: the run only looked, or was told to stop.
    Pending {
        /// The manifest's digest.
        digest: Digest,
        /// Why it would be copied.
        why: Why,
        /// What that would take.
        cost: Cost,
    },
    /// The target had it.
    Unchanged {
        /// The manifest's digest.
        digest: Digest,
    },
    /// A rule leaves it out.
    Excluded(Exclusion),
    /// It failed; the target's tag is as it was.
    Failed {
        /// What was tried, on what, why it failed and what to do: one line.
        error: String,
        /// The class of the failure; `None` for a fault of our own.
        kind: Option<ErrorKind>,
    },
}

impl Outcome {
    /// What failed.
    pub fn failed(error: &StoreError) -> Self {
        Self::Failed {
            error: error.one_line(),
            kind: Some(error.kind()),
        }
    }

    /// A fault of our own.
    pub fn fault(said: &str) -> Self {
        Self::Failed {
            error: format!("a fault of regmirror's own: {said}; please report it"),
            kind: None,
        }
    }
}

/// What a run has done so far.
#[derive(Debug)]
pub struct Tally {
    job: String,
    id: RunId,
    started: (SystemTime, Instant),
    audience: Audience,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    totals: Totals,
    changed: Vec<TagReport>,
    failed: Vec<TagReport>,
    others: Vec<TagReport>,
}

impl Tally {
    /// Tells `audience` that the run `id` of the job `name` begins.
    pub fn begin(name: &str, id: RunId, audience: &Audience) -> Self {
        audience.watch.see(Event::Started {
            job: name,
            run: &id,
        });
        Self {
            job: name.to_owned(),
            id,
            started: (SystemTime::now(), Instant::now()),
            audience: audience.clone(),
            progress: Mutex::default(),
        }
    }

    /// The counts now.
    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    pub(super) fn watch(&self) -> &Arc<dyn Watch> {
        &self.audience.watch
    }

    /// Has each step of a plan `taken`, so many at once, and tells of what is no
    /// step. Returns whether it came to the plan's end before `stop`.
    pub(super) async fn follow<F: Future<Output = ()>>(
        &self,
        plan: BoxStream<'_, Planned>,
        memory: &Memory,
        stop: &CancellationToken,
        at_once: usize,
        take: impl Fn(Step) -> F,
    ) -> bool {
        let complete = AtomicBool::new(false);
        let (take, complete_ref) = (&take, &complete);
        plan.map(Some)
            .chain(stream::iter([None]))
            .take_until(stop.cancelled())
            .for_each_concurrent(at_once, |planned| async move {
                self.listed(memory.newly_listed());
                match planned {
                    None => complete_ref.store(true, Ordering::Relaxed),
                    Some(Planned::Step(step)) => take(step).await,
                    Some(Planned::Failed(failure)) => self.tag(TagReport {
                        source: failure.subject,
                        target: String::new(),
                        outcome: Outcome::failed(&failure.error),
                    }),
                    Some(Planned::LeftOut {
                        repository,
                        exclusion,
                    }) => self.tell(TagReport {
                        source: repository,
                        target: String::new(),
                        outcome: Outcome::Excluded(exclusion),
                    }),
                }
            })
            .await;
        complete.into_inner()
    }

    fn listed(&self, count: u64) {
        if count > 0 {
            let (job, run) = (&self.job, &self.id);
            self.audience.watch.see(Event::Listed { job, run, count });
        }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.lock().totals);
    }

    /// Counts an image that was to be kept, and tells whether it was.
    pub(super) fn backup(&self, kept: bool) {
        self.count(|totals| totals.backups += u64::from(kept));
        let job = &self.job;
        self.audience.watch.see(Event::Backup { job, kept });
    }

    /// Counts a tag, and tells of it.
    pub fn tag(&self, report: TagReport) {
        self.count(|totals| match &report.outcome {
            Outcome::Copied { .. } => totals.copied += 1,
            Outcome::Pending { cost, .. } => {
                totals.pending += 1;
                totals.cost.add(cost);
            }
            Outcome::Unchanged { .. } => totals.unchanged += 1,
            Outcome::Excluded(_) => totals.excluded += 1,
            Outcome::Failed { kind, .. } => {
                totals.failed += 1;
                let limited = matches!(kind, Some(ErrorKind::RateLimited(_)));
                totals.limited += u64::from(limited);
            }
        });
        self.tell(report);
    }

    /// Tells of a tag, or of a repository that is none and does not count.
    pub(super) fn tell(&self, report: TagReport) {
        let (job, run, tag) = (&self.job, &self.id, &report);
        self.audience.watch.see(Event::Tag { job, run, tag });
        let Kept {
            changed,
            failed,
            others,
        } = self.audience.kept;
        let mut progress = self.lock();
        let (list, most) = match report.outcome {
            Outcome::Copied { .. } | Outcome::Pending { .. } => (&mut progress.changed, changed),
            Outcome::Failed { .. } => (&mut progress.failed, failed),
            Outcome::Unchanged { .. } | Outcome::Excluded(_) => (&mut progress.others, others),
        };
        if list.len() < most {
            list.push(report);
        }
    }

    /// What the run did. Tells that it has ended.
    pub fn end(self, interrupted: bool) -> RunReport {
        let progress = std::mem::take(&mut *self.lock());
        let mut tags = progress.changed;
        tags.extend(progress.failed);
        tags.extend(progress.others);
        tags.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
        let report = RunReport {
            started: self.started.0,
            took: self.started.1.elapsed(),
            totals: progress.totals,
            tags,
            interrupted,
            job: self.job,
            id: self.id,
        };
        self.audience.watch.see(Event::Ended { report: &report });
        report
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
