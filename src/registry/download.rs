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
use crate::http::{Class, HttpError, Permit, Request};
use crate::oci::{Descriptor, Repository};
use crate::store::{BlobStream, ErrorKind, StoreError};

/// How often in a row a body may break off without a byte having come.
const CUTS: u32 = 3;

type Body = BoxStream<'static, Result<Bytes, HttpError>>;

/// Begins to read a blob. The bytes are not verified yet.
pub(super) async fn open(
    registry: Arc<Inner>,
    repo: &Repository,
    blob: &Descriptor,
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
        position: 0,
        cuts: 0,
    };
    let body = download
        .open_at(0)
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
    /// How many bytes have been given on.
    position: u64,
    /// How often it broke off since the last byte.
    cuts: u32,
}

impl Download {
    /// The next piece; `None` at the end of the blob, or after it.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.open_at(self.position).await?,
            };
            let cut = match body.next().await {
                Some(Ok(chunk)) => {
                    self.position += chunk.len() as u64;
                    self.cuts = 0;
                    self.body = Some(body);
                    return Ok(Some(chunk));
                }
                // All is there. What comes after it, a broken connection
                // included, is of no interest.
                _ if self.position >= self.blob.size => return Ok(None),
                Some(Err(error)) => error.to_string(),
                None => "the connection was closed".to_owned(),
            };
            self.cuts += 1;
            let place = format!(
                "broke off after {} of {} bytes",
                self.position, self.blob.size
            );
            if self.cuts >= CUTS {
                let text = format!("{place}, {CUTS} times without progress: {cut}");
                return Err(Failure::new(ErrorKind::Unavailable, text));
            }
            debug!(blob.digest = %self.blob.digest, "reading on: {place}: {cut}");
        }
    }

    /// The body from `offset` on. Always asks the registry: a signed URL of
    /// its storage may have expired.
    async fn open_at(&mut self, offset: u64) -> Result<Body, Failure> {
        let url = self
            .registry
            .url(&self.repo, &format!("blobs/{}", self.blob.digest))?;
        let mut request = Request::new(Method::GET, url);
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
        let corrupt = |text: String| Err(Failure::new(ErrorKind::Corrupt, text));
        match response.status().as_u16() {
            200 => {
                let size = self.blob.size;
                if let Some(length) = response.content_length().filter(|length| *length != size) {
                    return corrupt(format!(
                        "it has {length} bytes there, but should have {size}"
                    ));
                }
                // From the beginning, although a part was asked for.
                Ok(skipping(response.into_stream(), offset))
            }
            206 if offset > 0 => {
                let range = response
                    .text_header(CONTENT_RANGE.as_str())
                    .unwrap_or_default();
                match range_start(range, self.blob.size) {
                    Some(start) if start == offset => Ok(response.into_stream()),
                    _ => Err(Failure::new(
                        ErrorKind::Malformed,
                        format!(
                            "asked for the bytes from {offset} on, the answer is {:?}",
                            crate::http::printable(range, 100)
                        ),
                    )),
                }
            }
            416 if offset > 0 => {
                let size = self.blob.size;
                corrupt(format!(
                    "it ends after {offset} bytes there, but should have {size}"
                ))
            }
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

/// The start of `Content-Range: bytes START-END/SIZE`, if it is of a whole of
/// `size` bytes (RFC 9110, section 14.4).
fn range_start(header: &str, size: u64) -> Option<u64> {
    let (range, whole) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let whole = whole.trim();
    if whole != "*" && whole.parse() != Ok(size) {
        return None;
    }
    range.split_once('-')?.0.trim().parse().ok()
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
    fn only_a_range_of_the_same_whole_counts() {
        for (header, start) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 5-9/*", Some(5)),
            ("bytes 0-9/10", Some(0)),
            ("bytes 5-9/11", None),
            ("bytes */10", None),
            ("5-9/10", None),
            ("bytes 5-9", None),
            ("", None),
        ] {
            assert_eq!(range_start(header, 10), start, "{header}");
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
