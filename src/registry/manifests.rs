//! Manifests: end-2 (HEAD and GET), end-7 and end-9 of the distribution-spec.

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use super::auth::Scopes;
use super::client::{Inner, Redirects, accept_manifests};
use super::failure::Failure;
use super::operation;
use crate::http::{Payload, Request, Response};
use crate::oci::{Digest, MAX_MANIFEST_SIZE, Manifest, MediaType, Repository, Tag, TagOrDigest};
use crate::store::ErrorKind;

impl Inner {
    /// One HEAD, which no registry counts as a pull. Where HEAD does not tell,
    /// one GET, whose bytes decide.
    pub(super) async fn resolve(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, Failure> {
        if self.options.without_head {
            return self.resolve_by_get(repo, reference).await;
        }
        let (head, permit) = self.ask(Method::HEAD, repo, reference).await?;
        match head.status().as_u16() {
            200 => {
                if let Some(digest) = stated_digest(&head) {
                    return agreed(reference, digest).map(Some);
                }
                if let TagOrDigest::Digest(digest) = reference {
                    return Ok(Some(digest.clone()));
                }
            }
            404 => return Ok(None),
            // ECR and JFrog answer some HEADs so whose GET works.
            400 | 403 | 405 => {}
            _ => return Err(Failure::of(head).await),
        }
        // Its turn would never come if this one still held a place.
        drop((head, permit));
        self.resolve_by_get(repo, reference).await
    }

    /// As [`resolve`](Self::resolve), without trust in a HEAD that finds
    /// nothing: Nexus may answer 404 to it and 200 to a GET.
    pub(super) async fn find(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, Failure> {
        match self.resolve(repo, reference).await? {
            None => self.resolve_by_get(repo, reference).await,
            found => Ok(found),
        }
    }

    async fn resolve_by_get(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, Failure> {
        let (found, _permit) = self.ask(Method::GET, repo, reference).await?;
        match found.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(Failure::of(found).await),
        }
        let kind = content_type(&found);
        if kind.as_ref().is_some_and(MediaType::is_schema1) {
            return Err(crate::oci::ManifestError::Schema1.into());
        }
        let bytes = found.bytes(MAX_MANIFEST_SIZE).await?;
        match reference {
            // Nothing vouches for these bytes: a page for browsers is no tag.
            TagOrDigest::Tag(_) => {
                let manifest = Manifest::parse(bytes, kind.as_ref())?;
                Ok(Some(manifest.digest().clone()))
            }
            TagOrDigest::Digest(digest) => {
                agreed(reference, Digest::of(digest.algorithm(), &bytes)).map(Some)
            }
        }
    }

    pub(super) async fn manifest(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<Manifest, Failure> {
        if let Some(manifest) = self.cache.manifest(repo, digest) {
            return Ok(manifest);
        }
        let reference = digest.clone().into();
        let (response, _permit) = self.ask(Method::GET, repo, &reference).await?;
        if response.status() != StatusCode::OK {
            return Err(Failure::of(response).await);
        }
        let kind = content_type(&response);
        let bytes = response.bytes(MAX_MANIFEST_SIZE).await?;
        let manifest = Manifest::verified(bytes, digest, kind.as_ref())?;
        self.cache.keep_manifest(repo, &manifest);
        Ok(manifest)
    }

    /// What a tag points at, its digest not known beforehand. `None` when
    /// there is none.
    pub(super) async fn tagged(
        &self,
        repo: &Repository,
        tag: &Tag,
    ) -> Result<Option<(Bytes, Option<MediaType>)>, Failure> {
        let (response, _permit) = self.ask(Method::GET, repo, &tag.clone().into()).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(Failure::of(response).await),
        }
        let kind = content_type(&response);
        Ok(Some((response.bytes(MAX_MANIFEST_SIZE).await?, kind)))
    }

    pub(super) async fn put_manifest(
        &self,
        repo: &Repository,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), Failure> {
        let by_digest = manifest.digest().clone().into();
        let Some(subject) = manifest.subject() else {
            return match tag {
                Some(tag) => self.put_tag(repo, tag, manifest).await,
                None => self.put(repo, &by_digest, manifest).await.map(drop),
            };
        };
        // The tag comes last here as well: once it is there, nobody looks
        // whether the referrer is on its list.
        let response = self.put(repo, &by_digest, manifest).await?;
        // A registry that lists referrers says so here; for any other, the
        // client keeps the list.
        if !response.headers().contains_key("oci-subject") {
            let added = manifest.referrer_descriptor();
            self.add_referrer(repo, &subject.digest, &added).await?;
        }
        match tag {
            Some(tag) => self.put_tag(repo, tag, manifest).await,
            None => Ok(()),
        }
    }

    /// Points `tag` at the manifest, and makes sure that it does.
    async fn put_tag(
        &self,
        repo: &Repository,
        tag: &Tag,
        manifest: &Manifest,
    ) -> Result<(), Failure> {
        let sent = manifest.digest();
        let reference = tag.clone().into();
        let response = match self.put(repo, &reference, manifest).await {
            Ok(response) => response,
            Err(failure) if is_immutable(&failure) => {
                let text = format!("the registry does not let tag {tag} be moved to {sent}");
                return Err(failure.with_kind(ErrorKind::Refused).explained(&text));
            }
            Err(failure) => return Err(failure),
        };
        // One that told has been compared.
        let told = stated_digest(&response);
        drop(response);
        if told.is_some_and(|told| told.algorithm() == sent.algorithm()) {
            return Ok(());
        }
        match self.resolve(repo, &reference).await {
            Ok(Some(found)) if found.algorithm() != sent.algorithm() || found == *sent => Ok(()),
            Ok(found) => {
                let found = found.map_or("nothing".to_owned(), |found| found.to_string());
                let text = format!(
                    "the registry took {sent}, but its tag {tag} points at {found} afterwards"
                );
                Err(Failure::new(ErrorKind::Corrupt, text))
            }
            // The manifest was taken. Who may write need not be able to read.
            Err(failure) => {
                tracing::warn!(%repo, %tag, error = failure.text(), "the tag could not be verified");
                Ok(())
            }
        }
    }

    /// Stores the bytes of `manifest` and nothing else.
    pub(super) async fn put(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
        manifest: &Manifest,
    ) -> Result<Response, Failure> {
        self.cache.forget(repo);
        let kind = HeaderValue::from_str(manifest.media_type().as_str())
            .map_err(|error| Failure::new(ErrorKind::Malformed, error))?;
        let url = self.url(repo, &format!("manifests/{reference}"))?;
        let request = Request::new(operation::MANIFEST, Method::PUT, url)
            .header(CONTENT_TYPE, kind)
            .payload(Payload::Bytes(manifest.bytes().clone()));
        let (response, _permit) = self
            .send(request, &Scopes::push(repo), Redirects::Within)
            .await?;
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let text = format!(
                "the manifest has {} bytes, too many for it",
                manifest.size()
            );
            return Err(Failure::of(response).await.explained(&text));
        }
        if !response.status().is_success() {
            return Err(Failure::of(response).await);
        }
        let sent = manifest.digest();
        match stated_digest(&response) {
            Some(stored) if stored.algorithm() == sent.algorithm() && stored != *sent => {
                Err(Failure::new(
                    ErrorKind::Corrupt,
                    format!("the registry stored {stored} instead of {sent}"),
                ))
            }
            _ => Ok(response),
        }
    }

    pub(super) async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(), Failure> {
        self.cache.forget(repo);
        // Where the client keeps the lists of referrers, it has to know whose
        // list this manifest is on before it is gone.
        let subject = match reference {
            TagOrDigest::Tag(_) => None,
            TagOrDigest::Digest(digest) => match self.manifest(repo, digest).await {
                Ok(manifest) => manifest.subject().map(|subject| subject.digest.clone()),
                // Gone, or nothing that has a subject: it can be deleted.
                Err(failure)
                    if matches!(
                        failure.kind,
                        ErrorKind::NotFound
                            | ErrorKind::Schema1
                            | ErrorKind::Malformed
                            | ErrorKind::Corrupt
                    ) =>
                {
                    None
                }
                Err(failure) => return Err(failure),
            },
        };
        self.delete(operation::MANIFEST, repo, &format!("manifests/{reference}"))
            .await?;
        match (subject, reference) {
            (Some(subject), TagOrDigest::Digest(digest)) => {
                self.remove_referrer(repo, &subject, digest).await
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn delete(
        &self,
        operation: &'static str,
        repo: &Repository,
        rest: &str,
    ) -> Result<(), Failure> {
        let request = Request::new(operation, Method::DELETE, self.url(repo, rest)?);
        let (response, _permit) = self
            .send(request, &Scopes::delete(repo), Redirects::Within)
            .await?;
        match response.status().as_u16() {
            200 | 202 | 204 => Ok(()),
            // Older registries say so of deletion in general, or by tag.
            400 => Err(Failure::of(response)
                .await
                .with_kind(ErrorKind::Unsupported)),
            _ => Err(Failure::of(response).await),
        }
    }

    async fn ask(
        &self,
        method: Method,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(Response, crate::http::Permit), Failure> {
        let url = self.url(repo, &format!("manifests/{reference}"))?;
        let request = match method == Method::GET {
            true => Request::new(operation::MANIFEST, method, url).whole(MAX_MANIFEST_SIZE),
            false => Request::new(operation::MANIFEST, method, url),
        };
        let request = accept_manifests(request);
        self.send(request, &Scopes::pull(repo), Redirects::Anywhere)
            .await
    }
}

/// Whether a tag was refused because it exists and may not be moved: Harbor
/// answers 412, others 409, ECR 400 and Docker Hub 403 with a text that tells.
fn is_immutable(failure: &Failure) -> bool {
    match failure.status.map(|status| status.as_u16()) {
        Some(409 | 412) => true,
        Some(400 | 403) => {
            let said = failure.text().to_ascii_lowercase();
            ["immutab", "already exists", "alreadyexists", "overwrit"]
                .iter()
                .any(|word| said.contains(word))
        }
        _ => false,
    }
}

/// The digest that the registry says the manifest has. One of an algorithm
/// that cannot be verified here is none.
fn stated_digest(response: &Response) -> Option<Digest> {
    response
        .text_header("docker-content-digest")?
        .trim()
        .parse()
        .ok()
}

pub(super) fn content_type(response: &Response) -> Option<MediaType> {
    response
        .text_header(CONTENT_TYPE.as_str())
        .map(MediaType::new)
}

/// `seen`, unless something else was asked for.
fn agreed(asked: &TagOrDigest, seen: Digest) -> Result<Digest, Failure> {
    match asked {
        // By another algorithm it may name the same bytes.
        TagOrDigest::Digest(digest) if digest.algorithm() != seen.algorithm() => Ok(digest.clone()),
        TagOrDigest::Digest(digest) if *digest != seen => Err(Failure::new(
            ErrorKind::Corrupt,
            format!("expected digest {digest}, seen {seen}"),
        )),
        _ => Ok(seen),
    }
}
