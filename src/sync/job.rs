//! Jobs: what a configuration's sync entries ask for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::backup::Backup;
use super::hooks::Hooks;
use super::referrers::Referrers;
use crate::oci::{Location, MediaType, NameError, Platform, Reference, Repository};
use crate::select::{Filter, Selection};
use crate::store::{ErrorKind, Sink, Source, StoreError};

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
        tags: Selection,
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
        tags: Selection,
    },
}

impl Scope {
    /// What is mirrored and where to, as people write it.
    pub fn ends(&self) -> (String, String) {
        match self {
            Self::Image { source, target } | Self::Repository { source, target, .. } => {
                (source.to_string(), target.to_string())
            }
            Self::Registry {
                source,
                target,
                prefix,
                ..
            } => {
                let below = match prefix.is_unnamed() {
                    true => target.to_string(),
                    false => format!("{target}/{prefix}"),
                };
                (source.to_string(), below)
            }
        }
    }

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where the image behind a target tag goes before the tag is moved.
    pub backup: Option<Backup>,
    /// Which signatures, SBOMs and whatever else refers to an image by its
    /// `subject` are copied with it; `None` are.
    pub referrers: Option<Referrers>,
    /// Whether the tags about an image are copied with it: `sha256-….sig`.
    pub digest_tags: bool,
    /// Whether a target with the right digest is up to date, whatever refers to
    /// it.
    pub fast_check: bool,
    /// Whether all that an image needs is looked for even if the target's tag
    /// has the right digest.
    pub force_recursive: bool,
    /// Whether layers that may not be passed on are.
    pub include_external: bool,
    /// The types of manifests that are copied; others are left out.
    pub media_types: Vec<MediaType>,
    /// Which part of an index is copied.
    pub platforms: Platforms,
    /// Programs that are run around a copy.
    pub hooks: Hooks,
    /// Copy only tags that the target does not have; leave the others alone
    /// however old they are.
    pub missing_only: bool,
    /// How many pulls of the source are left to others.
    pub rate_limit: Option<RateLimit>,
}

impl Policy {
    /// The types of manifests that are copied unless told otherwise.
    pub const MEDIA_TYPES: [MediaType; 4] = [
        MediaType::DOCKER_MANIFEST,
        MediaType::DOCKER_LIST,
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
    ];
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backup: None,
            referrers: None,
            digest_tags: false,
            fast_check: false,
            force_recursive: false,
            include_external: false,
            media_types: Self::MEDIA_TYPES.to_vec(),
            platforms: Platforms::All,
            hooks: Hooks::default(),
            missing_only: false,
            rate_limit: None,
        }
    }
}

/// Which part of an index is copied. What is no index is copied as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// All of it.
    All,
    /// The image for one platform, which the target's tag points at.
    One(Platform),
    /// The images for these platforms, under an index.
    Some {
        /// The platforms.
        platforms: Vec<Platform>,
        /// What becomes of the index.
        index: IndexForm,
    },
}

/// What becomes of an index of which not all is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexForm {
    /// It stays as it is, and lists children that the target does not have.
    Sparse,
    /// Another one takes its place, that lists what was copied. Its digest is
    /// another, so that signatures of the index do not hold for it.
    Rewrite,
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

/// The open stores that a job works on.
#[derive(Debug, Clone)]
pub struct Stores {
    /// Where images come from.
    pub source: Arc<dyn Source>,
    /// Where they go.
    pub target: Arc<dyn Sink>,
    /// Where referrers come from.
    pub referrer_source: Arc<dyn Source>,
    /// Where they go.
    pub referrer_target: Arc<dyn Sink>,
    /// Opens the stores that backups go to.
    pub others: Arc<dyn Open>,
}

/// Opens stores by their place.
pub trait Open: fmt::Debug + Send + Sync {
    /// The store at `location`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, such as for want of a credential.
    fn open(&self, location: &Location) -> Result<Arc<dyn Sink>, StoreError>;
}

/// Opens nothing.
#[derive(Debug, Clone, Copy)]
struct NoOthers;

impl Open for NoOthers {
    fn open(&self, location: &Location) -> Result<Arc<dyn Sink>, StoreError> {
        let subject = location.to_string();
        Err(StoreError::new(ErrorKind::Unsupported, "open", subject))
    }
}

impl Stores {
    /// A source and a target, and no other stores.
    pub fn new(source: Arc<dyn Source>, target: Arc<dyn Sink>) -> Self {
        Self {
            referrer_source: Arc::clone(&source),
            referrer_target: Arc::clone(&target),
            source,
            target,
            others: Arc::new(NoOthers),
        }
    }

    /// What planning sees of them.
    pub fn readers(&self) -> Readers<'_> {
        Readers {
            source: &*self.source,
            target: &*self.target,
            referrer_source: &*self.referrer_source,
            referrer_target: &*self.referrer_target,
        }
    }

    /// The store at `location`, which is often the target.
    pub(super) fn at(&self, location: &Location) -> Result<Arc<dyn Sink>, StoreError> {
        match self.target.name() == location.to_string() {
            true => Ok(Arc::clone(&self.target)),
            false => self.others.open(location),
        }
    }
}

/// The stores that planning reads from. It has nothing that it could write to.
#[derive(Debug, Clone, Copy)]
pub struct Readers<'a> {
    /// Where images come from.
    pub source: &'a (dyn Source + 'static),
    /// Where they go.
    pub target: &'a (dyn Source + 'static),
    /// Where referrers come from.
    pub referrer_source: &'a (dyn Source + 'static),
    /// Where they go.
    pub referrer_target: &'a (dyn Source + 'static),
}

/// The target's name for a repository found at the source.
pub(super) fn target_repository(
    prefix: &Repository,
    found: &Repository,
) -> Result<Repository, NameError> {
    prefix.join(found)
}
