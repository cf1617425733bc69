//! Upload sessions: their beginning, where they stand, their end.

use reqwest::header::{HeaderMap, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};
use tracing::debug;

use super::Upload;
use super::setback::is_gone;
use crate::http::{Chunks, Class, Permit, Request, Response};
use crate::oci::Repository;
use crate::registry::Registry;
use crate::registry::auth::Scopes;
use crate::registry::client::{Inner, Redirects};
use crate::registry::failure::Failure;
use crate::registry::links::resolve;
use crate::registry::operation::UPLOAD;
use crate::store::{ErrorKind, StoreError};

/// Where to send the next part of an upload.
pub(super) struct Session {
    pub(super) url: Url,
    /// What the registry wants a chunk to have at least, in bytes.
    pub(super) least: u64,
}

/// How much of an upload the registry has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// So many bytes.
    At(u64),
    /// It does not say, or not clearly.
    Unknown,
    /// It knows of no such upload.
    Gone,
}

impl Session {
    /// What a registry that accepts an upload says of it.
    pub(super) fn of(response: &Response, chunks: Chunks) -> Result<Self, Failure> {
        let Some(location) = response.text_header(LOCATION.as_str()) else {
            return Err(Failure::new(
                ErrorKind::Malformed,
                "the registry began an upload and does not say where",
            ));
        };
        let least = response.text_header("oci-chunk-min-length");
        Ok(Self {
            url: resolve(response.url(), location)?,
            least: least.map_or(0, |text| least_chunk(text, chunks)),
        })
    }

    /// Goes where the answer to a part leads; there is a new place each time.
    pub(super) fn follow(&mut self, response: &Response) -> Result<(), Failure> {
        if let Some(location) = response.text_header(LOCATION.as_str()) {
            self.url = resolve(response.url(), location)?;
        }
        Ok(())
    }
}

impl Inner {
    pub(super) async fn begin(
        &self,
        permit: &Permit,
        repo: &Repository,
    ) -> Result<Session, Failure> {
        let request = Request::new(UPLOAD, Method::POST, self.url(repo, "blobs/uploads/")?);
        let scopes = Scopes::push(repo);
        let response = self
            .send_with(permit, request, &scopes, Redirects::Within)
            .await?;
        match response.status() {
            StatusCode::ACCEPTED => Session::of(&response, self.chunks),
            _ => Err(Failure::of(response).await),
        }
    }

    /// Sends a request to a session, which may be at another host.
    pub(super) async fn send_part(
        &self,
        request: &mut Request,
        scopes: &Scopes,
    ) -> Result<Response, Failure> {
        match self.is_own(&request.url) {
            true => self.send_own(request, scopes).await,
            false => self.send_elsewhere(request).await,
        }
    }

    /// Tells the registry that nothing more comes. It may not know how, and
    /// clears the session away in time.
    pub(super) async fn cancel(&self, _permit: &Permit, session: &Url, repo: &Repository) {
        let mut request = Request::new(UPLOAD, Method::DELETE, session.clone());
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

impl Registry {
    /// Whether we may write to a repository: begins an upload, and gives it up.
    ///
    /// # Errors
    ///
    /// When we may not, or it cannot be found out.
    pub async fn may_push(&self, repo: &Repository) -> Result<(), StoreError> {
        let inner = &self.inner;
        let placed = inner.placed(repo)?;
        let permit = inner.http.permit(Class::of(&Method::POST)).await;
        match inner.begin(&permit, &placed).await {
            Ok(session) => {
                inner.cancel(&permit, &session.url, &placed).await;
                Ok(())
            }
            Err(failure) => Err(failure.at("begin an upload to", inner.repository(&placed))),
        }
    }
}

impl Upload<'_> {
    /// Asks the registry where the upload stands.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub(super) async fn ask(&mut self) -> Result<Standing, Failure> {
        let size = self.size();
        let Some(session) = &mut self.session else {
            return Ok(Standing::Unknown);
        };
        let mut request = Request::new(UPLOAD, Method::GET, session.url.clone());
        let answer = self.registry.send_part(&mut request, &self.scopes).await;
        let response = match answer {
            Ok(response) => response,
            Err(failure) if failure.kind == ErrorKind::Denied => return Ok(Standing::Unknown),
            Err(failure) => return Err(failure),
        };
        if response.status().is_success() {
            session.follow(&response)?;
            return Ok(match received(response.headers()) {
                // For no byte and for one, says docker/distribution.
                None | Some(1) => Standing::Unknown,
                Some(at) if at > size => Standing::Unknown,
                Some(at) => Standing::At(at),
            });
        }
        let failure = Failure::of(response).await;
        Ok(match is_gone(&failure) {
            true => Standing::Gone,
            false => Standing::Unknown,
        })
    }
}

/// `OCI-Chunk-Min-Length` in bytes, as far as it is obeyed.
fn least_chunk(text: &str, chunks: Chunks) -> u64 {
    let least: u64 = text.trim().parse().unwrap_or(0);
    least.min(chunks.largest_least)
}

/// How many bytes an upload has by `Range: 0-LAST`. Quay puts `bytes=` before
/// it.
pub(super) fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let last: u64 = text.strip_prefix("0-")?.parse().ok()?;
    last.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c5_the_least_length_of_a_chunk_has_a_bound() {
        for (text, want) in [
            ("1024", 1024),
            (" 5242880 ", 5 << 20),
            ("67108865", 64 << 20),
            ("18446744073709551616", 0),
            ("-1", 0),
            ("", 0),
        ] {
            assert_eq!(least_chunk(text, Chunks::default()), want, "{text}");
        }
    }

    #[test]
    fn a_range_tells_how_much_has_arrived() {
        for (text, want) in [
            ("0-0", Some(1)),
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            (" 0-9 ", Some(10)),
            ("1-9", None),
            ("0-", None),
            ("0--1", None),
            ("9", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            assert_eq!(received(&headers), want, "{text}");
        }
        assert_eq!(received(&HeaderMap::new()), None);
    }
}
