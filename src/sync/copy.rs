//! Copying one image: everything it points at first, itself last.

mod attached;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OwnedMutexGuard;

use super::job::{IndexForm, Platforms};
use super::platforms::{Manifests, kept, rewritten};
use super::step::image_name;
use super::transfer::{End, Shared, Turn};
use crate::oci::{Descriptor, Digest, Manifest, Tag};
use crate::store::{ErrorKind, Sink, Source, StoreError};

/// How deep indexes may nest.
pub(super) const MAX_DEPTH: usize = 8;

/// How many manifests one image may have, referrers included.
pub(super) const MAX_MANIFESTS: usize = 10_000;

/// How many manifests of one image are worked on at once.
const MANIFESTS_AT_ONCE: usize = 4;

type Work<'a> = BoxFuture<'a, Result<(), StoreError>>;

/// Copies one image from one repository to another.
pub(super) struct Copier<'a> {
    source: End<'a, dyn Source>,
    target: End<'a, dyn Sink>,
    choice: Parts<'a>,
    shared: Shared<'a>,
    visited: Mutex<HashSet<Digest>>,
    /// Whether anything was sent.
    sent: AtomicBool,
}

/// Which parts of an image are copied, and how.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// Which children of its index.
    pub(super) platforms: &'a Platforms,
    /// Whether to look for all that it needs, even where the target has what
    /// points at it.
    pub(super) force: bool,
    /// Whether layers that may not be passed on are copied.
    pub(super) external: bool,
    /// Manifests that planning has read.
    pub(super) manifests: Option<&'a Manifests>,
}

impl Parts<'_> {
    /// All of it.
    pub(super) const WHOLE: Self = Self {
        platforms: &Platforms::All,
        force: false,
        external: false,
        manifests: None,
    };
}

