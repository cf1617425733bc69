//! Blobs that are there: end-2 and end-10 of the distribution-spec.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;

use super::auth::Scopes;
use super::client::{Inner, Redirects};
use super::download;
use super::failure::Failure;
use super::operation::BLOB;
use super::seam::driven;
use crate::http::{Class, Permit, Request};
use crate::oci::{Descriptor, Digest, Repository};
use crate::store::{Blob, BlobStream, Content, StoreError};

impl Inner {
    pub(super) async fn has_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
    ) -> Result<bool, Failure> {
        let permit = self.http.permit(Class::Read).await;
        let there = self.is_there(&permit, repo, blob).await?;
        if there {
            self.give_up_session(&permit, repo, &blob.digest).await;
        }
        Ok(there)
    }

    /// The same, under a permit that is held already.
    pub(super) async fn is_there(
        &self,
        permit: &Permit,
        repo: &Repository,
        blob: &Descriptor,
    ) -> Result<bool, Failure> {
        let url = self.url(repo, &format!("blobs/{}", blob.digest))?;
        let request = Request::new(BLOB, Method::HEAD, url);
        let scopes = Scopes::pull(repo);
        let response = self
            .send_with(permit, request, &scopes, Redirects::Anywhere)
            .await?;
        match response.status().as_u16() {
            // A blob of another length is damaged, and worth a new upload. Some
            // proxies answer every HEAD with 0, which therefore says nothing.
            200 => Ok(response
                .content_length()
                .is_none_or(|told| told == 0 || told == blob.size)),
            404 => Ok(false),
            _ => Err(Failure::of(response).await),
        }
    }

    pub(super) async fn blob(
        self: Arc<Self>,
        repo: &Repository,
        blob: &Descriptor,
    ) -> Result<Blob, StoreError> {
        let origin = self.repository(repo);
        let content = Remote {
            registry: self,
            repo: repo.clone(),
            blob: blob.clone(),
        };
        let body = content.read_from(0).await?;
        Ok(Blob::verified(blob, origin, body).with_content(content))
    }

    pub(super) async fn delete_blob(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<(), Failure> {
        self.delete(BLOB, repo, &format!("blobs/{digest}")).await
    }
}

/// A blob of a registry.
struct Remote {
    registry: Arc<Inner>,
    repo: Repository,
    blob: Descriptor,
}

#[async_trait]
impl Content for Remote {
    async fn read_from(&self, offset: u64) -> Result<BlobStream, StoreError> {
        let (registry, repo) = (Arc::clone(&self.registry), self.repo.clone());
        let blob = self.blob.clone();
        driven(async move { download::open(registry, &repo, &blob, offset).await }).await
    }
}
