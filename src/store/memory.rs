//! A store in memory: for the demo, tests and throw-away registries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};

use super::{Blob, BlobStream, ErrorKind, Hosted, Listing, Page, Sink, Source, StoreError, Upload};
use crate::oci::{Descriptor, Digest, Manifest, Repository, Tag, TagOrDigest};

/// Repositories held in memory. Clones are the same store.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    name: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Every blob once, however many repositories have it.
    blobs: HashMap<Digest, Bytes>,
    repositories: BTreeMap<Repository, Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<Tag, Digest>,
}

impl MemoryStore {
    /// An empty store that calls itself `name` in messages.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            state: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn error(&self, kind: ErrorKind, action: &'static str, subject: &str) -> StoreError {
        StoreError::new(kind, action, format!("{subject} in {}", self.name))
    }
}

impl State {
    fn blob(&self, repo: &Repository, digest: &Digest) -> Option<&Bytes> {
        let contents = self.repositories.get(repo)?;
        contents
            .blobs
            .get(digest)
            .and_then(|digest| self.blobs.get(digest))
    }

    fn put_blob(&mut self, repo: &Repository, digest: Digest, bytes: Bytes) {
        self.blobs.entry(digest.clone()).or_insert(bytes);
        let contents = self.repositories.entry(repo.clone()).or_default();
        contents.blobs.insert(digest);
    }
}

#[async_trait]
impl Source for MemoryStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn resolve(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        let state = self.lock();
        let Some(contents) = state.repositories.get(repo) else {
            return Ok(None);
        };
        Ok(match reference {
            TagOrDigest::Tag(tag) => contents.tags.get(tag).cloned(),
            TagOrDigest::Digest(digest) => contents
                .manifests
                .contains_key(digest)
                .then(|| digest.clone()),
        })
    }

    async fn manifest(&self, repo: &Repository, digest: &Digest) -> Result<Manifest, StoreError> {
        let state = self.lock();
        let found = state
            .repositories
            .get(repo)
            .and_then(|contents| contents.manifests.get(digest));
        found.cloned().ok_or_else(|| {
            self.error(
                ErrorKind::NotFound,
                "read manifest",
                &format!("{repo}@{digest}"),
            )
        })
    }

    async fn has_blob(&self, repo: &Repository, blob: &Descriptor) -> Result<bool, StoreError> {
        Ok(self.lock().blob(repo, &blob.digest).is_some())
    }

    async fn blob(&self, repo: &Repository, blob: &Descriptor) -> Result<Blob, StoreError> {
        Blob::hosted(self, repo, blob).await
    }

    fn tags<'a>(&'a self, repo: &Repository) -> Listing<'a, Tag> {
        let page = match self.lock().repositories.get(repo) {
            Some(contents) => Ok(Page {
                names: contents.tags.keys().cloned().collect(),
                refused: Vec::new(),
            }),
            None => Err(self.error(ErrorKind::NotFound, "list tags of", repo.as_str())),
        };
        stream::iter([page]).boxed()
    }

    fn repositories(&self) -> Listing<'_, Repository> {
        let names = self.lock().repositories.keys().cloned().collect();
        let page = Page {
            names,
            refused: Vec::new(),
        };
        stream::iter([Ok(page)]).boxed()
    }

    async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let state = self.lock();
        let Some(contents) = state.repositories.get(repo) else {
            return Ok(Vec::new());
        };
        let refers =
            |manifest: &&Manifest| manifest.subject().is_some_and(|of| of.digest == *subject);
        let found = contents.manifests.values().filter(refers);
        Ok(found.map(Manifest::referrer_descriptor).collect())
    }
}

#[async_trait]
impl Sink for MemoryStore {
    async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError> {
        let digest = blob.descriptor().digest.clone();
        let bytes = blob.into_bytes().await?;
        self.lock().put_blob(repo, digest, bytes);
        Ok(())
    }

    async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let Some(bytes) = state.blob(from, &blob.digest).cloned() else {
            return Ok(false);
        };
        state.put_blob(repo, blob.digest.clone(), bytes);
        Ok(true)
    }

    async fn put_manifest(
        &self,
        repo: &Repository,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        let contents = state.repositories.entry(repo.clone()).or_default();
        let digest = manifest.digest().clone();
        contents.manifests.insert(digest.clone(), manifest.clone());
        if let Some(tag) = tag {
            contents.tags.insert(tag.clone(), digest);
        }
        Ok(())
    }

    async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        let contents = state.repositories.get_mut(repo);
        let found = contents.is_some_and(|contents| match reference {
            TagOrDigest::Tag(tag) => contents.tags.remove(tag).is_some(),
            TagOrDigest::Digest(digest) => {
                contents.tags.retain(|_, tagged| tagged != digest);
                contents.manifests.remove(digest).is_some()
            }
        });
        match found {
            true => Ok(()),
            false => Err(self.error(
                ErrorKind::NotFound,
                "delete manifest",
                &format!("{repo} {reference}"),
            )),
        }
    }

    async fn delete_blob(&self, repo: &Repository, digest: &Digest) -> Result<(), StoreError> {
        let mut state = self.lock();
        let contents = state.repositories.get_mut(repo);
        if !contents.is_some_and(|contents| contents.blobs.remove(digest)) {
            let subject = format!("{repo}@{digest}");
            return Err(self.error(ErrorKind::NotFound, "delete blob", &subject));
        }
        let mut others = state.repositories.values();
        if !others.any(|contents| contents.blobs.contains(digest)) {
            state.blobs.remove(digest);
        }
        Ok(())
    }
}

#[async_trait]
impl Hosted for MemoryStore {
    async fn blob_size(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, StoreError> {
        Ok(self
            .lock()
            .blob(repo, digest)
            .map(|bytes| bytes.len() as u64))
    }

    async fn read_blob(
        &self,
        repo: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<BlobStream, StoreError> {
        // Pieces as a network would give them, so that nothing above relies
        // on a blob being one chunk.
        const PIECE: usize = 64 << 10;
        let subject = format!("{repo}@{digest}");
        let state = self.lock();
        let Some(bytes) = state.blob(repo, digest) else {
            return Err(self.error(ErrorKind::NotFound, "read blob", &subject));
        };
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        let (Ok(start), Ok(end)) = (start, end) else {
            return Err(self.error(ErrorKind::Refused, "read beyond the end of", &subject));
        };
        if start > end || end > bytes.len() {
            return Err(self.error(ErrorKind::Refused, "read beyond the end of", &subject));
        }
        let mut rest = bytes.slice(start..end);
        let mut pieces = Vec::with_capacity(rest.len() / PIECE + 1);
        while !rest.is_empty() {
            pieces.push(Ok(rest.split_to(rest.len().min(PIECE))));
        }
        Ok(stream::iter(pieces).boxed())
    }

    async fn begin_upload(&self, repo: &Repository) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(MemoryUpload {
            store: self.clone(),
            repo: repo.clone(),
            bytes: BytesMut::new(),
        }))
    }
}

#[derive(Debug)]
struct MemoryUpload {
    store: MemoryStore,
    repo: Repository,
    bytes: BytesMut,
}

#[async_trait]
impl Upload for MemoryUpload {
    fn received(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>, expected: &Digest) -> Result<(), StoreError> {
        let bytes = self.bytes.freeze();
        if !expected.matches(&bytes) {
            let subject = format!("{}@{expected}", self.repo);
            return Err(self.store.error(ErrorKind::Corrupt, "store blob", &subject));
        }
        self.store
            .lock()
            .put_blob(&self.repo, expected.clone(), bytes);
        Ok(())
    }
}
