//! What a run did.

use std::sync::{Mutex, MutexGuard};

use super::step::Why;
use crate::oci::Digest;

/// What one run of a job did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// The job's name.
    pub job: String,
    /// The counts.
    pub totals: Totals,
    /// The tags that were copied or failed. Unchanged and excluded ones are
    /// only counted: there may be very many.
    pub tags: Vec<TagReport>,
    /// Whether the run was told to stop before it had seen every tag.
    pub interrupted: bool,
}

/// Counts over one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Tags that were copied.
    pub copied: u64,
    /// Tags that were the same on both sides.
    pub unchanged: u64,
    /// Tags that a rule left out.
    pub excluded: u64,
    /// Tags and listings that failed.
    pub failed: u64,
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
}

impl Totals {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        let Self {
            copied,
            unchanged,
            excluded,
            failed,
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
        } = other;
        self.copied += copied;
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

/// One tag that was copied or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagReport {
    /// The image at the source, as people write it.
    pub source: String,
    /// The image at the target; empty when a listing failed.
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
    /// It failed; the target's tag is as it was.
    Failed {
        /// What was tried, on what, why it failed and what to do: one line.
        error: String,
    },
}

/// What a run has done so far.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    totals: Totals,
    tags: Vec<TagReport>,
}

impl Tally {
    /// The counts now.
    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.lock().totals);
    }

    pub(super) fn tag(&self, report: TagReport) {
        let mut progress = self.lock();
        match report.outcome {
            Outcome::Copied { .. } => progress.totals.copied += 1,
            Outcome::Failed { .. } => progress.totals.failed += 1,
        }
        progress.tags.push(report);
    }

    pub(super) fn into_report(self, job: &str, interrupted: bool) -> RunReport {
        let Progress { totals, mut tags } = std::mem::take(&mut *self.lock());
        tags.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
        RunReport {
            job: job.to_owned(),
            totals,
            tags,
            interrupted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
