//! References: where an image is, in the spelling people use.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::name::{MAX_NAME, NameError};
use super::{Digest, DigestError, Host, Repository, Tag};

/// Where repositories live. One store is opened for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// A registry.
    Registry(Host),
    /// An OCI image layout on disk, or a directory of them.
    Layout(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(host) => write!(f, "{host}"),
            Self::Layout(path) => write!(f, "ocidir://{}", path.display()),
        }
    }
}

/// What names a manifest within a repository: the distribution-spec's
/// `<reference>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TagOrDigest {
    /// A name that may move.
    Tag(Tag),
    /// The content itself.
    Digest(Digest),
}

impl TagOrDigest {
    /// The text as it stands in a URL.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Tag> for TagOrDigest {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for TagOrDigest {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// A repository or an image: `host/repo[:tag][@digest]`, Docker Hub's short
/// names, or `ocidir://PATH[:tag][@digest]`.
///
/// The grammar is distribution/reference's: the first component is a host when
/// it has a `.` or a `:`, is `localhost` or has upper case. `ocifile://` is
/// regclient's other name for `ocidir://`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The registry or the directory.
    pub location: Location,
    /// The repository there; unnamed in a layout.
    pub repository: Repository,
    /// The tag, when written.
    pub tag: Option<Tag>,
    /// The digest, when written. It decides; the tag beside it is only a name.
    pub digest: Option<Digest>,
}

impl Reference {
    /// What to pull: the digest if there is one, else the tag, else `latest`.
    pub fn tag_or_digest(&self) -> TagOrDigest {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.clone().into(),
            (None, Some(tag)) => tag.clone().into(),
            (None, None) => Tag::latest().into(),
        }
    }

    /// What to push to: the tag, else `latest` unless a digest stands alone.
    pub fn tag_to_write(&self) -> Option<Tag> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(Tag::latest()),
        }
    }

    fn parse_layout(text: &str, path: &str) -> Result<Self, ReferenceError> {
        let (path, digest) = split_digest(path)?;
        // A colon before a slash belongs to the path.
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.parse()?)),
            _ => (path, None),
        };
        if path.is_empty() || path.contains('\0') {
            return Err(ReferenceError::NoPath(super::digest::excerpt(text)));
        }
        Ok(Self {
            location: Location::Layout(PathBuf::from(path)),
            repository: Repository::unnamed(),
            tag,
            digest,
        })
    }

    fn parse_registry(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = split_digest(text)?;
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (Host::DOCKER_HUB, name),
        };
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (path, None),
        };
        let host: Host = host.parse()?;
        let repository: Repository = if host.is_docker_hub() && !path.contains('/') {
            if path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ReferenceError::BareHex(path.to_owned()));
            }
            format!("library/{path}").parse()?
        } else {
            path.parse()?
        };
        if host.as_str().len() + 1 + repository.as_str().len() > MAX_NAME {
            return Err(ReferenceError::TooLong(super::digest::excerpt(text)));
        }
        Ok(Self {
            location: Location::Registry(host),
            repository,
            tag,
            digest,
        })
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), DigestError> {
    match text.split_once('@') {
        Some((name, digest)) => Ok((name, Some(digest.parse()?))),
        None => Ok((text, None)),
    }
}

fn is_host(component: &str) -> bool {
    component == "localhost"
        || component.contains(['.', ':'])
        || component.bytes().any(|b| b.is_ascii_uppercase())
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.split_once("://") {
            Some(("ocidir" | "ocifile", path)) => Self::parse_layout(text, path),
            Some((scheme, _)) => Err(ReferenceError::Scheme(super::digest::excerpt(scheme))),
            None => Self::parse_registry(text),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            // Only its upper case tells this host from the first part of a
            // name on Docker Hub: `REGISTRY/x` is not `registry/x`.
            Location::Registry(host) if !is_host(host.as_str()) => {
                f.write_str(&host.as_str().to_ascii_uppercase())?;
            }
            location => write!(f, "{location}")?,
        }
        if !self.repository.is_unnamed() {
            write!(f, "/{}", self.repository)?;
        }
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The host, repository or tag is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The digest is malformed.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A scheme that is not `ocidir`.
    #[error(
        "the scheme {0:?} is not known: expected ocidir://PATH, or HOST/REPOSITORY without a scheme"
    )]
    Scheme(String),
    /// A layout without a path.
    #[error("{0:?} names no directory: expected ocidir://PATH[:TAG]")]
    NoPath(String),
    /// 64 hex digits, which Docker reads as an image ID.
    #[error("{0:?} looks like an image ID: write the repository's full name")]
    BareHex(String),
    /// Host and repository are longer than registries take.
    #[error("{0:?} is too long: host and repository may have 255 characters together")]
    TooLong(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a3_short_names_are_docker_hub_s() {
        for (text, full) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("docker.io/alpine", "docker.io/library/alpine"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine"),
            ("team/app", "docker.io/team/app"),
            ("localhost/x", "localhost/x"),
            ("h:5000/x:1", "h:5000/x:1"),
            ("[::1]:5000/x/y:1", "[::1]:5000/x/y:1"),
            ("REGISTRY/x", "REGISTRY/x"),
            ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
            ("ocidir:///data/app:1", "ocidir:///data/app:1"),
            ("ocidir://rel/path", "ocidir://rel/path"),
            ("ocifile://a:b/c", "ocidir://a:b/c"),
        ] {
            assert_eq!(parse(text).to_string(), full);
        }
    }

    #[test]
    fn a4_a_digest_decides_over_the_tag() {
        let digest = Digest::sha256(b"x");
        let reference = parse(&format!("h.io/a:1@{digest}"));
        assert_eq!(reference.tag_or_digest(), digest.clone().into());
        assert_eq!(reference.tag_to_write(), Some("1".parse().unwrap()));
        let bare = parse(&format!("h.io/a@{digest}"));
        assert_eq!(
            (bare.tag_or_digest(), bare.tag_to_write()),
            (digest.into(), None)
        );
        assert_eq!(parse("h.io/a").tag_or_digest(), Tag::latest().into());
    }

    #[test]
    fn a5_what_is_no_reference_is_refused() {
        let hex = "a".repeat(64);
        let long = format!("registry.example.org/{}", "a".repeat(250));
        for text in [
            "",
            "/",
            ":",
            "@",
            "a:",
            "a@",
            "a b",
            "Alpine",
            "h.io/",
            "h.io/A",
            "h.io/a:b:c",
            "h.io/a:../x",
            "h.io/a@sha256:123",
            "https://h.io/a",
            "ocidir://",
            "ocidir://:tag",
            "ocidir://p:.bad",
            &hex,
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn what_is_near_a_reference_never_panics(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn printing_parses_back(
            host in "[a-z]{1,8}\\.[a-z]{2}(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}",
            tag in proptest::option::of("[a-z0-9_][a-z0-9._-]{0,9}"),
            digest in proptest::option::of(any::<Vec<u8>>()),
        ) {
            let mut text = format!("{host}/{path}");
            if let Some(tag) = tag {
                text = format!("{text}:{tag}");
            }
            if let Some(bytes) = digest {
                text = format!("{text}@{}", Digest::sha256(&bytes));
            }
            prop_assert_eq!(parse(&text).to_string(), text);
        }
    }
}
