//! A store that writes down what is asked of it, and fails on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use regmirror::oci::{Descriptor, Digest, Manifest, Repository, Tag, TagOrDigest};
use regmirror::store::{Blob, ErrorKind, Listing, MemoryStore, Sink, Source, StoreError};

use super::images::complete;

/// A memory store that keeps a log of calls, checks at every write of a
/// manifest that what it points at is there, and can fail any call.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) inner: MemoryStore,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    log: Mutex<Vec<String>>,
    broken: Mutex<Vec<String>>,
    calls: AtomicUsize,
    /// The calls that fail, by number from 0.
    fail: Mutex<Box<dyn Failing>>,
}

/// Says which calls fail.
pub(crate) trait Failing: std::fmt::Debug + Send + Sync {
    /// Whether call `number`, which is `line` in the log, fails.
    fn fails(&self, number: usize, line: &str) -> bool;
}

/// No call fails.
#[derive(Debug)]
pub(crate) struct Never;

impl Failing for Never {
    fn fails(&self, _: usize, _: &str) -> bool {
        false
    }
}

/// Every call from this one on fails, as if the process had been killed.
#[derive(Debug)]
pub(crate) struct From(pub(crate) usize);

impl Failing for From {
    fn fails(&self, number: usize, _: &str) -> bool {
        number >= self.0
    }
}

/// These calls fail.
#[derive(Debug)]
pub(crate) struct These(pub(crate) Vec<usize>);

impl Failing for These {
    fn fails(&self, number: usize, _: &str) -> bool {
        self.0.contains(&number)
    }
}

/// Calls whose log line has this in it fail.
#[derive(Debug)]
pub(crate) struct Matching(pub(crate) &'static str);

impl Failing for Matching {
    fn fails(&self, _: usize, line: &str) -> bool {
        line.contains(self.0)
    }
}

impl Recorded {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            inner: MemoryStore::new(name),
            shared: Arc::new(Shared {
                log: Mutex::default(),
                broken: Mutex::default(),
                calls: AtomicUsize::new(0),
                fail: Mutex::new(Box::new(Never)),
            }),
        }
    }

    /// Begins a new log, in which these calls fail.
    pub(crate) fn start(&self, fail: impl Failing + 'static) {
        *self.shared.fail.lock().expect("not poisoned") = Box::new(fail);
        self.shared.log.lock().expect("not poisoned").clear();
        self.shared.calls.store(0, Ordering::SeqCst);
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.shared.log.lock().expect("not poisoned").clone()
    }

    /// The log lines of successful calls that begin with `call`.
    pub(crate) fn calls(&self, call: &str) -> Vec<String> {
        let mut log = self.log();
        log.retain(|line| line.starts_with(call));
        log
    }

    /// Forgets what a test wrote in the wrong order on purpose.
    pub(crate) fn forget_broken(&self) {
        self.shared.broken.lock().expect("not poisoned").clear();
    }

    /// Manifests that were written before what they point at.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.shared.broken.lock().expect("not poisoned").clone()
    }

    /// Writes the call down, and gives others a turn, as a network would.
    async fn call(&self, line: String) -> Result<(), StoreError> {
        for _ in 0..self.shared.calls.load(Ordering::SeqCst) % 4 {
            tokio::task::yield_now().await;
        }
        self.note(line)
    }

    fn note(&self, line: String) -> Result<(), StoreError> {
        let number = self.shared.calls.fetch_add(1, Ordering::SeqCst);
        let fails = self
            .shared
            .fail
            .lock()
            .expect("not poisoned")
            .fails(number, &line);
        let entry = match fails {
            true => format!("failed: {line}"),
            false => line.clone(),
        };
        self.shared.log.lock().expect("not poisoned").push(entry);
        match fails {
            true => Err(StoreError::new(ErrorKind::Unavailable, "serve", line)),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Source for Recorded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn resolve(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        self.call(format!("resolve {repo} {reference}")).await?;
        self.inner.resolve(repo, reference).await
    }

    async fn manifest(&self, repo: &Repository, digest: &Digest) -> Result<Manifest, StoreError> {
        self.call(format!("manifest {repo} {digest}")).await?;
        self.inner.manifest(repo, digest).await
    }

    async fn has_blob(&self, repo: &Repository, blob: &Descriptor) -> Result<bool, StoreError> {
        self.call(format!("has_blob {repo} {}", blob.digest))
            .await?;
        self.inner.has_blob(repo, blob).await
    }

    async fn blob(&self, repo: &Repository, blob: &Descriptor) -> Result<Blob, StoreError> {
        self.call(format!("blob {repo} {}", blob.digest)).await?;
        self.inner.blob(repo, blob).await
    }

    fn tags<'a>(&'a self, repo: &Repository) -> Listing<'a, Tag> {
        self.note(format!("tags {repo}"))
            .expect("listings do not fail here");
        self.inner.tags(repo)
    }

    fn repositories(&self) -> Listing<'_, Repository> {
        self.note("repositories".to_owned())
            .expect("listings do not fail here");
        self.inner.repositories()
    }

    async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.call(format!("referrers {repo} {subject}")).await?;
        self.inner.referrers(repo, subject).await
    }
}

#[async_trait]
impl Sink for Recorded {
    async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError> {
        self.call(format!("put_blob {repo} {}", blob.descriptor().digest))
            .await?;
        self.inner.put_blob(repo, blob).await
    }

    async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<bool, StoreError> {
        self.call(format!("mount_blob {repo} {} {from}", blob.digest))
            .await?;
        self.inner.mount_blob(repo, blob, from).await
    }

    async fn put_manifest(
        &self,
        repo: &Repository,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let name = tag.map_or("-", Tag::as_str);
        self.call(format!("put_manifest {repo} {name} {}", manifest.digest()))
            .await?;
        // Judged before it is there: what it points at has to come first.
        for child in manifest.children().iter().chain(manifest.blobs()) {
            let missing = match child.media_type.is_manifest() {
                true => complete(&self.inner, repo, &child.digest).await.err(),
                false => match self.inner.has_blob(repo, child).await? {
                    true => None,
                    false => Some(format!("{} lacks {}", manifest.digest(), child.digest)),
                },
            };
            self.shared
                .broken
                .lock()
                .expect("not poisoned")
                .extend(missing);
        }
        self.inner.put_manifest(repo, manifest, tag).await
    }

    async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(), StoreError> {
        self.call(format!("delete_manifest {repo} {reference}"))
            .await?;
        self.inner.delete_manifest(repo, reference).await
    }

    async fn delete_blob(&self, repo: &Repository, digest: &Digest) -> Result<(), StoreError> {
        self.call(format!("delete_blob {repo} {digest}")).await?;
        self.inner.delete_blob(repo, digest).await
    }
}
