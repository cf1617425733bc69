//! Manifests: reading, pushing, deleting.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::answer::{Answer, CONTENT_DIGEST, Code, Failure, content, empty, value};
use super::body::Pieces;
use super::server::Registry;
use crate::oci::{
    Digest, MAX_MANIFEST_SIZE, Manifest, ManifestError, MediaType, Repository, TagOrDigest,
};
use crate::store::ErrorKind;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Registry {
    /// end-3: OCI distribution-spec 1.1, "Pulling manifests". What is stored
    /// is served whatever `Accept` says, since nothing is ever converted.
    pub(super) async fn get_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
        parts: &Parts,
    ) -> Answer {
        let Some(digest) = self.store.resolve(repo, reference).await? else {
            return Err(self.no_manifest(repo, reference).await);
        };
        if let Some(answer) = not_modified(&parts.headers, &digest) {
            return Ok(answer);
        }
        let manifest = match self.store.manifest(repo, &digest).await {
            // Deleted since it was resolved.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.no_manifest(repo, reference).await);
            }
            manifest => manifest?,
        };
        let body = match parts.method == Method::HEAD {
            true => Body::empty(),
            false => Body::from(manifest.bytes().clone()),
        };
        let headers = [
            (CONTENT_TYPE, value(manifest.media_type().as_str())),
            (CONTENT_DIGEST, value(digest.as_str())),
            (ETAG, etag(&digest)),
        ];
        Ok(content(body, manifest.size(), headers))
    }

    /// end-7: OCI distribution-spec 1.1, "Pushing Manifests".
    pub(super) async fn put_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
        parts: &Parts,
        body: Pieces,
    ) -> Answer {
        let bytes = body.collect(MAX_MANIFEST_SIZE).await?;
        let content_type = content_type(&parts.headers)?;
        let manifest = match reference {
            TagOrDigest::Tag(_) => Manifest::parse(bytes, content_type.as_ref()),
            TagOrDigest::Digest(digest) => Manifest::verified(bytes, digest, content_type.as_ref()),
        };
        let manifest = manifest.map_err(|error| invalid(&error))?;
        self.check_blobs(repo, &manifest).await?;
        let tag = match reference {
            TagOrDigest::Tag(tag) => Some(tag),
            TagOrDigest::Digest(_) => None,
        };
        self.store.put_manifest(repo, &manifest, tag).await?;
        let digest = manifest.digest();
        let headers = [
            (LOCATION, value(format!("/v2/{repo}/manifests/{digest}"))),
            (CONTENT_DIGEST, value(digest.as_str())),
        ];
        let mut answer = empty(StatusCode::CREATED, headers);
        if let Some(subject) = manifest.subject() {
            // Tells the client that it need not keep a referrers tag.
            let subject = value(subject.digest.as_str());
            answer.headers_mut().insert(SUBJECT, subject);
        }
        Ok(answer)
    }

    /// end-9: OCI distribution-spec 1.1, "Deleting tags", "Deleting Manifests".
    pub(super) async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Answer {
        match self.store.delete_manifest(repo, reference).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(self.no_manifest(repo, reference).await)
            }
            deleted => {
                deleted?;
                Ok(empty(StatusCode::ACCEPTED, []))
            }
        }
    }

    /// An image's blobs have to be there. An index's manifests need not: an
    /// index of which only some platforms are mirrored is legal.
    async fn check_blobs(&self, repo: &Repository, manifest: &Manifest) -> Result<(), Failure> {
        let kept = manifest
            .blobs()
            .filter(|blob| !blob.media_type.is_nondistributable());
        for blob in kept {
            if self.store.blob_size(repo, &blob.digest).await?.is_none() {
                let message = format!("blob {} has to be pushed first", blob.digest);
                let failure = Failure::missing(Code::ManifestBlobUnknown, message);
                return Err(failure.about(&blob.digest));
            }
        }
        Ok(())
    }

    async fn no_manifest(&self, repo: &Repository, reference: &TagOrDigest) -> Failure {
        let what = format!("manifest {reference}");
        self.missing(repo, Code::ManifestUnknown, &what).await
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<MediaType>, Failure> {
    let Some(text) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = text.to_str().map_err(|_| {
        Failure::bad(
            Code::ManifestInvalid,
            "the Content-Type is not visible ASCII",
        )
    })?;
    Ok(Some(MediaType::new(text)))
}

fn invalid(error: &ManifestError) -> Failure {
    let message = error.to_string();
    match error {
        ManifestError::Digest { expected, .. } => {
            Failure::bad(Code::DigestInvalid, message).about(expected)
        }
        ManifestError::TooLarge(_) => {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, message)
        }
        _ => Failure::bad(Code::ManifestInvalid, message),
    }
}

/// The digest as an entity tag: RFC 9110, section 8.8.3.
pub(super) fn etag(digest: &Digest) -> HeaderValue {
    value(format!("\"{digest}\""))
}

/// 304 when the client has `digest` already: RFC 9110, section 13.1.2.
pub(super) fn not_modified(headers: &HeaderMap, digest: &Digest) -> Option<Response> {
    let known = headers.get(IF_NONE_MATCH)?.to_str().ok()?;
    let has_it = known.split(',').any(|tag| {
        let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
        tag == digest.as_str()
    });
    has_it.then(|| {
        let headers = [
            (ETAG, etag(digest)),
            (CONTENT_DIGEST, value(digest.as_str())),
        ];
        let mut answer = empty(StatusCode::NOT_MODIFIED, headers);
        answer.headers_mut().remove(CONTENT_LENGTH);
        answer
    })
}
