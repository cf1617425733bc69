//! What planning says of each tag.

use std::fmt;

use super::job::Readers;
use super::platforms::Choice;
use super::report::{Outcome, TagReport};
use crate::oci::{Digest, MediaType, Repository, Tag, TagOrDigest};
use crate::select::Reason;
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

impl Step {
    /// What the step writes at the target, when it brings `digest`.
    pub(super) fn written(&self, digest: &Digest) -> TagOrDigest {
        let tag = self.to.clone();
        tag.map_or_else(|| digest.clone().into(), Into::into)
    }

    /// What became of it.
    pub(super) fn report(&self, outcome: Outcome, stores: Readers<'_>) -> TagReport {
        let written = match &self.to {
            Some(tag) => tag.clone().into(),
            None => self.from.clone(),
        };
        TagReport {
            source: image_name(stores.source.name(), &self.source, &self.from),
            target: image_name(stores.target.name(), &self.target, &written),
            outcome,
        }
    }
}

/// What should happen to a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Copy what the tag pointed at when it was planned, whatever it points at
    /// by then.
    Copy {
        /// Which part of it.
        choice: Choice,
        /// Why.
        why: Why,
    },
    /// The target has it.
    Unchanged {
        /// What the target has, and should have.
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
    /// The target has the image, but not all the tags about it.
    DigestTags {
        /// How many tags it lacks, or has otherwise.
        missing: usize,
    },
    /// The target has the image; all that it needs is looked for all the same.
    Forced,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing at the target"),
            Self::Changed { from } => write!(f, "changed from {}", from.short()),
            Self::Referrers { missing } => write!(f, "{missing} referrers missing at the target"),
            Self::DigestTags { missing } => {
                write!(f, "{missing} digest tags missing at the target")
            }
            Self::Forced => f.write_str("looked through, as forceRecursive asks"),
        }
    }
}

/// The rule that leaves a tag out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// It is not selected.
    NotSelected(Reason),
    /// Manifests of this type are not copied.
    MediaType(MediaType),
    /// The target has the tag, and only missing ones are copied.
    Present,
    /// The tag lists an image's referrers, which are copied with the image.
    ReferrersTag,
    /// The tag is about an image, and the newest images are wanted.
    AboutImage,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSelected(reason) => reason.fmt(f),
            Self::MediaType(kind) => write!(f, "mediaTypes does not list {kind}"),
            Self::Present => f.write_str("present at the target"),
            Self::AboutImage => f.write_str("about an image, and none itself"),
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
