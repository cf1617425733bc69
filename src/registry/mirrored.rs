//! A registry with mirrors: content is read from those first.

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::Registry;
use crate::oci::{Descriptor, Digest, Manifest, Repository, Tag, TagOrDigest};
use crate::store::{Allowance, Blob, ErrorKind, Listing, Source, StoreError};

/// A registry and its mirrors, as a source. As a target it is the registry alone:
/// a mirror may not know yet what was written.
///
/// Tags, manifests and blobs are asked for at each in turn, until one has them.
/// A tag is what the first says that knows it, which may be old. Lists come from
/// the registry itself: what pulls through on demand lists little.
#[derive(Debug)]
pub struct Mirrored {
    registry: Registry,
    /// In the order in which they are asked, the registry among them.
    readers: Vec<Registry>,
}

impl Mirrored {
    /// `registry`, read through `readers`, of which it is one.
    pub fn new(registry: Registry, readers: Vec<Registry>) -> Self {
        Self { registry, readers }
    }

    /// What the first reader gives that `has` something; else the last one's
    /// answer.
    async fn first<'s: 'b, 'b, T>(
        &'s self,
        ask: impl Fn(&'s Registry) -> BoxFuture<'b, Result<T, StoreError>> + Send,
        has: impl Fn(&T) -> bool + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        let mut last = None;
        for reader in &self.readers {
            let answer = ask(reader).await;
            match &answer {
                Ok(found) if has(found) => return answer,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(mirror = reader.name(), %error, "the next one is asked");
                }
            }
            // What the registry itself says counts more than what a mirror does.
            let own = reader.name() == self.registry.name();
            if own || last.is_none() {
                last = Some(answer);
            }
        }
        let nobody = || StoreError::new(ErrorKind::Unsupported, "read from", self.registry.name());
        last.unwrap_or_else(|| Err(nobody()))
    }
}

#[async_trait]
impl Source for Mirrored {
    fn name(&self) -> &str {
        self.registry.name()
    }

    async fn resolve(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        self.first(|reader| reader.resolve(repo, reference), Option::is_some)
            .await
    }

    async fn find(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        self.first(|reader| reader.find(repo, reference), Option::is_some)
            .await
    }

    async fn manifest(&self, repo: &Repository, digest: &Digest) -> Result<Manifest, StoreError> {
        self.first(|reader| reader.manifest(repo, digest), |_| true)
            .await
    }

    async fn has_blob(&self, repo: &Repository, blob: &Descriptor) -> Result<bool, StoreError> {
        self.registry.has_blob(repo, blob).await
    }

    async fn blob(&self, repo: &Repository, blob: &Descriptor) -> Result<Blob, StoreError> {
        self.first(|reader| reader.blob(repo, blob), |_| true).await
    }

    fn tags<'a>(&'a self, repo: &Repository) -> Listing<'a, Tag> {
        self.registry.tags(repo)
    }

    fn repositories(&self) -> Listing<'_, Repository> {
        self.registry.repositories()
    }

    async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.registry.referrers(repo, subject).await
    }

    fn allowance(&self) -> Allowance {
        self.registry.allowance()
    }
}
