//! Blobs: reading all or part of one, deleting.

use std::ops::Range;

use axum::body::Body;
use futures::TryStreamExt;
use http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_RANGE, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::answer::{Answer, CONTENT_DIGEST, Code, Failure, content, empty, value};
use super::manifests::{etag, not_modified};
use super::server::Registry;
use crate::oci::{Digest, Repository};
use crate::store::ErrorKind;

impl Registry {
    /// end-2: OCI distribution-spec 1.1, "Pulling blobs"; ranges as RFC 9110,
    /// section 14, says.
    pub(super) async fn get_blob(
        &self,
        repo: &Repository,
        digest: &Digest,
        parts: &Parts,
    ) -> Answer {
        let Some(size) = self.store.blob_size(repo, digest).await? else {
            return Err(self.no_blob(repo, digest).await);
        };
        if let Some(answer) = not_modified(&parts.headers, digest) {
            return Ok(answer);
        }
        let headers = [
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            ),
            (CONTENT_DIGEST, value(digest.as_str())),
            (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (ETAG, etag(digest)),
        ];
        if parts.method == Method::HEAD {
            return Ok(content(Body::empty(), size, headers));
        }
        let part = match wanted(&parts.headers, digest, size) {
            Wanted::All => None,
            Wanted::Part(range) => Some(range),
            Wanted::Nothing => {
                return Err(Failure::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    Code::RangeInvalid,
                    format!("the blob has {size} bytes"),
                )
                .with_header(CONTENT_RANGE, value(format!("bytes */{size}"))));
            }
        };
        let range = part.clone().unwrap_or(0..size);
        let length = range.end - range.start;
        let body = match self.store.read_blob(repo, digest, range).await {
            // Deleted since its size was asked.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.no_blob(repo, digest).await);
            }
            body => {
                // The status is sent by the time this fails: all that is left
                // is to cut the connection and say why here.
                let subject = format!("{repo}@{digest}");
                Body::from_stream(body?.inspect_err(move |error| {
                    let error = error.one_line();
                    tracing::error!(blob = subject, error, "blob broke off while it was sent");
                }))
            }
        };
        let mut answer = content(body, length, headers);
        if let Some(Range { start, end }) = part {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = value(format!("bytes {start}-{}/{size}", end - 1));
            answer.headers_mut().insert(CONTENT_RANGE, range);
        }
        Ok(answer)
    }

    /// end-10: OCI distribution-spec 1.1, "Deleting Blobs".
    pub(super) async fn delete_blob(&self, repo: &Repository, digest: &Digest) -> Answer {
        match self.store.delete_blob(repo, digest).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(self.no_blob(repo, digest).await)
            }
            deleted => {
                deleted?;
                Ok(empty(StatusCode::ACCEPTED, []))
            }
        }
    }

    async fn no_blob(&self, repo: &Repository, digest: &Digest) -> Failure {
        let what = format!("blob {digest}");
        self.missing(repo, Code::BlobUnknown, &what)
            .await
            .about(digest)
    }
}

/// What of a blob a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// A part that is not empty.
    Part(Range<u64>),
    /// A part that lies beyond the end.
    Nothing,
}

/// Several ranges and what is no range are answered with all of it, which RFC
/// 9110, section 14.2, allows. A range that ends before it begins is refused:
/// the distribution-spec's conformance tests want 416.
fn wanted(headers: &HeaderMap, digest: &Digest, size: u64) -> Wanted {
    let Some(text) = headers.get(RANGE).and_then(|range| range.to_str().ok()) else {
        return Wanted::All;
    };
    if headers
        .get(IF_RANGE)
        .is_some_and(|known| known != etag(digest))
    {
        return Wanted::All;
    }
    let bounds = text
        .strip_prefix("bytes=")
        .and_then(|set| set.trim().split_once('-'));
    let (first, last) = match bounds {
        Some(("", suffix)) => match suffix.parse::<u64>() {
            Ok(length) => (
                size.saturating_sub(length),
                if length == 0 { 0 } else { size },
            ),
            Err(_) => return Wanted::All,
        },
        Some((first, "")) => match first.parse() {
            Ok(first) => (first, size),
            Err(_) => return Wanted::All,
        },
        Some((first, last)) => match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(size)),
            _ => return Wanted::All,
        },
        None => return Wanted::All,
    };
    match first < last {
        true => Wanted::Part(first..last),
        false => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(range: &str, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        wanted(&headers, &Digest::sha256(b""), size)
    }

    #[test]
    fn ranges() {
        for (range, want) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-4", Wanted::Part(2..5)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=9-99", Wanted::Part(9..10)),
            ("bytes=0-18446744073709551615", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-12", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=4-2", Wanted::Nothing),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes", Wanted::All),
            ("lines=0-1", Wanted::All),
        ] {
            assert_eq!(ask(range, 10), want, "{range}");
        }
        assert_eq!(ask("bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn a_part_of_something_else_is_not_continued() {
        let digest = Digest::sha256(b"");
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=1-"));
        headers.insert(IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(wanted(&headers, &digest, 10), Wanted::All);
        headers.insert(IF_RANGE, etag(&digest));
        assert_eq!(wanted(&headers, &digest, 10), Wanted::Part(1..10));
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_blob(
            range in "(bytes=)?[0-9]{0,20}-?[0-9]{0,20}",
            size: u64,
        ) {
            if let Wanted::Part(part) = ask(&range, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
