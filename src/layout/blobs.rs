//! Blobs: `blobs/ALGORITHM/HEX`.

use std::fs::File;
use std::io::{self, Read, Seek};

use super::dir::{Dir, Temp, storage};
use super::directory::{BLOBS, Layout};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::store::{ErrorKind, StoreError};

/// How much of a file is read or written in one call, in bytes.
pub(super) const PIECE: usize = 512 << 10;

impl Layout {
    fn blobs(&self, digest: &Digest) -> Result<Option<Dir>, StoreError> {
        match self.dir().child(BLOBS)? {
            Some(blobs) => blobs.child(digest.algorithm().name()),
            None => Ok(None),
        }
    }

    fn blobs_to_write(&self, digest: &Digest) -> Result<Dir, StoreError> {
        self.ensure()?;
        let blobs = self.dir().child_or_make(BLOBS)?;
        blobs.child_or_make(digest.algorithm().name())
    }

    /// The file of a blob and its size in bytes, if the layout has it. Its
    /// content is not verified.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<(File, u64)>, StoreError> {
        match self.blobs(digest)? {
            Some(dir) => dir.file(digest.hex()),
            None => Ok(None),
        }
    }

    /// Whether the layout has the blob in its full size. A file of another
    /// size was cut off by a crash: it is as good as missing, and replaced.
    pub(super) fn has_blob(&self, blob: &Descriptor) -> Result<bool, StoreError> {
        let found = self.blob(&blob.digest)?;
        Ok(found.is_some_and(|(_, size)| size == blob.size))
    }

    /// The bytes of a small blob, not verified, if the layout has it.
    pub(super) fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match self.blobs(digest)? {
            Some(dir) => dir.read(digest.hex(), limit),
            None => Ok(None),
        }
    }

    /// Makes `temp`, which is known to have this digest, the blob's content.
    pub(super) fn keep(&self, temp: Temp, digest: &Digest) -> Result<(), StoreError> {
        temp.persist(&self.blobs_to_write(digest)?, digest.hex())
    }

    /// Stores a small blob whose digest is known to match.
    pub(super) fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temp = self.dir().temp()?;
        temp.write(bytes)?;
        self.keep(temp, digest)
    }

    /// Removes a blob; `false` if there was none.
    pub(super) fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        match self.blobs(digest)? {
            Some(dir) => dir.remove(digest.hex()),
            None => Ok(false),
        }
    }

    /// Takes a blob from another layout of the same store.
    ///
    /// By a hard link, which costs no space: no one changes a blob in place.
    /// What the link would spread is trusted as far as its size; a copy, where
    /// the file system cannot link, is verified as it is made.
    pub(super) fn take_blob(&self, from: &Self, blob: &Descriptor) -> Result<(), StoreError> {
        let digest = &blob.digest;
        let to = self.blobs_to_write(digest)?;
        let Some(dir) = from.blobs(digest)? else {
            return Err(missing(from, digest));
        };
        match Dir::link(&dir, digest.hex(), self.dir(), &to) {
            Ok(()) => Ok(()),
            Err(_) => self.copy_blob(from, digest),
        }
    }

    fn copy_blob(&self, from: &Self, digest: &Digest) -> Result<(), StoreError> {
        let Some((mut file, _)) = from.blob(digest)? else {
            return Err(missing(from, digest));
        };
        let mut temp = self.dir().temp()?;
        let seen = pieces(&mut file, digest, from, |piece| temp.write(piece))?;
        expect(digest, &seen, from)?;
        self.keep(temp, digest)
    }

    /// Computes the digest of what `temp` holds, by the algorithm of `expected`.
    pub(super) fn digest_of(&self, temp: &Temp, expected: &Digest) -> Result<Digest, StoreError> {
        let mut file = temp.file();
        file.rewind()
            .map_err(|error| storage("read", self.dir().path(), error))?;
        pieces(&mut file, expected, self, |_| Ok(()))
    }
}

/// Reads `file` to its end and computes its digest, by `like`'s algorithm.
fn pieces(
    file: &mut impl Read,
    like: &Digest,
    layout: &Layout,
    mut each: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<Digest, StoreError> {
    let mut hasher = Hasher::new(like.algorithm());
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                each(&buffer[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(storage("read", layout.dir().path(), error)),
        }
    }
}

/// An error unless the digest that was `seen` is the one `expected`.
pub(super) fn expect(expected: &Digest, seen: &Digest, layout: &Layout) -> Result<(), StoreError> {
    if seen == expected {
        return Ok(());
    }
    let cause = format!("expected digest {expected}, seen {seen}");
    Err(error(ErrorKind::Corrupt, "store blob", layout, expected.as_str()).because(cause))
}

/// The error of reading a blob that is not there.
pub(super) fn missing(layout: &Layout, digest: &Digest) -> StoreError {
    error(ErrorKind::NotFound, "read", layout, digest.as_str())
}

/// A failure with something that a layout holds.
pub(super) fn error(
    kind: ErrorKind,
    action: &'static str,
    layout: &Layout,
    subject: &str,
) -> StoreError {
    let path = layout.dir().path().display();
    StoreError::new(kind, action, format!("{subject} in {path}"))
}
