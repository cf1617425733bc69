//! The pool that the images of all jobs are copied in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Places for images that are copied. Those who wait get theirs in the order in
/// which they came.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Semaphore,
    size: Mutex<Size>,
    busy: AtomicUsize,
    waiting: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    places: usize,
    /// How many are taken that are not to be given to anybody after.
    surplus: usize,
}

/// How a pool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// How many images may be copied at once.
    pub places: usize,
    /// How many are being copied.
    pub busy: usize,
    /// How many wait for a place.
    pub waiting: usize,
}

/// A place in the pool, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pool: &'a Pool,
    slot: Option<SemaphorePermit<'a>>,
    /// How long it was waited for.
    pub(super) waited: Duration,
}

impl Pool {
    pub(super) fn new(places: usize) -> Self {
        let surplus = 0;
        Self {
            slots: Semaphore::new(places),
            size: Mutex::new(Size { places, surplus }),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        PoolStatus {
            places: self.lock().places,
            busy: self.busy.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Gives the pool so many places. Who has one keeps it.
    pub(super) fn resize(&self, places: usize) {
        let mut size = self.lock();
        if places >= size.places {
            let more = places - size.places;
            let kept = more.min(size.surplus);
            size.surplus -= kept;
            self.slots.add_permits(more - kept);
        } else {
            let fewer = size.places - places;
            size.surplus += fewer - self.slots.forget_permits(fewer);
        }
        size.places = places;
    }

    pub(super) async fn place(&self) -> Place<'_> {
        let began = Instant::now();
        let waiting = Counted::one(&self.waiting);
        let slot = self.slots.acquire().await;
        drop(waiting);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Place {
            pool: self,
            slot: Some(slot.expect("slots are never closed")),
            waited: began.elapsed(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.busy.fetch_sub(1, Ordering::Relaxed);
        let mut size = self.pool.lock();
        if size.surplus > 0
            && let Some(slot) = self.slot.take()
        {
            size.surplus -= 1;
            slot.forget();
        }
    }
}

/// Counts while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn one(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_are_more_places_taken_than_there_are_and_none_is_lost(
            steps in proptest::collection::vec((0..3u8, 1..6usize), 1..60)
        ) {
            let pool = Pool::new(2);
            let (mut places, mut taken) = (2, Vec::new());
            for (step, number) in steps {
                match step {
                    0 => {
                        pool.resize(number);
                        places = number;
                    }
                    1 => {
                        let place = pool.place().now_or_never();
                        prop_assert_eq!(place.is_some(), taken.len() < places);
                        taken.extend(place);
                    }
                    _ => drop(taken.pop()),
                }
                let busy = taken.len();
                prop_assert_eq!(pool.status(), PoolStatus { places, busy, waiting: 0 });
            }
            taken.clear();
            prop_assert_eq!(pool.slots.available_permits(), places);
        }
    }

    #[test]
    fn who_waits_is_counted() {
        let pool = Pool::new(1);
        let held = pool.place().now_or_never();
        let mut second = Box::pin(pool.place());
        assert!((&mut second).now_or_never().is_none());
        let status = |waiting| PoolStatus {
            places: 1,
            busy: 1,
            waiting,
        };
        assert_eq!(pool.status(), status(1));
        drop(second);
        assert_eq!(pool.status(), status(0));
        drop(held);
        assert_eq!(pool.status().busy, 0);
    }
}
