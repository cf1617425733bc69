//! A registry as a store.

use std::sync::Arc;

use async_trait::async_trait;

use super::Registry;
use crate::oci::{Descriptor, Digest, Manifest, Repository, Tag, TagOrDigest};
use crate::store::{Blob, Listing, Sink, Source, StoreError};

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
        let resolved = self.inner.resolve(repo, reference).await;
        resolved.map_err(|failure| {
            let action = match reference {
                TagOrDigest::Tag(_) => "read tag",
                TagOrDigest::Digest(_) => "look for manifest",
            };
            failure.at(action, self.inner.image(repo, reference))
        })
    }

    async fn manifest(&self, repo: &Repository, digest: &Digest) -> Result<Manifest, StoreError> {
        let manifest = self.inner.manifest(repo, digest).await;
        manifest.map_err(|failure| {
            failure.at(
                "read manifest",
                self.inner.image(repo, &digest.clone().into()),
            )
        })
    }

    async fn has_blob(&self, repo: &Repository, blob: &Descriptor) -> Result<bool, StoreError> {
        let found = self.inner.has_blob(repo, blob).await;
        found.map_err(|failure| {
            failure.at(
                "look for blob",
                self.inner.image(repo, &blob.digest.clone().into()),
            )
        })
    }

    async fn blob(&self, repo: &Repository, blob: &Descriptor) -> Result<Blob, StoreError> {
        Arc::clone(&self.inner).blob(repo, blob).await
    }

    fn tags<'a>(&'a self, repo: &Repository) -> Listing<'a, Tag> {
        self.inner.tags(repo)
    }

    fn repositories(&self) -> Listing<'_, Repository> {
        self.inner.repositories()
    }

    async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let found = self.inner.referrers(repo, subject).await;
        found.map_err(|failure| {
            let subject = self.inner.image(repo, &subject.clone().into());
            failure.at("list the referrers of", subject)
        })
    }
}

#[async_trait]
impl Sink for Registry {
    async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError> {
        self.inner.put_blob(repo, blob).await
    }

    async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<bool, StoreError> {
        Ok(self.inner.mount_blob(repo, blob, from).await)
    }

    async fn put_manifest(
        &self,
        repo: &Repository,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let stored = self.inner.put_manifest(repo, manifest, tag).await;
        stored.map_err(|failure| {
            let reference = match tag {
                Some(tag) => tag.clone().into(),
                None => manifest.digest().clone().into(),
            };
            failure.at("store manifest", self.inner.image(repo, &reference))
        })
    }

    async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(), StoreError> {
        let deleted = self.inner.delete_manifest(repo, reference).await;
        deleted.map_err(|failure| {
            let action = match reference {
                TagOrDigest::Tag(_) => "delete tag",
                TagOrDigest::Digest(_) => "delete manifest",
            };
            failure.at(action, self.inner.image(repo, reference))
        })
    }

    async fn delete_blob(&self, repo: &Repository, digest: &Digest) -> Result<(), StoreError> {
        let deleted = self.inner.delete_blob(repo, digest).await;
        deleted.map_err(|failure| {
            failure.at(
                "delete blob",
                self.inner.image(repo, &digest.clone().into()),
            )
        })
    }
}
