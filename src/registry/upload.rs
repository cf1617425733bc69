//! Blobs on their way in: end-4, end-6, end-11 and end-14 of the
//! distribution-spec.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};
use tracing::debug;

use super::auth::Scopes;
use super::client::{Inner, Redirects};
use super::failure::Failure;
use super::links::{closing, resolve};
use crate::http::{Class, Payload, Permit, Request, Response, exact_body};
use crate::oci::{Descriptor, Digest, Repository};
use crate::store::{Blob, ErrorKind, StoreError};

/// How many sessions are kept that a mount left behind.
const SESSIONS: usize = 64;

/// Upload sessions that registries began instead of a mount, for the upload
/// that has to follow.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<VecDeque<(Repository, Digest, Url)>>);

impl Sessions {
    /// Keeps a session, and hands out one that there is no room for.
    fn keep(
        &self,
        repo: &Repository,
        digest: &Digest,
        session: Url,
    ) -> Option<(Repository, Digest, Url)> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(r, d, _): &(Repository, Digest, Url)| (r, d) == (repo, digest);
        let unused = match sessions.iter().position(same) {
            Some(at) => sessions.remove(at),
            None if sessions.len() >= SESSIONS => sessions.pop_front(),
            None => None,
        };
        sessions.push_back((repo.clone(), digest.clone(), session));
        unused
    }

    fn take(&self, repo: &Repository, digest: &Digest) -> Option<Url> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sessions
            .iter()
            .position(|(r, d, _)| (r, d) == (repo, digest))?;
        sessions.remove(at).map(|(_, _, session)| session)
    }
}

impl Inner {
    /// One POST for a session, one PUT with everything.
    pub(super) async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError> {
        let digest = blob.descriptor().digest.clone();
        let error =
            |failure: Failure| failure.at("store blob", self.image(repo, &digest.clone().into()));
        let permit = self.http.permit(Class::Write).await;
        let session = match self.sessions.take(repo, &digest) {
            Some(session) => session,
            None => self.begin(&permit, repo).await.map_err(error)?,
        };
        match self.close(&session, repo, blob).await {
            Ok(()) => Ok(()),
            Err(unstored) => {
                self.cancel(&session, repo).await;
                Err(unstored.unwrap_or_else(error))
            }
        }
    }

    /// Whether the registry took the blob from another of its repositories.
    /// Whatever goes wrong with that, the blob can still be uploaded, and what
    /// is wrong with the registry itself will show there.
    pub(super) async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> bool {
        match self.try_mount(repo, blob, from).await {
            Ok(mounted) => mounted,
            Err(failure) => {
                debug!(
                    blob.digest = %blob.digest,
                    "not mounted from {from} to {repo}: {}",
                    failure.text(),
                );
                false
            }
        }
    }

