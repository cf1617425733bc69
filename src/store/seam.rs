//! The seam between what copies and what holds content.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{Allowance, Blob, BlobStream, StoreError};
use crate::oci::{Descriptor, Digest, Manifest, Repository, Tag, TagOrDigest};

/// A piece of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The names, in the store's order.
    pub names: Vec<T>,
    /// What was listed and is no valid name: hostile text, or its beginning. It
    /// is counted and reported, and never reaches a URL or a path.
    pub refused: Vec<String>,
}

/// A listing, page by page, so that work can begin before it is complete.
pub type Listing<'a, T> = BoxStream<'a, Result<Page<T>, StoreError>>;

/// What can be read from.
///
/// A store is a registry or a layout root; repositories are named within it.
/// Planning gets no more than this, so it cannot write.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// The store's name, as [`Location`](crate::oci::Location) prints it.
    fn name(&self) -> &str;

    /// The digest of the manifest that `reference` names now, or `None` when
    /// there is none. Costs no pull where the store tells that cheaply.
    async fn resolve(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError>;

    /// As [`resolve`](Self::resolve), of what is expected to be there: that it is
    /// missing is made sure of, which may cost a pull.
    async fn find(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        self.resolve(repo, reference).await
    }

    /// The manifest with this digest, verified.
    ///
    /// # Errors
    ///
    /// [`NotFound`](super::ErrorKind::NotFound) when there is none,
    /// [`Corrupt`](super::ErrorKind::Corrupt) when the bytes are others.
    async fn manifest(&self, repo: &Repository, digest: &Digest) -> Result<Manifest, StoreError>;

    /// Whether the repository has the blob.
    async fn has_blob(&self, repo: &Repository, blob: &Descriptor) -> Result<bool, StoreError>;

    /// The blob's content, verified as it streams.
    async fn blob(&self, repo: &Repository, blob: &Descriptor) -> Result<Blob, StoreError>;

    /// The repository's tags, each once.
    ///
    /// # Errors
    ///
    /// [`NotFound`](super::ErrorKind::NotFound) when there is no such
    /// repository.
    fn tags<'a>(&'a self, repo: &Repository) -> Listing<'a, Tag>;

    /// The store's repositories, each once.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](super::ErrorKind::Unsupported) when the store does not
    /// tell.
    fn repositories(&self) -> Listing<'_, Repository>;

    /// The manifests whose `subject` is `subject`, each once; none when there
    /// are none. A listing that failed is an error, never "none".
    async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError>;

    /// What the store bears at the moment. Asks nobody: it is what earlier
    /// answers said.
    fn allowance(&self) -> Allowance {
        Allowance::default()
    }
}

/// What can be written to.
#[async_trait]
pub trait Sink: Source {
    /// Stores a blob. Either all of it becomes visible or none does.
    async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError>;

    /// Makes a blob of `from` visible in `repo` without its bytes being sent.
    /// `false` when the store would not: the blob has to be put then.
    async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<bool, StoreError>;

    /// Stores a manifest, byte for byte, and points `tag` at it if given.
    ///
    /// A manifest with a subject is in the subject's
    /// [`referrers`](Source::referrers) afterwards.
    async fn put_manifest(
        &self,
        repo: &Repository,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError>;

    /// Deletes a tag and leaves its manifest, or a manifest and all its tags.
    ///
    /// # Errors
    ///
    /// [`NotFound`](super::ErrorKind::NotFound) when there is none,
    /// [`Unsupported`](super::ErrorKind::Unsupported) when deletion is off.
    async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(), StoreError>;

    /// Deletes a blob from the repository.
    ///
    /// # Errors
    ///
    /// As [`Sink::delete_manifest`].
    async fn delete_blob(&self, repo: &Repository, digest: &Digest) -> Result<(), StoreError>;
}

/// What the embedded registry can serve: parts of blobs, and uploads whose
/// digest is known only at their end.
#[async_trait]
pub trait Hosted: Sink {
    /// The size in bytes of a blob, or `None` when the repository lacks it.
    async fn blob_size(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, StoreError>;

    /// Bytes `range` of a blob, not verified. `range` has to lie within it.
    async fn read_blob(
        &self,
        repo: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<BlobStream, StoreError>;

    /// Begins an upload. Dropping it abandons it without a trace.
    async fn begin_upload(&self, repo: &Repository) -> Result<Box<dyn Upload>, StoreError>;
}

/// A blob that arrives before its digest is known.
#[async_trait]
pub trait Upload: fmt::Debug + Send {
    /// How many bytes have been taken.
    fn received(&self) -> u64;

    /// Takes the next bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Makes the blob visible, if it has the digest `expected`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::ErrorKind::Corrupt) when it has another.
    async fn finish(self: Box<Self>, expected: &Digest) -> Result<(), StoreError>;
}
