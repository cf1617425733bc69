//! A registry as a store.
//!
//! What the traits are asked runs in a task of its own. Whoever asked may not
//! look at it for a while, as a stream does that waits until there is room for
//! its next item; a request that nobody drives would keep its place at the host
//! from the very requests that are waited for.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::Registry;
use super::client::Inner;
use super::failure::Failure;
use crate::oci::{Descriptor, Digest, Manifest, Repository, Tag, TagOrDigest};
use crate::store::{Allowance, Blob, Listing, Page, Sink, Source, StoreError};

/// Drives `work` to its end, or until nobody waits for it any more.
pub(super) async fn driven<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "owned by the handle, which is waited for"
    )]
    let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
    task.await.unwrap_or_else(|ended| {
        std::panic::resume_unwind(ended.into_panic());
    })
}

#[async_trait]
impl Source for Registry {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn resolve(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        let (inner, repo) = self.at(repo)?;
        let reference = reference.clone();
        driven(async move {
            let resolved = inner.resolve(&repo, &reference).await;
            resolved.map_err(|failure| unresolved(failure, &inner, &repo, &reference))
        })
        .await
    }

    async fn find(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        let (inner, repo) = self.at(repo)?;
        let reference = reference.clone();
        driven(async move {
            let found = inner.find(&repo, &reference).await;
            found.map_err(|failure| unresolved(failure, &inner, &repo, &reference))
        })
        .await
    }

    async fn manifest(&self, repo: &Repository, digest: &Digest) -> Result<Manifest, StoreError> {
        let (inner, repo) = self.at(repo)?;
        let digest = digest.clone();
        driven(async move {
            let manifest = inner.manifest(&repo, &digest).await;
            manifest
                .map_err(|failure| failure.at("read manifest", inner.image(&repo, &digest.into())))
        })
        .await
    }

    async fn has_blob(&self, repo: &Repository, blob: &Descriptor) -> Result<bool, StoreError> {
        let (inner, repo) = self.at(repo)?;
        let blob = blob.clone();
        driven(async move {
            let found = inner.has_blob(&repo, &blob).await;
            found.map_err(|failure| {
                failure.at("look for blob", inner.image(&repo, &blob.digest.into()))
            })
        })
        .await
    }

    async fn blob(&self, repo: &Repository, blob: &Descriptor) -> Result<Blob, StoreError> {
        let (inner, repo) = self.at(repo)?;
        let blob = blob.clone();
        inner.blob(&repo, &blob).await
    }

    fn tags<'a>(&'a self, repo: &Repository) -> Listing<'a, Tag> {
        match self.at(repo) {
            Ok((inner, repo)) => inner.tags(&repo),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn repositories(&self) -> Listing<'_, Repository> {
        let inner = self.inner();
        let pages = self.inner().repositories();
        if inner.options.prefix.is_none() {
            return pages;
        }
        // What is not below the prefix is not of this registry.
        let below = move |page: Page<Repository>| Page {
            names: page
                .names
                .iter()
                .filter_map(|name| inner.unplaced(name))
                .collect(),
            ..page
        };
        pages.map(move |page| page.map(&below)).boxed()
    }

    async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let (inner, repo) = self.at(repo)?;
        let subject = subject.clone();
        driven(async move {
            let found = inner.referrers(&repo, &subject).await;
            found.map_err(|failure| {
                failure.at("list the referrers of", inner.image(&repo, &subject.into()))
            })
        })
        .await
    }

    fn allowance(&self) -> Allowance {
        Allowance {
            quiet_until: self.inner.http.quiet_until(),
            pulls: self.inner.ledger.pulls(),
        }
    }
}

#[async_trait]
impl Sink for Registry {
    async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError> {
        let (inner, repo) = self.at(repo)?;
        driven(async move { inner.put_blob(&repo, blob).await }).await
    }

    async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<bool, StoreError> {
        let (inner, repo) = self.at(repo)?;
        let (blob, from) = (blob.clone(), inner.placed(from)?);
        Ok(driven(async move { inner.mount_blob(&repo, &blob, &from).await }).await)
    }

    async fn put_manifest(
        &self,
        repo: &Repository,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let (inner, repo) = self.at(repo)?;
        let (manifest, tag) = (manifest.clone(), tag.cloned());
        driven(async move {
            let stored = inner.put_manifest(&repo, &manifest, tag.as_ref()).await;
            stored.map_err(|failure| {
                let reference = match tag {
                    Some(tag) => tag.into(),
                    None => manifest.digest().clone().into(),
                };
                failure.at("store manifest", inner.image(&repo, &reference))
            })
        })
        .await
    }

    async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(), StoreError> {
        let (inner, repo) = self.at(repo)?;
        let reference = reference.clone();
        driven(async move {
            let deleted = inner.delete_manifest(&repo, &reference).await;
            deleted.map_err(|failure| {
                let action = match reference {
                    TagOrDigest::Tag(_) => "delete tag",
                    TagOrDigest::Digest(_) => "delete manifest",
                };
                failure.at(action, inner.image(&repo, &reference))
            })
        })
        .await
    }

    async fn delete_blob(&self, repo: &Repository, digest: &Digest) -> Result<(), StoreError> {
        let (inner, repo) = self.at(repo)?;
        let digest = digest.clone();
        driven(async move {
            let deleted = inner.delete_blob(&repo, &digest).await;
            deleted.map_err(|failure| failure.at("delete blob", inner.image(&repo, &digest.into())))
        })
        .await
    }
}

fn unresolved(
    failure: Failure,
    inner: &Inner,
    repo: &Repository,
    reference: &TagOrDigest,
) -> StoreError {
    let action = match reference {
        TagOrDigest::Tag(_) => "read tag",
        TagOrDigest::Digest(_) => "look for manifest",
    };
    failure.at(action, inner.image(repo, reference))
}

impl Registry {
    /// What does the work, and the repository by its name on the host.
    fn at(&self, repo: &Repository) -> Result<(Arc<Inner>, Repository), StoreError> {
        Ok((self.inner(), self.inner.placed(repo)?))
    }

    fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }
}