    async fn try_mount(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<bool, Failure> {
        let mut url = self.url(repo, "blobs/uploads/")?;
        // As they are: neither a digest nor a name has anything to be encoded,
        // and not every registry decodes `%2F`.
        url.set_query(Some(&format!("mount={}&from={from}", blob.digest)));
        let scopes = Scopes::push(repo).and_pull(from);
        let request = Request::new(Method::POST, url);
        let (response, _permit) = self.send(request, &scopes, Redirects::Within).await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                let session = session_of(&response)?;
                let unused = self.sessions.keep(repo, &blob.digest, session);
                if let Some((repo, _, session)) = unused {
                    self.cancel(&session, &repo).await;
                }
                Ok(false)
            }
            _ => Err(Failure::of(response).await),
        }
    }

    async fn begin(&self, permit: &Permit, repo: &Repository) -> Result<Url, Failure> {
        let request = Request::new(Method::POST, self.url(repo, "blobs/uploads/")?);
        let scopes = Scopes::push(repo);
        let response = self
            .send_with(permit, request, &scopes, Redirects::Within)
            .await?;
        match response.status() {
            StatusCode::ACCEPTED => session_of(&response),
            _ => Err(Failure::of(response).await),
        }
    }

    /// Sends the content and closes the session.
    async fn close(&self, session: &Url, repo: &Repository, blob: Blob) -> Result<(), Unstored> {
        let Descriptor { digest, size, .. } = blob.descriptor().clone();
        let broken: Arc<Mutex<Option<StoreError>>> = Arc::default();
        let payload = if size == 0 {
            // Nothing to send, but that it is nothing has to be known first.
            blob.into_bytes().await.map_err(Unstored::Source)?;
            Payload::Empty
        } else {
            // What the source says is kept aside: reqwest would bury it in
            // words of its own.
            let slot = Arc::clone(&broken);
            let stream = blob.into_stream().map_err(move |error| {
                let text = error.to_string();
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                text
            });
            Payload::Stream(Some(exact_body(stream.boxed(), size)))
        };
        let kind = HeaderValue::from_static("application/octet-stream");
        let mut request = Request::new(Method::PUT, closing(session, &digest))
            .header(CONTENT_TYPE, kind)
            .payload(payload);
        let answer = match self.is_own(session) {
            true => self.send_own(&mut request, &Scopes::push(repo)).await,
            false => self.send_elsewhere(&mut request).await,
        };
        let source = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = source {
            return Err(Unstored::Source(error));
        }
        let response = answer.map_err(Unstored::Target)?;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(Unstored::Target(Failure::of(response).await)),
        }
    }

    /// Cancels the session that a mount left behind, if it did: the blob turned
    /// out to be there. Registries hold a file open for each.
    pub(super) async fn give_up_session(&self, repo: &Repository, digest: &Digest) {
        if let Some(session) = self.sessions.take(repo, digest) {
            self.cancel(&session, repo).await;
        }
    }

    /// Tells the registry that nothing more comes. It may not know how, and
    /// clears the session away in time.
    async fn cancel(&self, session: &Url, repo: &Repository) {
        let mut request = Request::new(Method::DELETE, session.clone());
        let sent = if self.is_own(session) {
            // Without signing in for it: Quay refuses tokens that name
            // deletion.
            if let Ok(known) = self.auth.sign_in(&Scopes::push(repo)).await {
                known.apply(&mut request.headers);
            }
            self.http.send_once(&mut request).await
        } else {
            self.http.stranger().send_once(&mut request).await
        };
        let status = sent.map(|response| response.status());
        debug!("cancelled an upload to {repo}: {status:?}");
    }
}

/// Why a blob is not stored.
enum Unstored {
    /// It could not be read.
    Source(StoreError),
    /// It could not be written.
    Target(Failure),
}

impl Unstored {
    fn unwrap_or_else(self, error: impl FnOnce(Failure) -> StoreError) -> StoreError {
        match self {
            Self::Source(error) => error,
            Self::Target(failure) => error(failure),
        }
    }
}

fn session_of(response: &Response) -> Result<Url, Failure> {
    match response.text_header(LOCATION.as_str()) {
        Some(location) => resolve(response.url(), location),
        None => Err(Failure::new(
            ErrorKind::Malformed,
            "the registry began an upload and does not say where",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j14_only_so_many_sessions_are_kept() {
        let sessions = Sessions::default();
        let repo: Repository = "a".parse().unwrap();
        let mut unused = 0;
        for number in 0..1000 {
            let digest = Digest::sha256(format!("{number}").as_bytes());
            let session: Url = format!("https://r.io/{number}").parse().unwrap();
            unused += usize::from(sessions.keep(&repo, &digest, session).is_some());
            assert!(sessions.0.lock().unwrap().len() <= SESSIONS);
        }
        assert_eq!(
            unused,
            1000 - SESSIONS,
            "they are handed out to be cancelled"
        );
        let last = Digest::sha256(b"999");
        assert!(sessions.take(&repo, &last).is_some());
        assert!(sessions.take(&repo, &last).is_none());
    }
}
