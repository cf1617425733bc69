//! Blobs that another repository of the registry has: end-11 of the
//! distribution-spec.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use reqwest::{Method, StatusCode};
use tracing::debug;

use super::session::Session;
use crate::http::{Permit, Request};
use crate::oci::{Descriptor, Digest, Repository};
use crate::registry::auth::Scopes;
use crate::registry::client::{Inner, Redirects};
use crate::registry::failure::Failure;
use crate::registry::operation::MOUNT;

/// A session for a blob of a repository.
type Kept = (Repository, Digest, Session);

/// How many sessions are kept that a mount left behind.
const SESSIONS: usize = 64;

/// Upload sessions that registries began instead of a mount, for the upload
/// that has to follow.
#[derive(Default)]
pub(in crate::registry) struct Sessions(Mutex<VecDeque<Kept>>);

impl Sessions {
    /// Keeps a session, and hands out one that there is no room for.
    fn keep(&self, repo: &Repository, digest: &Digest, session: Session) -> Option<Kept> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(r, d, _): &Kept| (r, d) == (repo, digest);
        let unused = match sessions.iter().position(same) {
            Some(at) => sessions.remove(at),
            None if sessions.len() >= SESSIONS => sessions.pop_front(),
            None => None,
        };
        sessions.push_back((repo.clone(), digest.clone(), session));
        unused
    }

    pub(super) fn take(&self, repo: &Repository, digest: &Digest) -> Option<Session> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sessions
            .iter()
            .position(|(r, d, _)| (r, d) == (repo, digest))?;
        sessions.remove(at).map(|(_, _, session)| session)
    }
}

impl Inner {
    /// Whether the registry took the blob from another of its repositories.
    /// Whatever goes wrong with that, the blob can still be uploaded, and what
    /// is wrong with the registry itself will show there.
    pub(in crate::registry) async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> bool {
        // It takes a token for both.
        if self.options.one_repository_a_token && repo != from {
            return false;
        }
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
        let request = Request::new(MOUNT, Method::POST, url);
        let (response, permit) = self.send(request, &scopes, Redirects::Within).await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                let session = Session::of(&response, self.chunks)?;
                let unused = self.sessions.keep(repo, &blob.digest, session);
                if let Some((repo, _, session)) = unused {
                    self.cancel(&permit, &session.url, &repo).await;
                }
                Ok(false)
            }
            _ => Err(Failure::of(response).await),
        }
    }

    /// Cancels the session that a mount left behind, if it did: the blob turned
    /// out to be there. Registries hold a file open for each.
    pub(in crate::registry) async fn give_up_session(
        &self,
        permit: &Permit,
        repo: &Repository,
        digest: &Digest,
    ) {
        if let Some(session) = self.sessions.take(repo, digest) {
            self.cancel(permit, &session.url, repo).await;
        }
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
            let url = format!("https://r.io/{number}").parse().unwrap();
            let session = Session { url, least: 0 };
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
