//! The store over a root directory.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::blobs::{error, missing};
use super::directory::Layout;
use super::incoming::{Incoming, LayoutUpload, blocking, read};
use super::referrers::Subjects;
use super::walk;
use crate::oci::{Descriptor, Digest, Location, Manifest, Repository, Tag, TagOrDigest};
use crate::store::{
    Blob, BlobStream, ErrorKind, Hosted, Listing, Page, Sink, Source, StoreError, Upload,
};

/// OCI image layouts at and below a directory. Clones are the same store.
///
/// The directory need not exist: it is made when something is written.
#[derive(Debug, Clone)]
pub struct LayoutStore {
    root: Arc<PathBuf>,
    name: Arc<str>,
    subjects: Arc<Subjects>,
}

impl LayoutStore {
    /// The layouts at and below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self {
            name: Location::Layout(root.clone()).to_string().into(),
            root: Arc::new(root),
            subjects: Arc::default(),
        }
    }

    fn error(&self, kind: ErrorKind, action: &'static str, subject: &str) -> StoreError {
        // The one repository of a layout has no name to tell.
        let subject = match subject.trim_start_matches('@') {
            "" => self.name.to_string(),
            subject => format!("{subject} in {}", self.name),
        };
        StoreError::new(kind, action, subject)
    }

    /// Runs `work` on the layout of `repo`, or gives `None` if there is none.
    async fn read<T: Send + 'static>(
        &self,
        repo: &Repository,
        work: impl FnOnce(&Layout) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let (root, repo) = (Arc::clone(&self.root), repo.clone());
        blocking(move || match Layout::open(&root, &repo)? {
            Some(layout) => work(&layout).map(Some),
            None => Ok(None),
        })
        .await
    }

    /// Runs `work` on the layout of `repo`, which may be none yet.
    async fn write<T: Send + 'static>(
        &self,
        repo: &Repository,
        work: impl FnOnce(Layout) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, repo) = (Arc::clone(&self.root), repo.clone());
        blocking(move || work(Layout::open_to_write(&root, &repo)?)).await
    }
}

#[async_trait]
impl Source for LayoutStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn resolve(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<Option<Digest>, StoreError> {
        let reference = reference.clone();
        let found = self.read(repo, move |layout| match reference {
            // A tag whose manifest is gone or damaged is no tag: the next run
            // writes both anew.
            TagOrDigest::Tag(tag) => match layout.resolve_tag(&layout.index()?, &tag)? {
                Some(digest) if layout.has_manifest(&digest)? => Ok(Some(digest)),
                _ => Ok(None),
            },
            TagOrDigest::Digest(digest) => Ok(layout.has_manifest(&digest)?.then_some(digest)),
        });
        Ok(found.await?.flatten())
    }

    async fn manifest(&self, repo: &Repository, digest: &Digest) -> Result<Manifest, StoreError> {
        let wanted = digest.clone();
        let found = self.read(repo, move |layout| {
            layout.manifest(&layout.index()?, &wanted)
        });
        found.await?.ok_or_else(|| {
            self.error(
                ErrorKind::NotFound,
                "read manifest",
                &format!("{repo}@{digest}"),
            )
        })
    }

    async fn has_blob(&self, repo: &Repository, blob: &Descriptor) -> Result<bool, StoreError> {
        let blob = blob.clone();
        let found = self
            .read(repo, move |layout| layout.has_blob(&blob))
            .await?;
        Ok(found.unwrap_or(false))
    }

    async fn blob(&self, repo: &Repository, blob: &Descriptor) -> Result<Blob, StoreError> {
        Blob::hosted(self, repo, blob).await
    }

    fn tags<'a>(&'a self, repo: &Repository) -> Listing<'a, Tag> {
        let repo = repo.clone();
        stream::once(async move {
            let found = self
                .read(&repo, |layout| Ok(layout.index()?.tags()))
                .await?;
            let (names, refused) = found.ok_or_else(|| {
                let error = self.error(ErrorKind::NotFound, "list the tags of", repo.as_str());
                error.because("there is no layout")
            })?;
            Ok(Page { names, refused })
        })
        .boxed()
    }

    fn repositories(&self) -> Listing<'_, Repository> {
        let root = Arc::clone(&self.root);
        stream::once(blocking(move || walk::repositories(&root))).boxed()
    }

    async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let (subject, subjects) = (subject.clone(), Arc::clone(&self.subjects));
        let found = self.read(repo, move |layout| layout.referrers(&subject, &subjects));
        Ok(found.await?.unwrap_or_default())
    }
}

