//! One layout: whether a directory is one, and changes to its `index.json`.

use std::path::Path;
use std::time::SystemTime;

use rustix::fs::FileType;
use serde::Deserialize;

use super::dir::{Dir, is_ours};
use super::index::{EMPTY, Index};
use crate::oci::Repository;
use crate::store::{ErrorKind, StoreError};

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
pub(super) const BLOBS: &str = "blobs";

const VERSION: &str = "1.0.0";

/// Longest `index.json` that is read, in bytes: about 200,000 tags.
const MAX_INDEX: u64 = 64 << 20;
const MAX_MARKER: u64 = 64 << 10;

/// How deep a directory is searched for what may not be in it.
const MAX_DEPTH: u32 = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// The directory of one repository.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: Dir,
}

impl Layout {
    /// The layout of `repo`, or `None` if there is none: no directory, or one
    /// that is free to become a layout.
    ///
    /// # Errors
    ///
    /// When the directory holds something else, or a damaged layout.
    pub(super) fn open(root: &Path, repo: &Repository) -> Result<Option<Self>, StoreError> {
        let mut dir = Dir::open(root)?;
        for part in parts(repo)? {
            match dir {
                Some(parent) => dir = parent.child(part)?,
                None => return Ok(None),
            }
        }
        let Some(dir) = dir else {
            return Ok(None);
        };
        let layout = Self { dir };
        Ok(layout.exists()?.then_some(layout))
    }

    /// The layout of `repo` to write to. Its directory is made if missing, but
    /// becomes a layout only with the first content.
    ///
    /// # Errors
    ///
    /// As [`Layout::open`].
    pub(super) fn open_to_write(root: &Path, repo: &Repository) -> Result<Self, StoreError> {
        let mut dir = Dir::open_or_make(root)?;
        for part in parts(repo)? {
            dir = dir.child_or_make(part)?;
        }
        let layout = Self { dir };
        if layout.exists()? {
            // Nothing is written beside an index that cannot be extended.
            layout.index()?;
        }
        Ok(layout)
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Whether this is a layout by now; `false` if it is free to become one.
    fn exists(&self) -> Result<bool, StoreError> {
        let marker = match self.dir.read(MARKER, MAX_MARKER)? {
            Some(marker) => marker,
            None => match obstacle(&self.dir, 0)? {
                None => return Ok(false),
                // Another process may have made it a layout meanwhile.
                Some(name) => self.dir.read(MARKER, MAX_MARKER)?.ok_or_else(|| {
                    self.broken(format!(
                        "it has no {MARKER} file, but holds {name:?}: \
                         expected an OCI image layout or an empty directory"
                    ))
                })?,
            },
        };
        if marker.is_empty() {
            let cause = format!("its {MARKER} is empty: it may have been lost in a crash");
            return Err(self.broken(cause));
        }
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|error| self.broken(format!("its {MARKER} is not valid: {error}")))?;
        if marker.image_layout_version != VERSION {
            return Err(self.broken(format!(
                "its {MARKER} is of version {:?}: expected {VERSION}",
                marker.image_layout_version
            )));
        }
        match self.dir.file(INDEX)? {
            Some((_, 1..)) => Ok(true),
            Some((_, 0)) => Err(self.broken(format!(
                "its {INDEX} is empty: it may have been lost in a crash"
            ))),
            None => Err(self.broken(format!("it has no {INDEX}"))),
        }
    }

    /// What the layout lists now.
    pub(super) fn index(&self) -> Result<Index, StoreError> {
        let bytes = self.dir.read(INDEX, MAX_INDEX)?.unwrap_or_default();
        Index::parse(&bytes).map_err(|error| {
            let path = self.dir.path().join(INDEX).display().to_string();
            StoreError::new(ErrorKind::Malformed, "read", path).because(error)
        })
    }

    /// Changes `index.json`, alone among all processes. When `change` or the
    /// writing fails, the old one stays.
    pub(super) fn update<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _lock = self.dir.lock()?;
        self.initialise()?;
        self.dir.sweep(SystemTime::now());
        let mut index = self.index()?;
        let done = change(&mut index)?;
        if let Some(bytes) = index.changed() {
            if bytes.len() as u64 > MAX_INDEX {
                return Err(self.broken(format!(
                    "its {INDEX} would be longer than {MAX_INDEX} bytes"
                )));
            }
            self.dir.replace(INDEX, &bytes)?;
        }
        Ok(done)
    }

    /// Makes the directory a layout if it is none yet.
    pub(super) fn ensure(&self) -> Result<(), StoreError> {
        if self.exists()? {
            return Ok(());
        }
        let _lock = self.dir.lock()?;
        self.initialise()
    }

    /// [`Layout::ensure`] for who holds the lock. The marker comes last: a
    /// crash before it leaves a directory that is still free.
    fn initialise(&self) -> Result<(), StoreError> {
        if self.exists()? {
            return Ok(());
        }
        self.dir.child_or_make(BLOBS)?;
        self.dir.replace(INDEX, EMPTY)?;
        let marker = format!(r#"{{"imageLayoutVersion":"{VERSION}"}}"#);
        self.dir.replace(MARKER, marker.as_bytes())
    }

    fn broken(&self, cause: String) -> StoreError {
        let path = self.dir.path().display().to_string();
        StoreError::new(ErrorKind::Malformed, "use layout", path).because(cause)
    }
}

/// The directories on the way to `repo`.
fn parts(repo: &Repository) -> Result<impl Iterator<Item = &str>, StoreError> {
    let parts = repo.as_str().split('/').filter(|part| !part.is_empty());
    match parts.clone().find(|part| is_reserved(part)) {
        None => Ok(parts),
        Some(part) => {
            let cause = format!("{part:?} is what a layout's own files are called");
            let subject = format!("repository {repo}");
            Err(StoreError::new(ErrorKind::Refused, "keep as a layout", subject).because(cause))
        }
    }
}

/// Whether a repository's directory of this name would be taken for a part of
/// the layout above it.
pub(super) fn is_reserved(part: &str) -> bool {
    matches!(part, BLOBS | INDEX | MARKER)
}

/// Whether `dir` is marked as a layout, sound or not.
pub(super) fn is_marked(dir: &Dir) -> Result<bool, StoreError> {
    let entries = dir.entries()?;
    Ok(entries
        .iter()
        .any(|entry| entry.name == MARKER && entry.kind == FileType::RegularFile))
}

/// What keeps a directory from becoming a layout: anything in it but other
/// repositories' layouts and what an interrupted initialisation leaves.
fn obstacle(dir: &Dir, depth: u32) -> Result<Option<String>, StoreError> {
    for entry in dir.entries()? {
        let name = entry.name.to_string_lossy().into_owned();
        let free = match entry.kind {
            _ if is_ours(&name) => true,
            // Every fresh ext4 volume has one, which only root can read.
            FileType::Directory if name == "lost+found" => true,
            FileType::Directory if depth >= MAX_DEPTH => false,
            FileType::Directory => match dir.child(&entry.name)? {
                Some(child) if name == BLOBS => child.entries()?.is_empty(),
                Some(child) => {
                    is_marked(&child)?
                        || obstacle(&child, depth + 1)?.is_none()
                        // Another process may have made it one meanwhile.
                        || is_marked(&child)?
                }
                None => true,
            },
            FileType::RegularFile if name == INDEX => dir
                .read(INDEX, MAX_INDEX)?
                .is_none_or(|bytes| bytes == EMPTY),
            _ => false,
        };
        if !free {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
