//! Which manifests refer to another.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use super::directory::Layout;
use super::index::Index;
use crate::oci::{Descriptor, Digest, Manifest, MediaType, fallback_tag};
use crate::store::{ErrorKind, StoreError};

/// What the manifests that `index.json` lists refer to, so that each is read
/// once and not again for every subject. A digest's content never changes, so
/// this cannot become wrong.
#[derive(Debug, Default)]
pub(super) struct Subjects(Mutex<HashMap<Digest, Option<Digest>>>);

impl Subjects {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Option<Digest>>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn known(&self, digest: &Digest) -> Option<Option<Digest>> {
        self.lock().get(digest).cloned()
    }

    fn learn(&self, manifest: Option<&Manifest>, digest: &Digest) -> Option<Digest> {
        let subject = manifest.and_then(Manifest::subject);
        let subject = subject.map(|subject| subject.digest.clone());
        self.lock().insert(digest.clone(), subject.clone());
        subject
    }
}

impl Layout {
    /// The referrers of `subject`, each once: those in the list that its
    /// fallback tag points at, as regclient writes it, and those that
    /// `index.json` lists itself, as ORAS does.
    pub(super) fn referrers(
        &self,
        subject: &Digest,
        subjects: &Subjects,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let index = self.index()?;
        let mut found = self.listed_by_tag(&index, subject)?;
        let mut seen: HashSet<Digest> = found.iter().map(|entry| entry.digest.clone()).collect();
        for entry in index
            .descriptors()
            .filter(|entry| entry.media_type.is_manifest())
        {
            let refers = match subjects.known(&entry.digest) {
                Some(known) => known.as_ref() == Some(subject),
                None => self.read_subject(&index, &entry, subjects)?.as_ref() == Some(subject),
            };
            if refers && seen.insert(entry.digest.clone()) {
                found.push(self.manifest(&index, &entry.digest)?.referrer_descriptor());
            }
        }
        Ok(found)
    }

    fn listed_by_tag(
        &self,
        index: &Index,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let Some(digest) = self.resolve_tag(index, &fallback_tag(subject))? else {
            return Ok(Vec::new());
        };
        let list = self.manifest(index, &digest)?;
        // An image under a tag of this form is an image, not a list.
        if digest == *subject || *list.media_type() != MediaType::OCI_INDEX {
            return Ok(Vec::new());
        }
        let mut seen = HashSet::new();
        let entries = list.children().iter();
        Ok(entries
            .filter(|entry| seen.insert(entry.digest.clone()))
            .cloned()
            .collect())
    }

    /// What a listed manifest refers to. One that is not there, which the
    /// image-spec allows, or that is no manifest at all, refers to nothing.
    fn read_subject(
        &self,
        index: &Index,
        entry: &Descriptor,
        subjects: &Subjects,
    ) -> Result<Option<Digest>, StoreError> {
        match self.manifest(index, &entry.digest) {
            Ok(manifest) => Ok(subjects.learn(Some(&manifest), &entry.digest)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Schema1) => {
                Ok(subjects.learn(None, &entry.digest))
            }
            Err(error) => Err(error),
        }
    }
}