#[async_trait]
impl Sink for LayoutStore {
    async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError> {
        let descriptor = blob.descriptor().clone();
        let wanted = descriptor.clone();
        let begun = self.write(repo, move |layout| match layout.has_blob(&wanted)? {
            true => Ok(None),
            false => layout.dir().temp().map(|temp| Some((layout, temp))),
        });
        let Some((layout, temp)) = begun.await? else {
            return Ok(());
        };
        let mut incoming = Incoming::new(temp, None);
        let mut body = blob.into_stream();
        while let Some(piece) = body.try_next().await? {
            incoming.write(&piece).await?;
        }
        // The stream ended without an error, so this is what was promised.
        let (temp, _) = incoming.finish().await?;
        blocking(move || layout.keep(temp, &descriptor.digest)).await
    }

    async fn mount_blob(
        &self,
        repo: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<bool, StoreError> {
        if self.has_blob(repo, blob).await? {
            return Ok(true);
        }
        let wanted = blob.clone();
        let found = self.read(from, move |layout| {
            Ok(layout.has_blob(&wanted)?.then(|| layout.clone()))
        });
        let Some(source) = found.await?.flatten() else {
            return Ok(false);
        };
        let wanted = blob.clone();
        self.write(repo, move |layout| layout.take_blob(&source, &wanted))
            .await?;
        Ok(true)
    }

    async fn put_manifest(
        &self,
        repo: &Repository,
        manifest: &Manifest,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let (manifest, tag) = (manifest.clone(), tag.cloned());
        self.write(repo, move |layout| {
            layout.put_manifest(&manifest, tag.as_ref())
        })
        .await
    }

    async fn delete_manifest(
        &self,
        repo: &Repository,
        reference: &TagOrDigest,
    ) -> Result<(), StoreError> {
        let wanted = reference.clone();
        let found = self.read(repo, move |layout| match wanted {
            TagOrDigest::Tag(tag) => layout.delete_tag(&tag),
            TagOrDigest::Digest(digest) => layout.delete_manifest(&digest),
        });
        match found.await? {
            Some(true) => Ok(()),
            Some(false) | None => {
                let subject = format!("{repo} {reference}");
                Err(self.error(ErrorKind::NotFound, "delete manifest", &subject))
            }
        }
    }

    async fn delete_blob(&self, repo: &Repository, digest: &Digest) -> Result<(), StoreError> {
        let wanted = digest.clone();
        let found = self.read(repo, move |layout| {
            if layout.index()?.lists(&wanted) {
                let refused = error(ErrorKind::Refused, "delete blob", layout, wanted.as_str());
                return Err(refused.because("it is a manifest that index.json lists"));
            }
            layout.remove(&wanted)
        });
        match found.await? {
            Some(true) => Ok(()),
            Some(false) | None => {
                let subject = format!("{repo}@{digest}");
                Err(self.error(ErrorKind::NotFound, "delete blob", &subject))
            }
        }
    }
}

#[async_trait]
impl Hosted for LayoutStore {
    async fn blob_size(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, StoreError> {
        let digest = digest.clone();
        let found = self.read(repo, move |layout| layout.blob(&digest)).await?;
        Ok(found.flatten().map(|(_, size)| size))
    }

    async fn read_blob(
        &self,
        repo: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<BlobStream, StoreError> {
        let (wanted, subject) = (digest.clone(), format!("{repo}@{digest}"));
        let found = self.read(repo, move |layout| {
            let (file, size) = layout
                .blob(&wanted)?
                .ok_or_else(|| missing(layout, &wanted))?;
            if range.start > range.end || range.end > size {
                let action = "read beyond the end of";
                return Err(error(ErrorKind::Refused, action, layout, wanted.as_str()));
            }
            read(file, layout.dir().path().join(wanted.as_str()), range)
        });
        found
            .await?
            .ok_or_else(|| self.error(ErrorKind::NotFound, "read blob", &subject))
    }

    async fn begin_upload(&self, repo: &Repository) -> Result<Box<dyn Upload>, StoreError> {
        let upload = self.write(repo, LayoutUpload::begin).await?;
        Ok(Box::new(upload))
    }
}
