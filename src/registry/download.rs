//! A blob's body, which goes on when the connection breaks.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use tracing::debug;

use super::auth::Scopes;
use super::client::{Inner, Redirects};
use super::failure::Failure;
use super::operation::BLOB;
use crate::http::{Class, HttpError, Permit, Request};
use crate::oci::{Descriptor, Repository};
use crate::store::{BlobStream, ErrorKind, StoreError};

/// How often in a row a body may break off without a byte having come.
const CUTS: u32 = 3;

type Body = BoxStream<'static, Result<Bytes, HttpError>>;

/// Begins to read a blob at byte `offset`. The bytes are not verified yet.
pub(super) async fn open(
    registry: Arc<Inner>,
    repo: &Repository,
    blob: &Descriptor,
    offset: u64,
) -> Result<BlobStream, StoreError> {
    // One place for the whole body: whoever reads on after a cut while holding
    // a place to write must not have to wait for one to read.
    let permit = registry.http.permit(Class::Read).await;
    let mut download = Download {
        registry,
        repo: repo.clone(),
        blob: blob.clone(),
        permit,
        body: None,
        position: offset,
        opened: offset,
        restarted: false,
        cuts: 0,
    };
    let body = download
        .open_on()
        .await
        .map_err(|failure| download.error(failure))?;
    download.body = Some(body);
    let stream = stream::try_unfold(download, |mut download| async move {
        let chunk = download
            .next()
            .await
            .map_err(|failure| download.error(failure))?;
        Ok(chunk.map(|chunk| (chunk, download)))
    });
    Ok(stream.boxed())
}

struct Download {
    registry: Arc<Inner>,
    repo: Repository,
    blob: Descriptor,
    permit: Permit,
    body: Option<Body>,
    /// Where in the blob the next byte belongs.
    position: u64,
    /// Where it stood when the body was opened.
    opened: u64,
    /// It was read from its beginning, since reading on failed.
    restarted: bool,
    /// How many bodies in a row broke off before their first byte.
    cuts: u32,
}

impl Download {
    /// The next piece; `None` at the end of the blob, or after it.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.open_on().await?,
            };
            let cut = match body.next().await {
                Some(Ok(chunk)) => {
                    self.position += chunk.len() as u64;
                    self.body = Some(body);
                    return Ok(Some(chunk));
                }
                // All is there. What comes after it, a broken connection
                // included, is of no interest.
                _ if self.position >= self.blob.size => return Ok(None),
                Some(Err(error)) => error.to_string(),
                None => "the connection was closed".to_owned(),
            };
            self.cuts = match self.position > self.opened {
                true => 0,
                false => self.cuts + 1,
            };
            let place = format!(
                "broke off after {} of {} bytes",
                self.position, self.blob.size
            );
            if self.cuts >= CUTS {
                let text = format!("{place}, {CUTS} times without progress: {cut}");
                return Err(Failure::new(ErrorKind::Unavailable, text));
            }
            debug!(blob.digest = %self.blob.digest, "reading on: {place}: {cut}");
            if self.cuts > 0 {
                // Where nothing is repeated, there is no wait.
                self.registry.http.pause(self.cuts).await;
            }
        }
    }

    /// The body from where it stands. A server that cannot go on there is asked
    /// for the whole, once.
    async fn open_on(&mut self) -> Result<Body, Failure> {
        let stands = self.position;
        self.opened = stands;
        let failure = match self.open_at(stands).await? {
            Opened::Here(body) => return Ok(body),
            Opened::Elsewhere(failure) => failure,
        };
        if self.restarted {
            return Err(failure);
        }
        self.restarted = true;
        debug!(
            blob.digest = %self.blob.digest,
            "reading from the beginning: {}",
            failure.text(),
        );
        match self.open_at(0).await? {
            Opened::Here(body) => Ok(skipping(body, stands)),
            Opened::Elsewhere(failure) => Err(failure),
        }
    }

    /// The body from `offset` on. Always asks the registry: a signed URL of
    /// its storage may have expired.
    async fn open_at(&mut self, offset: u64) -> Result<Opened, Failure> {
        let url = self
            .registry
            .url(&self.repo, &format!("blobs/{}", self.blob.digest))?;
        let mut request = Request::new(BLOB, Method::GET, url);
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-"))
                .expect("digits may stand in a header");
            request = request.header(RANGE, range);
        }
        let scopes = Scopes::pull(&self.repo);
        let response = self
            .registry
            .send_with(&self.permit, request, &scopes, Redirects::Anywhere)
            .await?;
        let size = self.blob.size;
        match response.status().as_u16() {
            200 => {
                if let Some(length) = response.content_length().filter(|length| *length != size) {
                    return Err(Failure::new(
                        ErrorKind::Corrupt,
                        format!("it has {length} bytes there, but should have {size}"),
                    ));
                }
                // From the beginning, although a part was asked for.
                Ok(Opened::Here(skipping(response.into_stream(), offset)))
            }
            206 if offset > 0 => {
                let range = response
                    .text_header(CONTENT_RANGE.as_str())
                    .unwrap_or_default();
                if is_rest(range, offset, size) {
                    return Ok(Opened::Here(response.into_stream()));
                }
                Ok(Opened::Elsewhere(Failure::new(
                    ErrorKind::Malformed,
                    format!(
                        "asked for the bytes from {offset} on, the answer is {:?}",
                        crate::http::printable(range, 100)
                    ),
                )))
            }
            416 if offset > 0 => Ok(Opened::Elsewhere(Failure::new(
                ErrorKind::Corrupt,
                format!("it ends after {offset} bytes there, but should have {size}"),
            ))),
            _ => Err(Failure::of(response).await),
        }
    }

    fn error(&self, failure: Failure) -> StoreError {
        let subject = self
            .registry
            .image(&self.repo, &self.blob.digest.clone().into());
        failure.at("read blob", subject)
    }
}

