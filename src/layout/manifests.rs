//! Manifests: blobs that `index.json` may list, by tag or as referrers.

use bytes::Bytes;

use super::blobs::{error, missing};
use super::directory::Layout;
use super::index::Index;
use crate::oci::{
    Digest, MAX_MANIFEST_SIZE, Manifest, ManifestError, MediaType, Tag, fallback_tag,
    with_referrer, without_referrer,
};
use crate::store::{ErrorKind, StoreError};

const LIMIT: u64 = MAX_MANIFEST_SIZE as u64;

impl Layout {
    /// What `tag` points at, whether its manifest is there or not.
    pub(super) fn resolve_tag(
        &self,
        index: &Index,
        tag: &Tag,
    ) -> Result<Option<Digest>, StoreError> {
        let found = index.resolve(tag);
        found.map_err(|cause| {
            error(ErrorKind::Malformed, "read tag", self, tag.as_str()).because(cause)
        })
    }

    /// Whether the layout holds this manifest, intact. A file of other content
    /// is not it: the next put replaces it.
    pub(super) fn has_manifest(&self, digest: &Digest) -> Result<bool, StoreError> {
        match self.blob(digest)? {
            Some((_, size)) if size <= LIMIT => {}
            _ => return Ok(false),
        }
        let bytes = self.read(digest, LIMIT)?;
        Ok(bytes.is_some_and(|bytes| Manifest::verified(bytes.into(), digest, None).is_ok()))
    }

    /// The manifest, verified. `index` may know its media type, which stands
    /// in the manifest itself only if whoever made it put it there.
    pub(super) fn manifest(&self, index: &Index, digest: &Digest) -> Result<Manifest, StoreError> {
        let Some(bytes) = self.read(digest, LIMIT)? else {
            return Err(missing(self, digest));
        };
        self.parse(bytes.into(), digest, index.media_type(digest).as_ref())
    }

    fn parse(
        &self,
        bytes: Bytes,
        digest: &Digest,
        media_type: Option<&MediaType>,
    ) -> Result<Manifest, StoreError> {
        Manifest::verified(bytes, digest, media_type).map_err(|cause| {
            let kind = match cause {
                ManifestError::Digest { .. } => ErrorKind::Corrupt,
                ManifestError::Schema1 => ErrorKind::Schema1,
                _ => ErrorKind::Malformed,
            };
            error(kind, "read manifest", self, digest.as_str()).because(cause)
        })
    }

    /// Stores a manifest, lists it under `tag`, and as its subject's referrer.
    ///
    /// One with neither is only a blob: the child of an index that is to come.
    pub(super) fn put_manifest(
        &self,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        // Unlike blobs, manifests are small enough to compare, so that a
        // damaged one is repaired.
        let write = || match self.has_manifest(manifest.digest())? {
            true => Ok(()),
            false => self.write(manifest.digest(), manifest.bytes()),
        };
        if tag.is_none() && manifest.subject().is_none() {
            return write();
        }
        self.update(|index| {
            // Under the lock: somebody may be deleting the same manifest.
            write()?;
            if let Some(subject) = manifest.subject() {
                let list = self.referrer_list(index, &subject.digest)?;
                if let Some(bytes) = with_referrer(list.as_ref(), &manifest.referrer_descriptor()) {
                    self.set_referrer_list(index, &subject.digest, bytes)?;
                }
            }
            if let Some(tag) = tag {
                index.set_tag(tag, &manifest.descriptor());
            }
            Ok(())
        })
    }

    /// Removes a tag and leaves its manifest; `false` if there is none.
    pub(super) fn delete_tag(&self, tag: &Tag) -> Result<bool, StoreError> {
        self.update(|index| Ok(index.remove_tag(tag)))
    }

    /// Removes a manifest and all that lists it; `false` if there is none.
    pub(super) fn delete_manifest(&self, digest: &Digest) -> Result<bool, StoreError> {
        let found = self.update(|index| {
            if !index.lists(digest) && !self.has_manifest(digest)? {
                return Ok(false);
            }
            // One that is missing or damaged is in the way all the same.
            let subject = match self.manifest(index, digest) {
                Ok(manifest) => manifest.subject().map(|subject| subject.digest.clone()),
                Err(_) => None,
            };
            if let Some(subject) = subject
                && let Some(list) = self.referrer_list(index, &subject)?
                && let Some(bytes) = without_referrer(&list, digest)
            {
                self.set_referrer_list(index, &subject, bytes)?;
            }
            index.remove_digest(digest);
            Ok(true)
        })?;
        // After the index, so that a crash between leaves no dangling entry;
        // and only if nobody has listed it again since.
        if found {
            self.update(|index| match index.lists(digest) {
                true => Ok(()),
                false => self.remove(digest).map(drop),
            })?;
        }
        Ok(found)
    }

    /// The list of `subject`'s referrers that its fallback tag points at.
    ///
    /// # Errors
    ///
    /// Also when the tag points at something else, which a new list would
    /// take the name from.
    fn referrer_list(
        &self,
        index: &Index,
        subject: &Digest,
    ) -> Result<Option<Manifest>, StoreError> {
        let tag = fallback_tag(subject);
        let Some(digest) = self.resolve_tag(index, &tag)? else {
            return Ok(None);
        };
        let list = self.manifest(index, &digest)?;
        if digest == *subject || !list.media_type().is_index() {
            let cause = "it is no list of referrers, which a tag of this form has to be";
            return Err(error(ErrorKind::Malformed, "read tag", self, tag.as_str()).because(cause));
        }
        Ok(Some(list))
    }

    /// Points the fallback tag at a list of these bytes, or removes the tag
    /// when the list is empty. The old list stays as a blob: someone may be
    /// about to read it.
    fn set_referrer_list(
        &self,
        index: &mut Index,
        subject: &Digest,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        let tag = fallback_tag(subject);
        let digest = Digest::sha256(&bytes);
        let list = self.parse(bytes, &digest, None)?;
        if list.children().is_empty() {
            index.remove_tag(&tag);
            return Ok(());
        }
        self.write(&digest, list.bytes())?;
        index.set_tag(&tag, &list.descriptor());
        Ok(())
    }
}
