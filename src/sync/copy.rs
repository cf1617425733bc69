//! Copying one image: everything it points at first, itself last.

use std::collections::HashSet;
use std::sync::Mutex;

use bytes::Bytes;
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
/// target that has an image has its blobs: registries ask for them first, and
/// so do we send them. An index that is there may still lack children.
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
        let fetched = self.fetch(digest, self.is_present(digest).await?).await?;
        self.bring_below(&fetched, 0).await?;
        if self.referrers {
            self.bring_referrers(digest).await?;
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
            // The target's garbage collection may have taken something since
            // it was seen there.
            Err(error) if error.kind() == ErrorKind::MissingContent => {
                tracing::warn!(%error, "the target lost content; it is sent again");
                for blob in manifest.blobs() {
                    let transfers = self.shared.transfers;
                    transfers.forget(self.target, &blob.digest).await;
                }
                self.visited().clear();
                let lost = Fetched {
                    manifest: manifest.clone(),
                    present: false,
                };
                self.bring_below(&lost, 0).await?;
                store.put_manifest(repo, manifest, tag).await?;
            }
            result => result?,
        }
        self.shared.tally.count(|totals| totals.manifests += 1);
        Ok(())
    }

    async fn is_present(&self, digest: &Digest) -> Result<bool, StoreError> {
        let End { store, repo } = self.target;
        Ok(store.resolve(repo, &digest.clone().into()).await?.is_some())
    }

    /// Reads a manifest from the target if it has it, which no registry counts
    /// as a pull of the source, else from the source.
    async fn fetch(&self, digest: &Digest, present: bool) -> Result<Fetched, StoreError> {
        if present {
            let End { store, repo } = self.target;
            match store.manifest(repo, digest).await {
                Ok(manifest) => return Ok(Fetched { manifest, present }),
                // Damaged there: the source's takes its place.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Malformed
                    ) =>
                {
                    tracing::warn!(%error, "the target's manifest is replaced");
                }
                Err(error) => return Err(error),
            }
        }
        let End { store, repo } = self.source;
        let manifest = store.manifest(repo, digest).await?;
        Ok(Fetched {
            manifest,
            present: false,
        })
    }

    async fn bring_below(&self, fetched: &Fetched, depth: usize) -> Result<(), StoreError> {
        let Fetched { manifest, present } = fetched;
        // Before anything of it is sent.
        if manifest.children().len() > MAX_MANIFESTS {
            return Err(self.too_many(manifest.digest()));
        }
        if !present {
            self.bring_blobs(manifest).await?;
        }
        if depth == MAX_DEPTH && !manifest.children().is_empty() {
            let reason = format!("indexes nest deeper than {MAX_DEPTH}");
            return Err(self.refused(manifest.digest(), reason));
        }
        let children = manifest.children().iter();
        let parent = manifest.digest();
        let work = children.map(|child| self.bring_child(parent, child, depth + 1));
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
        // Also where it is not needed: the manifest that says so goes on to
        // clients that may take it at its word.
        self.embedded(blob)?;
        self.shared
            .transfers
            .deliver(self.source, self.target, blob, self.shared.tally)
            .await
    }

    /// The content that a descriptor brings along.
    fn embedded(&self, what: &Descriptor) -> Result<Option<Bytes>, StoreError> {
        what.embedded().map_err(|cause| {
            let subject = self.name(&what.digest);
            StoreError::new(ErrorKind::Corrupt, "copy", subject).because(cause)
        })
    }

    /// Reads a manifest that an index lists.
    async fn fetch_child(
        &self,
        parent: &Digest,
        child: &Descriptor,
        present: bool,
    ) -> Result<Fetched, StoreError> {
        let embedded = self.embedded(child)?;
        if let Some(bytes) = embedded.filter(|_| !present && child.media_type.is_manifest()) {
            let read = Manifest::verified(bytes, &child.digest, Some(&child.media_type));
            let manifest = read.map_err(|cause| {
                let subject = self.name(&child.digest);
                StoreError::new(ErrorKind::Malformed, "read manifest", subject).because(cause)
            })?;
            return Ok(Fetched {
                manifest,
                present: false,
            });
        }
        let fetched = self.fetch(&child.digest, present).await;
        fetched.map_err(|error| match error.kind() {
            // A copy of one platform's image and the whole index, as some
            // tools make it: sparse, and not to be mirrored as if it were whole.
            ErrorKind::NotFound if child.media_type.is_manifest() => {
                let cause = format!("the index {parent} lists it, but the source does not have it");
                StoreError::new(ErrorKind::NotFound, "copy", self.name(&child.digest))
                    .because(cause)
            }
            _ => error,
        })
    }

    fn bring_child<'s>(
        &'s self,
        parent: &'s Digest,
        child: &'s Descriptor,
        depth: usize,
    ) -> Work<'s> {
        Box::pin(async move {
            if child.media_type.is_schema1() {
                let subject = self.name(&child.digest);
                return Err(StoreError::new(ErrorKind::Schema1, "copy", subject));
            }
            let _turn = self.enter(Turn::Part, &child.digest).await;
            if !self.visit(&child.digest)? {
                return Ok(());
            }
            let present = self.is_present(&child.digest).await?;
            if present && child.media_type.is_image() {
                return Ok(());
            }
            let known = child.media_type.is_manifest();
            let fetched = match self.fetch_child(parent, child, present).await {
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

    /// Brings what refers to the image and to its parts. The image's own
    /// referrers come last: planning looks at no others to see what is missing,
    /// so they may only be there when all the rest is.
    async fn bring_referrers(&self, image: &Digest) -> Result<(), StoreError> {
        let parts: Vec<Digest> = {
            let visited = self.visited();
            visited
                .iter()
                .filter(|&part| part != image)
                .cloned()
                .collect()
        };
        let work = parts.iter().map(|part| self.bring_referrers_of(part, 1));
        all(work.collect(), MANIFESTS_AT_ONCE).await?;
        self.bring_referrers_of(image, 1).await
    }

    /// Brings what refers to `subject`, each after what refers to it in turn.
    fn bring_referrers_of<'s>(&'s self, subject: &'s Digest, depth: usize) -> Work<'s> {
        Box::pin(async move {
            let _turn = self.enter(Turn::Referrers, subject).await;
            let (found, present) = futures::future::try_join(
                self.source.store.referrers(self.source.repo, subject),
                self.target.store.referrers(self.target.repo, subject),
            )
            .await?;
            if depth > MAX_DEPTH && !found.is_empty() {
                let reason = format!("referrers refer to referrers more than {MAX_DEPTH} deep");
                return Err(self.refused(subject, reason));
            }
            let present: HashSet<Digest> = present.into_iter().map(|known| known.digest).collect();
            let work = found.iter().map(|referrer| {
                let listed = present.contains(&referrer.digest);
                async move {
                    let brought = self.bring_referrer(subject, &referrer.digest, listed, depth);
                    brought.await.map_err(|error| {
                        let what =
                            format!("{}, a referrer of {subject}", self.name(&referrer.digest));
                        StoreError::new(error.kind(), "copy", what).because(error)
                    })
                }
                .boxed()
            });
            all(work.collect(), MANIFESTS_AT_ONCE).await
        })
    }

    async fn bring_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
        listed: bool,
        depth: usize,
    ) -> Result<(), StoreError> {
        let fetched = self
            .fetch(referrer, self.is_present(referrer).await?)
            .await?;
        // A list may say anything. That a referrer names its subject is what
        // makes it one, and what rules out circles.
        let named = fetched.manifest.subject();
        if named.is_none_or(|named| named.digest != *subject) {
            tracing::warn!(%referrer, %subject, "listed as a referrer, but it is none; left out");
            return Ok(());
        }
        if self.visit(referrer)? {
            self.bring_referrers_of(referrer, depth + 1).await?;
        }
        if listed {
            return Ok(());
        }
        self.bring_below(&fetched, 0).await?;
        // Put even if the target has it: it was not in the target's list.
        self.put(&fetched.manifest, None).await?;
        self.shared.tally.count(|totals| totals.referrers += 1);
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
            return Err(self.too_many(digest));
        }
        Ok(first)
    }

    fn too_many(&self, digest: &Digest) -> StoreError {
        let reason = format!("it has more than {MAX_MANIFESTS} manifests");
        self.refused(digest, reason)
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
