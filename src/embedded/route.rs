//! What a path names.

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::answer::{Code, Failure};
use crate::oci::{Digest, DigestError, NameError, Repository, TagOrDigest};

/// An endpoint: OCI distribution-spec 1.1, "Endpoints".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`, docker/distribution's extension.
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(Repository),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(Repository, TagOrDigest),
    /// `/v2/<name>/blobs/<digest>`
    Blob(Repository, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<id>`; the id is whatever the client sent.
    Upload(Repository, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Repository, Digest),
}

/// A path that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    #[error("no such endpoint")]
    NoEndpoint,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// What stands for a tag or a digest, and can be neither.
    #[error(transparent)]
    Tag(NameError),
}

impl Route {
    /// Reads a path. Endpoints are told by how a path ends, since names have
    /// any number of parts.
    pub(super) fn parse(path: &str) -> Result<Self, RouteError> {
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| RouteError::NoEndpoint)?;
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some("/_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest.strip_prefix('/').ok_or(RouteError::NoEndpoint)?,
            None => return Err(RouteError::NoEndpoint),
        };
        let (head, last) = rest.rsplit_once('/').ok_or(RouteError::NoEndpoint)?;
        if let Some(name) = head.strip_suffix("/blobs/uploads") {
            let name = name.parse()?;
            return Ok(match last {
                "" => Self::Uploads(name),
                id => Self::Upload(name, id.to_owned()),
            });
        }
        let (name, family) = head.rsplit_once('/').ok_or(RouteError::NoEndpoint)?;
        match (family, last) {
            ("tags", "list") => Ok(Self::Tags(name.parse()?)),
            ("blobs", "uploads") => Ok(Self::Uploads(name.parse()?)),
            ("manifests", last) => Ok(Self::Manifest(name.parse()?, reference(last)?)),
            ("blobs", last) => Ok(Self::Blob(name.parse()?, last.parse()?)),
            ("referrers", last) => Ok(Self::Referrers(name.parse()?, last.parse()?)),
            _ => Err(RouteError::NoEndpoint),
        }
    }

    /// The methods that the endpoint knows, for `Allow`.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Tags(_) | Self::Referrers(..) => "GET, HEAD",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }
}

/// What is no tag has to be a digest: distribution-spec 1.1, "Pulling
/// manifests".
fn reference(text: &str) -> Result<TagOrDigest, RouteError> {
    if text.contains(':') {
        return Ok(TagOrDigest::Digest(text.parse()?));
    }
    text.parse().map(TagOrDigest::Tag).map_err(RouteError::Tag)
}

impl RouteError {
    /// What the client is told, which for a tag that cannot exist depends on
    /// whether it would read or write it.
    pub(super) fn failure(self, method: &Method) -> Failure {
        let message = self.to_string();
        let reads = *method == Method::GET || *method == Method::HEAD;
        let (status, code) = match self {
            Self::NoEndpoint => (StatusCode::NOT_FOUND, Code::Unsupported),
            Self::Name(_) => (StatusCode::BAD_REQUEST, Code::NameInvalid),
            Self::Digest(_) => (StatusCode::BAD_REQUEST, Code::DigestInvalid),
            Self::Tag(_) if reads => (StatusCode::NOT_FOUND, Code::ManifestUnknown),
            Self::Tag(_) => (StatusCode::BAD_REQUEST, Code::ManifestInvalid),
        };
        Failure::new(status, code, message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repo(text: &str) -> Repository {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints() {
        let digest = Digest::sha256(b"");
        let tag = TagOrDigest::Tag("1.4".parse().unwrap());
        for (path, route) in [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags(repo("a/b"))),
            (
                "/v2/a/manifests/1.4".to_owned(),
                Route::Manifest(repo("a"), tag.clone()),
            ),
            (
                format!("/v2/a/manifests/{digest}"),
                Route::Manifest(repo("a"), digest.clone().into()),
            ),
            (
                format!("/v2/a/b/c/blobs/{digest}"),
                Route::Blob(repo("a/b/c"), digest.clone()),
            ),
            (
                format!("/v2/a/blobs/{}", digest.as_str().replace(':', "%3A")),
                Route::Blob(repo("a"), digest.clone()),
            ),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(repo("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(repo("a"))),
            (
                "/v2/a/blobs/uploads/x1".to_owned(),
                Route::Upload(repo("a"), "x1".to_owned()),
            ),
            (
                format!("/v2/a/referrers/{digest}"),
                Route::Referrers(repo("a"), digest.clone()),
            ),
            // Names made of the specification's own words.
            (
                "/v2/blobs/uploads/manifests/1.4".to_owned(),
                Route::Manifest(repo("blobs/uploads"), tag),
            ),
            (
                "/v2/tags/list/tags/list".to_owned(),
                Route::Tags(repo("tags/list")),
            ),
        ] {
            assert_eq!(Route::parse(&path), Ok(route), "{path}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let digest = Digest::sha256(b"");
        for (path, want) in [
            ("/".to_owned(), "endpoint"),
            ("/v1/".to_owned(), "endpoint"),
            ("/v2x".to_owned(), "endpoint"),
            ("/v2/a".to_owned(), "endpoint"),
            ("/v2/a/tags/other".to_owned(), "endpoint"),
            ("/v2/a/%ff/tags/list".to_owned(), "endpoint"),
            ("/v2/A/tags/list".to_owned(), "repository"),
            ("/v2/../tags/list".to_owned(), "repository"),
            ("/v2//tags/list".to_owned(), "repository"),
            ("/v2/%2e%2e/tags/list".to_owned(), "repository"),
            ("/v2/a/manifests/.x".to_owned(), "tag"),
            ("/v2/a/manifests/".to_owned(), "tag"),
            ("/v2/a/manifests/sha256:x".to_owned(), "digest"),
            ("/v2/a/blobs/1.4".to_owned(), "digest"),
            ("/v2/a/referrers/md5:x".to_owned(), "algorithm"),
            (format!("/v2/a/../b/blobs/{digest}"), "repository"),
        ] {
            let error = Route::parse(&path).expect_err(&path).to_string();
            assert!(error.contains(want), "{path}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(path in any::<String>()) {
            let _ = Route::parse(&path);
        }

        #[test]
        fn nor_on_paths_made_of_our_words(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "", "v2", "a", "..", "blobs", "uploads", "manifests", "tags", "list",
                    "referrers", "_catalog", "sha256:", "%2F", "%", "é",
                ]),
                0..9,
            ),
        ) {
            let _ = Route::parse(&format!("/v2/{}", words.join("/")));
            let _ = Route::parse(&words.join("/"));
        }
    }
}
