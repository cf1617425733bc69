//! Who is told what happens while jobs run.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::report::{RunReport, TagReport};
use super::run_id::RunId;
use super::transfer::Delivery;
use crate::oci::Descriptor;
use crate::store::Blob;

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A job began.
    Started {
        /// Its name.
        job: &'a str,
        /// Which run of it.
        run: &'a RunId,
    },
    /// So many tags of a job are known to be there, besides those told before.
    Listed {
        /// The job's name.
        job: &'a str,
        /// Which run of it.
        run: &'a RunId,
        /// How many.
        count: u64,
    },
    /// It is known what becomes of a tag.
    Tag {
        /// The job's name.
        job: &'a str,
        /// Which run of it.
        run: &'a RunId,
        /// What became of it.
        tag: &'a TagReport,
    },
    /// An image waits, without a place in the pool, for a store to bear more.
    Held {
        /// The job's name.
        job: &'a str,
        /// The store that it waits for.
        store: &'a str,
        /// For how long at most, before it asks again.
        wait: Duration,
    },
    /// It does not wait any more.
    Released {
        /// The job's name.
        job: &'a str,
        /// The store that it waited for.
        store: &'a str,
        /// How long.
        waited: Duration,
    },
    /// An image has a place in the pool, after such a time.
    Placed(Duration),
    /// An image that is to be overwritten was kept, or could not be.
    Backup {
        /// The job's name.
        job: &'a str,
        /// Whether it was kept.
        kept: bool,
    },
    /// It is known how a blob came to be at a target.
    Blob {
        /// The target.
        store: &'a str,
        /// `None` when it did not.
        delivery: Option<Delivery>,
    },
    /// A blob is about to be sent.
    Sending {
        /// Names the transfer, in this process.
        transfer: u64,
        /// The blob.
        blob: &'a Descriptor,
        /// Where it goes: the repository as people write it.
        target: &'a str,
    },
    /// So many more bytes of it have been read.
    Sent {
        /// Which transfer.
        transfer: u64,
        /// How many.
        bytes: u64,
    },
    /// It is done, or has failed.
    Over {
        /// Which transfer.
        transfer: u64,
    },
    /// A job ended.
    Ended {
        /// What it did.
        report: &'a RunReport,
    },
}

/// Is told of events while they happen, by many tasks at once. It must not take
/// long.
pub trait Watch: Debug + Send + Sync {
    /// Takes note of an event.
    fn see(&self, event: Event<'_>);
}

/// Several, each told in turn; none, by default.
impl Watch for Vec<Arc<dyn Watch>> {
    fn see(&self, event: Event<'_>) {
        for watch in self {
            watch.see(event);
        }
    }
}

/// How many tags a report lists at most, by what became of them. Its counts are
/// those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Of those that were copied, or would be.
    pub changed: usize,
    /// Of those that failed.
    pub failed: usize,
    /// Of those that are as they should be, or that a rule left out.
    pub others: usize,
}

impl Kept {
    /// All that changed or failed.
    pub const CHANGES: Self = Self {
        changed: usize::MAX,
        failed: usize::MAX,
        others: 0,
    };
    /// All.
    pub const ALL: Self = Self {
        others: usize::MAX,
        ..Self::CHANGES
    };
}

/// Who is told what jobs do, and how much of it their reports list.
#[derive(Debug, Clone)]
pub struct Audience {
    /// Is told of it while it happens.
    pub watch: Arc<dyn Watch>,
    /// What reports list.
    pub kept: Kept,
}

impl Default for Audience {
    /// Nobody, and reports that list what changed or failed.
    fn default() -> Self {
        Self {
            watch: Arc::new(Vec::new()),
            kept: Kept::CHANGES,
        }
    }
}

/// A transfer that is told of, to its end.
pub(super) struct Transfer {
    number: u64,
    watch: Arc<dyn Watch>,
}

impl Transfer {
    /// Tells that `blob` is about to be sent to `target`.
    pub(super) fn begin(watch: &Arc<dyn Watch>, blob: &Descriptor, target: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        watch.see(Event::Sending {
            transfer: number,
            blob,
            target,
        });
        Self {
            number,
            watch: Arc::clone(watch),
        }
    }

    /// `blob`, which tells how much of it has been read.
    pub(super) fn counted(&self, blob: Blob) -> Blob {
        let (transfer, watch) = (self.number, Arc::clone(&self.watch));
        blob.counted(move |bytes| watch.see(Event::Sent { transfer, bytes }))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let transfer = self.number;
        self.watch.see(Event::Over { transfer });
    }
}

/// An image that waits for a store, until it is dropped.
pub(super) struct Held<'a> {
    watch: &'a dyn Watch,
    job: &'a str,
    store: &'a str,
    since: Instant,
}

impl<'a> Held<'a> {
    pub(super) fn begin(
        watch: &'a dyn Watch,
        job: &'a str,
        store: &'a str,
        wait: Duration,
    ) -> Self {
        watch.see(Event::Held { job, store, wait });
        Self {
            watch,
            job,
            store,
            since: Instant::now(),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Self {
            watch, job, store, ..
        } = *self;
        let waited = self.since.elapsed();
        watch.see(Event::Released { job, store, waited });
    }
}
