//! Pushing blobs.

use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::answer::{Answer, CONTENT_DIGEST, Code, Failure, empty, value};
use super::body::Pieces;
use super::query::Query;
use super::server::Registry;
use super::sessions::Claim;
use crate::oci::{Descriptor, Digest, MediaType, Repository};
use crate::store::{ErrorKind, Upload};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Registry {
    /// end-4 and end-11: OCI distribution-spec 1.1, "Pushing blobs", "Mounting
    /// a blob from another repository".
    pub(super) async fn begin_upload(
        &self,
        repo: &Repository,
        query: &Query,
        mut body: Pieces,
    ) -> Answer {
        if let Some(digest) = query.get("digest") {
            let digest = parse_digest(digest)?;
            let mut upload = self.store.begin_upload(repo).await?;
            while let Some(piece) = body.next().await? {
                upload.write(piece).await?;
            }
            return finish(repo, upload, &digest).await;
        }
        if let Some(digest) = query.get("mount") {
            let digest = parse_digest(digest)?;
            // Without `from` nothing is searched: what a client may mount from
            // is for whoever stands before this registry to decide.
            if let Some(from) = query.get("from")
                && self.mount(repo, &digest, from).await?
            {
                return Ok(created(repo, &digest));
            }
        }
        let upload = self.store.begin_upload(repo).await?;
        let id = self.sessions.insert(repo, upload)?;
        Ok(progress(StatusCode::ACCEPTED, repo, &id, 0))
    }

    async fn mount(&self, repo: &Repository, digest: &Digest, from: &str) -> Result<bool, Failure> {
        // A mount that cannot be done is an upload like any other.
        let Ok(from) = from.parse() else {
            return Ok(false);
        };
        let Some(size) = self.store.blob_size(&from, digest).await? else {
            return Ok(false);
        };
        let blob = Descriptor::new(MediaType::OCTET_STREAM, digest.clone(), size);
        Ok(self.store.mount_blob(repo, &blob, &from).await?)
    }

    /// end-13: OCI distribution-spec 1.1, "Pushing a blob in chunks".
    pub(super) async fn upload_status(&self, repo: &Repository, id: &str) -> Answer {
        let claim = self.sessions.claim(repo, id).await?;
        let received = claim.received();
        Ok(progress(StatusCode::NO_CONTENT, repo, id, received))
    }

    /// end-5: a chunk, or without `Content-Range` all that is left.
    pub(super) async fn continue_upload(
        &self,
        repo: &Repository,
        id: &str,
        parts: &Parts,
        body: Pieces,
    ) -> Answer {
        let mut claim = self.sessions.claim(repo, id).await?;
        take(repo, &mut claim, &parts.headers, body).await?;
        Ok(progress(StatusCode::ACCEPTED, repo, id, claim.received()))
    }

    /// end-6: the end of an upload, with or without a last chunk.
    pub(super) async fn finish_upload(
        &self,
        repo: &Repository,
        id: &str,
        query: &Query,
        parts: &Parts,
        body: Pieces,
    ) -> Answer {
        let mut claim = self.sessions.claim(repo, id).await?;
        let digest = query.get("digest").ok_or_else(|| {
            Failure::bad(Code::DigestInvalid, "the query lacks the blob's digest")
        })?;
        let digest = parse_digest(digest)?;
        take(repo, &mut claim, &parts.headers, body).await?;
        finish(repo, claim.take()?, &digest).await
    }

    /// end-14: OCI distribution-spec after 1.1.1, "Cancel a blob upload".
    pub(super) fn cancel_upload(&self, repo: &Repository, id: &str) -> Answer {
        self.sessions.remove(repo, id)?;
        Ok(empty(StatusCode::NO_CONTENT, []))
    }
}

/// Writes a request's body to its upload. What has arrived stays when the body
/// breaks off, and the client can go on from there.
async fn take(
    repo: &Repository,
    claim: &mut Claim<'_>,
    headers: &HeaderMap,
    mut body: Pieces,
) -> Result<(), Failure> {
    let mut left = None;
    if let Some(text) = headers.get(CONTENT_RANGE) {
        let (start, length) = chunk(text.to_str().unwrap_or_default())?;
        if start != claim.received() {
            let message = format!("expected the chunk at {}", claim.received());
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let state = progress(status, repo, claim.id(), claim.received());
            return Err(Failure::new(status, Code::RangeInvalid, message)
                .with_headers(state.headers().clone()));
        }
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|text| text.to_str().ok());
        if announced.is_some_and(|announced| announced != length.to_string()) {
            return Err(wrong_length());
        }
        left = Some(length);
    }
    while let Some(piece) = body.next().await? {
        if let Some(left) = &mut left {
            let length = piece.len() as u64;
            *left = left.checked_sub(length).ok_or_else(wrong_length)?;
        }
        claim.write(piece).await?;
    }
    match left {
        None | Some(0) => Ok(()),
        Some(_) => Err(wrong_length()),
    }
}

/// Where a chunk starts and how long it is, from `<first>-<last>`. There is no
/// unit and no total, unlike RFC 9110: OCI distribution-spec 1.1, "Pushing a
/// blob in chunks".
fn chunk(text: &str) -> Result<(u64, u64), Failure> {
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    text.split_once('-')
        .and_then(|(first, last)| Some((number(first)?, number(last)?)))
        .and_then(|(first, last)| Some((first, last.checked_sub(first)?.checked_add(1)?)))
        .ok_or_else(|| {
            let message = "Content-Range has to be FIRST-LAST";
            Failure::bad(Code::BlobUploadInvalid, message)
        })
}

fn wrong_length() -> Failure {
    Failure::bad(
        Code::SizeInvalid,
        "the body is not as long as Content-Range says",
    )
}

async fn finish(repo: &Repository, upload: Box<dyn Upload>, digest: &Digest) -> Answer {
    match upload.finish(digest).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let message = "what was uploaded has another digest";
            Err(Failure::bad(Code::DigestInvalid, message).about(digest))
        }
        finished => {
            finished?;
            Ok(created(repo, digest))
        }
    }
}

fn parse_digest(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|error: crate::oci::DigestError| {
        Failure::bad(Code::DigestInvalid, error.to_string())
    })
}

fn created(repo: &Repository, digest: &Digest) -> Response {
    let headers = [
        (LOCATION, value(format!("/v2/{repo}/blobs/{digest}"))),
        (CONTENT_DIGEST, value(digest.as_str())),
    ];
    empty(StatusCode::CREATED, headers)
}

/// How far an upload is. `Range` names the last byte, so that it cannot tell
/// nothing from one byte: both are `0-0`, as docker/distribution has it.
fn progress(status: StatusCode, repo: &Repository, id: &str, received: u64) -> Response {
    let headers = [
        (LOCATION, value(format!("/v2/{repo}/blobs/uploads/{id}"))),
        (RANGE, value(format!("0-{}", received.saturating_sub(1)))),
        (UPLOAD_ID, value(id)),
    ];
    empty(status, headers)
}
