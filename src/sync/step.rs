//! What planning says of each tag.

use std::fmt;

use crate::oci::{Digest, Repository, Tag, TagOrDigest};
use crate::store::StoreError;

/// One tag of a job: what is there, and what should happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The source's repository.
    pub source: Repository,
    /// What was asked for there.
    pub from: TagOrDigest,
    /// The target's repository.
    pub target: Repository,
    /// The tag to write, or `None` to copy by digest alone.
    pub to: Option<Tag>,
    /// What should happen.
    pub decision: Decision,
}

/// What should happen to a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Copy the manifest with this digest, whatever the source's tag points at
    /// by then.
    Copy {
        /// What the tag pointed at when it was planned.
        digest: Digest,
        /// Why.
        why: Why,
    },
    /// The target has it.
    Unchanged {
        /// What both sides have.
        digest: Digest,
    },
    /// A rule leaves it out.
    Excluded(Exclusion),
}

/// Why a tag is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The target has no such tag.
    Missing,
    /// The target's tag points at something else.
    Changed {
        /// What it points at.
        from: Digest,
    },
    /// The target has the image, but not all that refers to it.
    Referrers {
        /// How many referrers it lacks.
        missing: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing at the target"),
            Self::Changed { from } => write!(f, "changed from {}", from.short()),
            Self::Referrers { missing } => write!(f, "{missing} referrers missing at the target"),
        }
    }
}

/// The rule that leaves a tag out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// No pattern of the allow list matches.
    NotAllowed,
    /// This pattern of the deny list matches.
    Denied(String),
    /// The target has the tag, and only missing ones are copied.
    Present,
    /// The tag lists an image's referrers, which are copied with the image.
    ReferrersTag,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("no allow pattern matches"),
            Self::Denied(pattern) => write!(f, "denied by {pattern}"),
            Self::Present => f.write_str("present at the target"),
            Self::ReferrersTag => f.write_str("lists referrers, which go with their image"),
        }
    }
}

/// Something that could not be planned: a tag, or a whole listing.
#[derive(Debug)]
pub struct Failure {
    /// What it was about, as people write it.
    pub subject: String,
    /// Why.
    pub error: StoreError,
}

/// An image as people write it: `host/repo:tag`, `ocidir://path@digest`.
pub fn image_name(store: &str, repo: &Repository, reference: &TagOrDigest) -> String {
    let separator = match reference {
        TagOrDigest::Tag(_) => ':',
        TagOrDigest::Digest(_) => '@',
    };
    format!("{}{separator}{reference}", repository_name(store, repo))
}

/// A repository as people write it.
pub fn repository_name(store: &str, repo: &Repository) -> String {
    match repo.is_unnamed() {
        true => store.to_owned(),
        false => format!("{store}/{repo}"),
    }
}