/// A manifest on its way, and whether the target has it under its digest. A
/// target that has an image has its blobs: registries ask for them first, and
/// so do we send them. An index that is there may still lack children.
pub(super) struct Fetched {
    pub(super) manifest: Manifest,
    present: bool,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        source: End<'a, dyn Source>,
        target: End<'a, dyn Sink>,
        choice: Parts<'a>,
        shared: Shared<'a>,
    ) -> Self {
        Self {
            source,
            target,
            choice,
            shared,
            visited: Mutex::default(),
            sent: AtomicBool::new(false),
        }
    }

    /// Copies all of an image.
    pub(super) fn whole(
        source: End<'a, dyn Source>,
        target: End<'a, dyn Sink>,
        shared: Shared<'a>,
    ) -> Self {
        Self::new(source, target, Parts::WHOLE, shared)
    }

    /// Whether anything was sent so far.
    pub(super) fn has_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Reads the image's manifest. Whoever wants to copy the same image waits as
    /// long as the guard is held.
    pub(super) async fn begin(
        &self,
        digest: &Digest,
    ) -> Result<(Fetched, OwnedMutexGuard<()>), StoreError> {
        let turn = self.enter(Turn::Image, digest).await;
        Ok((self.top(digest).await?, turn))
    }

    /// Reads the manifest of an image that nobody else needs to wait for.
    pub(super) async fn top(&self, digest: &Digest) -> Result<Fetched, StoreError> {
        self.visit(digest)?;
        self.fetch(digest, self.is_present(digest).await?).await
    }

    /// Brings everything that the image needs. Its manifest is all that is left
    /// to put.
    pub(super) async fn bring(&self, fetched: &Fetched) -> Result<(), StoreError> {
        self.bring_below(fetched, 0).await
    }

    /// The manifests that were met, without `image` itself.
    pub(super) fn parts(&self, image: &Digest) -> Vec<Digest> {
        let visited = self.visited();
        let parts = visited.iter().filter(|&part| part != image);
        parts.cloned().collect()
    }

    /// The manifest that the image's tag gets at the target.
    pub(super) fn final_manifest(&self, manifest: &Manifest) -> Result<Manifest, StoreError> {
        match self.choice.platforms {
            Platforms::Some {
                index: IndexForm::Rewrite,
                ..
            } if manifest.media_type().is_index() => {
                let kept = kept(self.choice.platforms, self.source, manifest)?;
                rewritten(manifest, &kept, self.source)
            }
            _ => Ok(manifest.clone()),
        }
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
                let put = store.put_manifest(repo, manifest, tag).await;
                put.map_err(|error| self.not_sparse(manifest, error))?;
            }
            result => result?,
        }
        self.sent.store(true, Ordering::Relaxed);
        self.shared.tally.count(|totals| totals.manifests += 1);
        Ok(())
    }

    /// An index whose children are not all there, and a target that wants them.
    fn not_sparse(&self, manifest: &Manifest, error: StoreError) -> StoreError {
        let sparse = matches!(
            self.choice.platforms,
            Platforms::Some {
                index: IndexForm::Sparse,
                ..
            }
        );
        if !sparse || !manifest.media_type().is_index() || error.kind() != ErrorKind::MissingContent
        {
            return error;
        }
        let subject = image_name(
            self.target.store.name(),
            self.target.repo,
            &manifest.digest().clone().into(),
        );
        let reason = format!(
            "it wants every child of an index, and `platforms` leaves some out: set \
             `platformIndex: rewrite` ({error})"
        );
        StoreError::new(ErrorKind::Refused, "store index", subject).because(reason)
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
        let known = self.choice.manifests.and_then(|known| known.get(digest));
        let manifest = match known {
            Some(manifest) => manifest,
            None => self.source.store.manifest(self.source.repo, digest).await?,
        };
        Ok(Fetched {
            manifest,
            present: false,
        })
    }

    async fn bring_below(&self, fetched: &Fetched, depth: usize) -> Result<(), StoreError> {
        let Fetched { manifest, present } = fetched;
        let chosen;
        let children = match depth {
            0 if manifest.media_type().is_index() => {
                chosen = kept(self.choice.platforms, self.source, manifest)?;
                chosen.as_slice()
            }
            _ => manifest.children(),
        };
        // Before anything of it is sent.
        if children.len() > MAX_MANIFESTS {
            return Err(self.too_many(manifest.digest()));
        }
        if !present || self.choice.force {
            self.bring_blobs(manifest).await?;
        }
        if depth == MAX_DEPTH && !children.is_empty() {
            return Err(too_deep(self.source, manifest.digest()));
        }
        let parent = manifest.digest();
        let work = children
            .iter()
            .map(|child| self.bring_child(parent, child, depth + 1));
        all(work.collect(), MANIFESTS_AT_ONCE).await
    }

    async fn bring_blobs(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let work = manifest.blobs().map(|blob| self.bring_blob(blob).boxed());
        all(work.collect(), self.shared.limits.blobs).await
    }

    async fn bring_blob(&self, blob: &Descriptor) -> Result<(), StoreError> {
        if blob.media_type.is_nondistributable() && !self.choice.external {
            self.shared.tally.count(|totals| totals.blobs_withheld += 1);
            return Ok(());
        }
        // Also where it is not needed: the manifest that says so goes on to
        // clients that may take it at its word.
        self.embedded(blob)?;
        if self.choice.force {
            self.shared
                .transfers
                .forget(self.target, &blob.digest)
                .await;
        }
        let transfers = self.shared.transfers;
        let delivered = transfers.deliver(self.source, self.target, blob, self.shared.tally);
        if delivered.await? {
            self.sent.store(true, Ordering::Relaxed);
        }
        Ok(())
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
            if present && child.media_type.is_image() && !self.choice.force {
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
        too_many(self.source, digest)
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
        refused(self.source, digest, reason)
    }
}

/// An image of more manifests than are copied.
pub(super) fn too_many(source: End<'_, dyn Source>, digest: &Digest) -> StoreError {
    let reason = format!("it has more than {MAX_MANIFESTS} manifests");
    refused(source, digest, reason)
}

/// An image whose indexes lie deeper in each other than is copied.
pub(super) fn too_deep(source: End<'_, dyn Source>, digest: &Digest) -> StoreError {
    let reason = format!("indexes nest deeper than {MAX_DEPTH}");
    refused(source, digest, reason)
}

fn refused(source: End<'_, dyn Source>, digest: &Digest, reason: String) -> StoreError {
    let subject = image_name(source.store.name(), source.repo, &digest.clone().into());
    StoreError::new(ErrorKind::Refused, "copy", subject).because(reason)
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
