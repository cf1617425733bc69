//! Copying one image: everything it points at first, itself last.

use std::collections::HashSet;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OwnedMutexGuard;

use super::step::image_name;
use super::transfer::{End, Shared, Turn};
use crate::oci::{Descriptor, Digest, Manifest, Tag};
use crate::store::{ErrorKind, Sink, Source, StoreError};

/// How deep indexes may nest.
const MAX_DEPTH: usize = 8;

/// How many manifests one image may have, referrers included.
const MAX_MANIFESTS: usize = 10_000;

/// How many manifests of one image are worked on at once.
const MANIFESTS_AT_ONCE: usize = 4;

type Work<'a> = BoxFuture<'a, Result<(), StoreError>>;

/// Copies one image from one repository to another.
pub(super) struct Copier<'a> {
    source: End<'a, dyn Source>,
    target: End<'a, dyn Sink>,
    referrers: bool,
    shared: Shared<'a>,
    visited: Mutex<HashSet<Digest>>,
}

/// A manifest on its way, and whether the target has it under its digest. A
/// target that has a manifest has what it points at: that goes first.
struct Fetched {
    manifest: Manifest,
    present: bool,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        source: End<'a, dyn Source>,
        target: End<'a, dyn Sink>,
        referrers: bool,
        shared: Shared<'a>,
    ) -> Self {
        Self {
            source,
            target,
            referrers,
            shared,
            visited: Mutex::default(),
        }
    }

    /// Brings everything that the image needs, and what refers to it, and
    /// returns its manifest, which is all that is left to put. Whoever wants
    /// the same image waits as long as the guard is held.
    pub(super) async fn bring(
        &self,
        digest: &Digest,
    ) -> Result<(Manifest, OwnedMutexGuard<()>), StoreError> {
        let turn = self.enter(Turn::Image, digest).await;
        self.visit(digest)?;
        let fetched = self.fetch(digest).await?;
        self.bring_below(&fetched, 0).await?;
        if self.referrers {
            self.bring_referrers().await?;
        }
        Ok((fetched.manifest, turn))
    }

    /// Puts a manifest whose content the target has.
    pub(super) async fn put(
        &self,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let End { store, repo } = self.target;
        match store.put_manifest(repo, manifest, tag).await {
            // The target's garbage collection may have taken a blob since it
            // was seen there.
            Err(error) if error.kind() == ErrorKind::MissingContent => {
                tracing::warn!(%error, "the target lost content; it is sent again");
                for blob in manifest.blobs() {
                    self.shared
                        .transfers
                        .forget(self.target, &blob.digest)
                        .await;
                }
                self.bring_blobs(manifest).await?;
                store.put_manifest(repo, manifest, tag).await?;
            }
            result => result?,
        }
        self.shared.tally.count(|totals| totals.manifests += 1);
        Ok(())
    }

    /// Reads a manifest from the target if it has it, which no registry counts
    /// as a pull of the source, else from the source.
    async fn fetch(&self, digest: &Digest) -> Result<Fetched, StoreError> {
        let End { store, repo } = self.target;
        let reference = digest.clone().into();
        let present = store.resolve(repo, &reference).await?.is_some();
        let manifest = match present {
            true => store.manifest(repo, digest).await?,
            false => self.source.store.manifest(self.source.repo, digest).await?,
        };
        Ok(Fetched { manifest, present })
    }

    async fn bring_below(&self, fetched: &Fetched, depth: usize) -> Result<(), StoreError> {
        let Fetched { manifest, present } = fetched;
        if !present {
            self.bring_blobs(manifest).await?;
        }
        if *present && !self.referrers {
            return Ok(());
        }
        if depth == MAX_DEPTH && !manifest.children().is_empty() {
            let reason = format!("indexes nest deeper than {MAX_DEPTH}");
            return Err(self.refused(manifest.digest(), reason));
        }
        let children = manifest.children().iter();
        let work = children.map(|child| self.bring_child(child, depth + 1));
        all(work.collect(), MANIFESTS_AT_ONCE).await
    }

    async fn bring_blobs(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let work = manifest.blobs().map(|blob| self.bring_blob(blob).boxed());
        all(work.collect(), self.shared.limits.blobs).await
    }

    async fn bring_blob(&self, blob: &Descriptor) -> Result<(), StoreError> {
        if blob.media_type.is_nondistributable() {
            self.shared.tally.count(|totals| totals.blobs_withheld += 1);
            return Ok(());
        }
        let attempts = self.shared.limits.attempts;
        self.shared
            .transfers
            .deliver(self.source, self.target, blob, attempts, self.shared.tally)
            .await
    }

    fn bring_child<'s>(&'s self, child: &'s Descriptor, depth: usize) -> Work<'s> {
        Box::pin(async move {
            if child.media_type.is_schema1() {
                let subject = self.name(&child.digest);
                return Err(StoreError::new(ErrorKind::Schema1, "copy", subject));
            }
            let _turn = self.enter(Turn::Part, &child.digest).await;
            if !self.visit(&child.digest)? {
                return Ok(());
            }
            let known = child.media_type.is_manifest();
            let fetched = match self.fetch(&child.digest).await {
                // An index may list anything. What is no manifest is a blob.
                Err(error)
                    if !known
                        && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Malformed) =>
                {
                    return self.bring_blob(child).await;
                }
                fetched => fetched?,
            };
            if fetched.manifest.size() != child.size {
                let (seen, said) = (fetched.manifest.size(), child.size);
                let subject = self.name(&child.digest);
                let reason = format!("{seen} bytes long, while its index says {said}");
                return Err(StoreError::new(ErrorKind::Corrupt, "copy", subject).because(reason));
            }
            self.bring_below(&fetched, depth).await?;
            match fetched.present {
                true => Ok(()),
                false => self.put(&fetched.manifest, None).await,
            }
        })
    }

    /// Brings the referrers of everything visited so far, their referrers,
    /// and so on. What refers to an image is there before the image's tag is.
    async fn bring_referrers(&self) -> Result<(), StoreError> {
        let mut done = HashSet::new();
        loop {
            let wave: Vec<Digest> = {
                let visited = self.visited();
                visited
                    .iter()
                    .filter(|&digest| !done.contains(digest))
                    .cloned()
                    .collect()
            };
            if wave.is_empty() {
                return Ok(());
            }
            let subjects = wave.iter();
            let work = subjects.map(|subject| self.bring_referrers_of(subject).boxed());
            all(work.collect(), MANIFESTS_AT_ONCE).await?;
            done.extend(wave);
        }
    }

    async fn bring_referrers_of(&self, subject: &Digest) -> Result<(), StoreError> {
        let _turn = self.enter(Turn::Referrers, subject).await;
        let (found, present) = futures::future::try_join(
            self.source.store.referrers(self.source.repo, subject),
            self.target.store.referrers(self.target.repo, subject),
        )
        .await?;
        let present: HashSet<Digest> = present.into_iter().map(|known| known.digest).collect();
        for referrer in found {
            let first = self.visit(&referrer.digest)?;
            if present.contains(&referrer.digest) {
                continue;
            }
            let fetched = self.fetch(&referrer.digest).await?;
            if first {
                self.bring_below(&fetched, 0).await?;
            }
            // Put even if the target has it: it was not in the target's list.
            self.put(&fetched.manifest, None).await?;
            self.shared.tally.count(|totals| totals.referrers += 1);
        }
        Ok(())
    }

    async fn enter(&self, turn: Turn, digest: &Digest) -> OwnedMutexGuard<()> {
        self.shared.transfers.enter(turn, self.target, digest).await
    }

    /// Notes that a manifest has been met. `false` when it was met before.
    fn visit(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut visited = self.visited();
        let first = visited.insert(digest.clone());
        if visited.len() > MAX_MANIFESTS {
            let reason = format!("it has more than {MAX_MANIFESTS} manifests");
            return Err(self.refused(digest, reason));
        }
        Ok(first)
    }

    fn visited(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.visited
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn name(&self, digest: &Digest) -> String {
        image_name(
            self.source.store.name(),
            self.source.repo,
            &digest.clone().into(),
        )
    }

    fn refused(&self, digest: &Digest, reason: String) -> StoreError {
        StoreError::new(ErrorKind::Refused, "copy", self.name(digest)).because(reason)
    }
}

/// Runs `work`, so much of it at once. After a failure nothing more is begun,
/// but what is under way is finished: the next run finds it at the target.
async fn all(work: Vec<Work<'_>>, at_once: usize) -> Result<(), StoreError> {
    let mut waiting = work.into_iter();
    let mut running: FuturesUnordered<_> = waiting.by_ref().take(at_once).collect();
    let mut result = Ok(());
    while let Some(ended) = running.next().await {
        result = result.and(ended);
        if result.is_ok() {
            running.extend(waiting.next());
        }
    }
    result
}