/// What comes of asking for the bytes from some place on.
enum Opened {
    /// These bytes.
    Here(Body),
    /// Others, or none.
    Elsewhere(Failure),
}

/// Whether `Content-Range: bytes START-END/SIZE` is of the bytes from `start`
/// on, of a whole of `size` (RFC 9110, section 14.4). They may end sooner: what
/// is missing is asked for then.
fn is_rest(header: &str, start: u64, size: u64) -> bool {
    let parts = header.trim().strip_prefix("bytes ").and_then(|text| {
        let (range, whole) = text.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.trim(), last.trim(), whole.trim()))
    });
    let Some((first, last, whole)) = parts else {
        return false;
    };
    let last = last.parse().ok();
    first.parse() == Ok(start)
        && last.is_some_and(|last| (start..size).contains(&last))
        && (whole == "*" || whole.parse() == Ok(size))
}

/// `body` without its first `count` bytes.
fn skipping(body: Body, count: u64) -> Body {
    if count == 0 {
        return body;
    }
    let rest = body.scan(count, |left, chunk| {
        let chunk = chunk.map(|mut chunk| {
            let skipped = usize::try_from(*left)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            *left -= skipped as u64;
            chunk.split_off(skipped)
        });
        std::future::ready(Some(chunk))
    });
    // An empty piece would count as progress.
    rest.filter(|chunk| std::future::ready(!matches!(chunk, Ok(chunk) if chunk.is_empty())))
        .boxed()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[test]
    fn b7_only_the_asked_part_of_the_same_whole_counts() {
        for (header, fits) in [
            ("bytes 5-9/10", true),
            ("bytes 5-9/*", true),
            ("bytes 5-7/10", true),
            ("bytes 4-9/10", false),
            ("bytes 6-9/10", false),
            ("bytes 0-9/10", false),
            ("bytes 5-10/10", false),
            ("bytes 5-10/*", false),
            ("bytes 5-4/10", false),
            ("bytes 5-9/11", false),
            ("bytes */10", false),
            ("5-9/10", false),
            ("bytes 5-9", false),
            ("", false),
        ] {
            assert_eq!(is_rest(header, 5, 10), fits, "{header}");
        }
    }

    #[tokio::test]
    async fn bytes_that_were_had_before_are_skipped() {
        for count in 0..=6 {
            let chunks = ["ab", "", "cde", "f"].map(|text| Ok(Bytes::from(text)));
            let rest: Vec<_> = skipping(stream::iter(chunks).boxed(), count)
                .try_collect()
                .await
                .unwrap();
            let at = usize::try_from(count).unwrap();
            assert_eq!(rest.concat(), b"abcdef"[at..], "{count}");
            assert!(count == 0 || rest.iter().all(|chunk| !chunk.is_empty()));
        }
    }
}
