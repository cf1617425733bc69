//! What was read of a registry, kept for a while: manifests, which their digest
//! names, and lists of referrers, which may age.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::oci::{Descriptor, Digest, Manifest, Repository};

/// How many bytes of manifests are kept, whatever the limits say.
const BYTES: usize = 64 << 20;

/// How much is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheLimits {
    /// How many manifests, and how many lists; nothing is kept if it is 0.
    pub count: usize,
    /// How long each.
    pub time: Duration,
}

/// What was read lately.
#[derive(Debug, Default)]
pub(super) struct Cache {
    limits: CacheLimits,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    manifests: Recent<Manifest>,
    referrers: Recent<Vec<Descriptor>>,
}

type Key = (Repository, Digest);

/// Values in the order in which they came.
#[derive(Debug)]
struct Recent<T> {
    values: HashMap<Key, (Instant, T)>,
    order: VecDeque<(Instant, Key)>,
    bytes: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            kept: Mutex::default(),
        }
    }

    fn is_off(&self) -> bool {
        self.limits.count == 0 || self.limits.time.is_zero()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn manifest(&self, repo: &Repository, digest: &Digest) -> Option<Manifest> {
        let key = (repo.clone(), digest.clone());
        self.lock().manifests.get(&key, self.limits.time)
    }

    pub(super) fn keep_manifest(&self, repo: &Repository, manifest: &Manifest) {
        if !self.is_off() {
            let key = (repo.clone(), manifest.digest().clone());
            let size = |manifest: &Manifest| manifest.bytes().len();
            self.lock()
                .manifests
                .keep(key, manifest.clone(), self.limits.count, size);
        }
    }

    pub(super) fn referrers(&self, repo: &Repository, subject: &Digest) -> Option<Vec<Descriptor>> {
        let key = (repo.clone(), subject.clone());
        self.lock().referrers.get(&key, self.limits.time)
    }

    pub(super) fn keep_referrers(&self, repo: &Repository, subject: &Digest, list: &[Descriptor]) {
        if !self.is_off() {
            let key = (repo.clone(), subject.clone());
            let size = |list: &Vec<Descriptor>| list.len() * 512;
            self.lock()
                .referrers
                .keep(key, list.to_vec(), self.limits.count, size);
        }
    }

    /// Forgets what is known of a repository that is written to.
    pub(super) fn forget(&self, repo: &Repository) {
        if !self.is_off() {
            let mut kept = self.lock();
            kept.manifests.values.retain(|(known, _), _| known != repo);
            kept.referrers.values.retain(|(known, _), _| known != repo);
        }
    }
}

impl<T: Clone> Recent<T> {
    fn get(&self, key: &Key, time: Duration) -> Option<T> {
        let (when, value) = self.values.get(key)?;
        (when.elapsed() < time).then(|| value.clone())
    }

    fn keep(&mut self, key: Key, value: T, count: usize, size: impl Fn(&T) -> usize) {
        let now = Instant::now();
        self.bytes += size(&value);
        self.order.push_back((now, key.clone()));
        if let Some((_, old)) = self.values.insert(key, (now, value)) {
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
        while self.values.len() > count || self.bytes > BYTES || self.order.len() > 2 * count + 16 {
            let Some((when, oldest)) = self.order.pop_front() else {
                self.bytes = 0;
                break;
            };
            // It may have come anew since.
            if self
                .values
                .get(&oldest)
                .is_some_and(|(known, _)| *known == when)
                && let Some((_, gone)) = self.values.remove(&oldest)
            {
                self.bytes = self.bytes.saturating_sub(size(&gone));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_much_is_kept_so_long_and_nothing_that_was_written_to() {
        let repo: Repository = "a".parse().unwrap();
        let limits = CacheLimits {
            count: 2,
            time: Duration::from_secs(60),
        };
        let (cache, off) = (Cache::new(limits), Cache::default());
        let subject = |number: u8| Digest::sha256(&[number]);
        for number in 0..5 {
            cache.keep_referrers(&repo, &subject(number), &[]);
            off.keep_referrers(&repo, &subject(number), &[]);
        }
        let known = |cache: &Cache| -> Vec<u8> {
            (0..5)
                .filter(|number| cache.referrers(&repo, &subject(*number)).is_some())
                .collect()
        };
        assert_eq!((known(&cache), known(&off)), (vec![3, 4], vec![]));
        tokio::time::advance(Duration::from_secs(59)).await;
        cache.keep_referrers(&repo, &subject(1), &[]);
        assert_eq!(known(&cache), [1, 4]);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(known(&cache), [1]);
        cache.forget(&"b".parse().unwrap());
        assert_eq!(known(&cache), [1]);
        cache.forget(&repo);
        assert_eq!(known(&cache), Vec::<u8>::new());
        for number in 0..100 {
            cache.keep_referrers(&repo, &subject(number % 2), &[]);
        }
        assert!(cache.lock().referrers.order.len() < 30);
    }
}
