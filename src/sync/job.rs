//! Jobs: what a configuration's sync entries ask for.

use std::sync::Arc;
use std::time::Duration;

use crate::oci::{Location, NameError, Reference, Repository, Tag};
use crate::select::Filter;
use crate::store::{Sink, Source};

/// One sync entry: from where, to where, what of it, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Names the job in logs and reports; unique in a configuration.
    pub name: String,
    /// What is copied.
    pub scope: Scope,
    /// How.
    pub policy: Policy,
}

/// What a job copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One image, which may have another name at the target.
    Image {
        /// The tag or digest to copy.
        source: Reference,
        /// The tag to write.
        target: Reference,
    },
    /// The tags of a repository, under their own names.
    Repository {
        /// The repository to copy from.
        source: Reference,
        /// The repository to copy to.
        target: Reference,
        /// Which tags.
        tags: Filter,
    },
    /// The repositories of a registry, under their own names.
    Registry {
        /// The registry, or a directory of layouts.
        source: Location,
        /// Where they go.
        target: Location,
        /// What is put before each repository's name at the target.
        prefix: Repository,
        /// Which repositories.
        repositories: Filter,
        /// Which tags of each.
        tags: Filter,
    },
}

impl Scope {
    /// The store to read from.
    pub fn source(&self) -> &Location {
        match self {
            Self::Image { source, .. } | Self::Repository { source, .. } => &source.location,
            Self::Registry { source, .. } => source,
        }
    }

    /// The store to write to.
    pub fn target(&self) -> &Location {
        match self {
            Self::Image { target, .. } | Self::Repository { target, .. } => &target.location,
            Self::Registry { target, .. } => target,
        }
    }
}

/// How a job copies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Where the image behind a target tag goes before the tag is moved.
    pub backup: Option<Backup>,
    /// Whether signatures, SBOMs and whatever else refers to an image by its
    /// `subject` are copied with it.
    pub referrers: bool,
    /// Copy only tags that the target does not have; leave the others alone
    /// however old they are.
    pub missing_only: bool,
    /// How many pulls of the source are left to others.
    pub rate_limit: Option<RateLimit>,
}

/// A reserve of the pulls that a source allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// No image is begun while the source says that it allows fewer than this.
    pub min: u64,
    /// How long to wait before asking again, unless the source has more sooner.
    pub retry: Duration,
}

impl RateLimit {
    /// The shortest and the usual time between two looks at the limit.
    pub const RETRY: Duration = Duration::from_secs(5 * 60);
}

/// Where an overwritten image is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backup {
    /// Another tag of the target's repository.
    Tag(Tag),
    /// Another repository, which may be in another store.
    Reference(Reference),
}

impl Backup {
    /// The tag that the backup gets.
    pub fn tag(&self) -> Option<Tag> {
        match self {
            Self::Tag(tag) => Some(tag.clone()),
            Self::Reference(reference) => reference.tag_to_write(),
        }
    }

    /// The repository that the backup is kept in, for an image of `target`.
    pub fn repository<'a>(&'a self, target: &'a Repository) -> &'a Repository {
        match self {
            Self::Tag(_) => target,
            Self::Reference(reference) => &reference.repository,
        }
    }
}

/// The open stores that a job works on.
#[derive(Debug, Clone)]
pub struct Stores {
    /// Where images come from.
    pub source: Arc<dyn Source>,
    /// Where they go.
    pub target: Arc<dyn Sink>,
    /// Where backups go; the target unless the policy names another.
    pub backup: Arc<dyn Sink>,
}

/// The target's name for a repository found at the source.
pub(super) fn target_repository(
    prefix: &Repository,
    found: &Repository,
) -> Result<Repository, NameError> {
    prefix.join(found)
}
