//! Blob transfers: each blob goes to a store once, however many want it.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use tokio::sync::{Mutex as Lane, OwnedMutexGuard};

use super::executor::Limits;
use super::report::Tally;
use super::step::repository_name;
use super::watch::{Event, Transfer, Watch};
use crate::oci::{Descriptor, Digest, Repository};
use crate::store::{Blob, Sink, Source, StoreError};

/// How many lanes are remembered before idle ones are dropped. A dropped lane
/// costs one HEAD when its blob is met again.
const REMEMBERED: usize = 100_000;

/// How many repositories are remembered to have one blob. A forgotten one costs
/// a mount or a HEAD when it is met again.
const HOLDERS: usize = 256;

/// How a blob came to be at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// An earlier delivery of this process brought it to the repository.
    Shared,
    /// The target took it over from another of its repositories.
    Mounted,
    /// The target had it.
    Present,
    /// It was sent.
    Copied,
}

/// A blob in the store it goes to.
type Key = (String, Digest);

/// The transfers under way and those known to be done, over all jobs.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// For each blob and target store: the repositories known to have it.
    blobs: Lanes<Key, BTreeSet<Repository>>,
    /// For each manifest and target repository: held by who works on it.
    manifests: Lanes<(Turn, String, Repository, Digest), ()>,
}

/// What is done to a manifest by one at a time. Who has one turn may ask for
/// those below it in this list. Of the same kind it may ask for those of what
/// refers to the manifest (and names it as its subject), or of its children:
/// digests cannot form a circle, so nobody waits in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    /// Copying it as an image of its own: several tags may name it.
    Image,
    /// Copying what refers to it.
    Referrers,
    /// Copying it as a part of an image.
    Part,
}

/// One end of a copy.
#[derive(Debug)]
pub(super) struct End<'a, S: ?Sized> {
    pub(super) store: &'a S,
    pub(super) repo: &'a Repository,
}

// Derived, these would ask for a store that can be cloned.
impl<S: ?Sized> Clone for End<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized> Copy for End<'_, S> {}

/// What all copies of a run share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) limits: &'a Limits,
    pub(super) transfers: &'a Transfers,
    pub(super) tally: &'a Tally,
}

impl Transfers {
    /// Makes sure that the target's repository has `blob`. Returns whether it
    /// had to do anything for it.
    ///
    /// Whoever wants the same blob in the same store waits until this is done
    /// and then mounts it or finds it; if this fails, the next one tries.
    pub(super) async fn deliver(
        &self,
        source: End<'_, dyn Source>,
        target: End<'_, dyn Sink>,
        blob: &Descriptor,
        tally: &Tally,
    ) -> Result<bool, StoreError> {
        let key = (target.store.name().to_owned(), blob.digest.clone());
        let mut holders = self.blobs.enter(key).await;
        let brought = if holders.contains(target.repo) {
            Ok(Delivery::Shared)
        } else {
            let elsewhere = holders.first().cloned();
            self.bring(source, target, blob, elsewhere, tally.watch())
                .await
        };
        tally.watch().see(Event::Blob {
            store: target.store.name(),
            delivery: brought.as_ref().ok().copied(),
        });
        let delivery = brought?;
        if holders.len() >= HOLDERS && !holders.contains(target.repo) {
            // Repositories are listed in this order, so it is likely done with.
            holders.pop_first();
        }
        holders.insert(target.repo.clone());
        tally.count(|totals| {
            match delivery {
                Delivery::Shared => totals.blobs_shared += 1,
                Delivery::Mounted => totals.blobs_mounted += 1,
                Delivery::Present => totals.blobs_present += 1,
                Delivery::Copied => totals.blobs_copied += 1,
            }
            match delivery {
                Delivery::Copied => totals.bytes_sent += blob.size,
                _ => totals.bytes_saved += blob.size,
            }
        });
        Ok(matches!(delivery, Delivery::Copied | Delivery::Mounted))
    }

