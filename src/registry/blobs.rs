//! Blobs that are there: end-2 and end-10 of the distribution-spec.

use std::sync::Arc;

use reqwest::Method;

use super::auth::Scopes;
use super::client::{Inner, Redirects};
use super::download;
use super::failure::Failure;
use crate::http::Request;
use crate::oci::{Descriptor, Digest, Repository};
use crate::store::{Blob, StoreError};

impl Inner {
    pub(super) async fn has_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
    ) -> Result<bool, Failure> {
        let url = self.url(repo, &format!("blobs/{}", blob.digest))?;
        let request = Request::new(Method::HEAD, url);
        let (response, _permit) = self
            .send(request, &Scopes::pull(repo), Redirects::Anywhere)
            .await?;
        let there = match response.status().as_u16() {
            // A blob of another length is damaged, and worth a new upload. Some
            // proxies answer every HEAD with 0, which therefore says nothing.
            200 => response
                .content_length()
                .is_none_or(|told| told == 0 || told == blob.size),
            404 => false,
            _ => return Err(Failure::of(response).await),
        };
        if there {
            self.give_up_session(repo, &blob.digest).await;
        }
        Ok(there)
    }

    pub(super) async fn blob(
        self: Arc<Self>,
        repo: &Repository,
        blob: &Descriptor,
    ) -> Result<Blob, StoreError> {
        let origin = self.repository(repo);
        let body = download::open(self, repo, blob).await?;
        Ok(Blob::verified(blob, origin, body))
    }

    pub(super) async fn delete_blob(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<(), Failure> {
        self.delete(repo, &format!("blobs/{digest}")).await
    }
}