    async fn bring(
        &self,
        source: End<'_, dyn Source>,
        target: End<'_, dyn Sink>,
        blob: &Descriptor,
        elsewhere: Option<Repository>,
        watch: &Arc<dyn Watch>,
    ) -> Result<Delivery, StoreError> {
        let End { store, repo } = target;
        if let Some(from) = elsewhere
            && store.mount_blob(repo, blob, &from).await?
        {
            return Ok(Delivery::Mounted);
        }
        if store.has_blob(repo, blob).await? {
            return Ok(Delivery::Present);
        }
        if source.store.name() == store.name() && store.mount_blob(repo, blob, source.repo).await? {
            return Ok(Delivery::Mounted);
        }
        // What can be repeated of it, the stores repeat.
        let content = match blob.embedded() {
            Ok(Some(bytes)) => {
                let body = futures::stream::iter([Ok(bytes.clone())]).boxed();
                Blob::verified(blob, "its descriptor's data", body).with_content(bytes)
            }
            _ => source.store.blob(source.repo, blob).await?,
        };
        let transfer = Transfer::begin(watch, blob, &repository_name(store.name(), repo));
        store.put_blob(repo, transfer.counted(content)).await?;
        Ok(Delivery::Copied)
    }

    /// Forgets what is known of a blob: the target says that it is not there.
    pub(super) async fn forget(&self, target: End<'_, dyn Sink>, blob: &Digest) {
        let key = (target.store.name().to_owned(), blob.clone());
        self.blobs.enter(key).await.remove(target.repo);
    }

    /// Waits for whoever does the same to the same manifest in the same
    /// repository: what they began is done then, and is found at the target.
    pub(super) async fn enter(
        &self,
        turn: Turn,
        target: End<'_, dyn Sink>,
        digest: &Digest,
    ) -> OwnedMutexGuard<()> {
        let store = target.store.name().to_owned();
        let key = (turn, store, target.repo.clone(), digest.clone());
        self.manifests.enter(key).await
    }
}

/// Locks by key, each with what is known under it.
#[derive(Debug)]
struct Lanes<K, V>(Mutex<HashMap<K, Arc<Lane<V>>>>);

impl<K, V> Default for Lanes<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Default> Lanes<K, V> {
    async fn enter(&self, key: K) -> OwnedMutexGuard<V> {
        let lane = {
            let mut lanes = self
                .0
                .lock()
                .expect("nothing panics while it holds the lock");
            if lanes.len() >= REMEMBERED {
                lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
            }
            Arc::clone(lanes.entry(key).or_default())
        };
        lane.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;
    use crate::store::{Blob, MemoryStore};
    use crate::sync::{Audience, RunId};

    #[tokio::test]
    async fn j14_only_so_many_lanes_are_remembered() {
        let lanes: Lanes<usize, usize> = Lanes::default();
        let held = lanes.enter(0).await;
        for key in 1..2 * REMEMBERED + 10 {
            *lanes.enter(key).await = key;
        }
        let known = lanes.0.lock().unwrap();
        assert!(known.len() <= REMEMBERED, "{}", known.len());
        assert!(known.contains_key(&0), "somebody is in it");
        drop((known, held));
    }

    #[tokio::test]
    async fn j14_only_so_many_repositories_are_remembered_to_have_a_blob() {
        let (source, target) = (MemoryStore::new("source"), MemoryStore::new("target"));
        let base = Blob::from_bytes(MediaType::OCTET_STREAM, "base");
        let descriptor = base.descriptor().clone();
        let from = "a".parse().unwrap();
        source.put_blob(&from, base).await.unwrap();
        let transfers = Transfers::default();
        let tally = Tally::begin("job", RunId::new(), &Audience::default());
        for number in 0..2 * HOLDERS {
            let repo: Repository = format!("r{number:04}").parse().unwrap();
            let source = End {
                store: &source as &dyn Source,
                repo: &from,
            };
            let target = End {
                store: &target as &dyn Sink,
                repo: &repo,
            };
            for _ in 0..2 {
                let delivered = transfers.deliver(source, target, &descriptor, &tally);
                delivered.await.unwrap();
            }
            assert!(target.store.has_blob(&repo, &descriptor).await.unwrap());
        }
        let key = ("target".to_owned(), descriptor.digest.clone());
        assert_eq!(transfers.blobs.enter(key).await.len(), HOLDERS);
        let totals = tally.end(false).totals;
        let shared = totals.blobs_shared;
        assert_eq!(shared, 2 * HOLDERS as u64, "the one at hand is remembered");
    }
}
