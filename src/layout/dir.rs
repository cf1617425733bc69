//! Directories by handle: nothing below one is reached through a symbolic
//! link, and what is written becomes visible whole and durable.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::store::{ErrorKind, StoreError};

/// The file that processes lock while they change `index.json`.
const LOCK: &str = ".lock";
const TEMP_PREFIX: &str = ".regmirror-";
const TEMP_SUFFIX: &str = ".tmp";

/// How long after its last byte a temporary file belongs to no live process.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// An open directory. Clones are the same handle.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

/// One name in a directory.
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: FileType,
}

/// A storage failure at `path`.
pub(super) fn storage(
    action: &'static str,
    path: &Path,
    cause: impl Into<io::Error>,
) -> StoreError {
    StoreError::new(ErrorKind::Storage, action, path.display().to_string()).because(cause.into())
}

/// Whether `name` is a file that this program keeps beside a layout's own.
pub(super) fn is_ours(name: &str) -> bool {
    name == LOCK || is_temp(name)
}

fn is_temp(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX)
}

impl Dir {
    /// Opens the directory at `path`, or `None` if there is none. Links on the
    /// way to it are followed: whoever named the path chose them.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self::new(fd, path.to_owned()))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(storage("open", path, errno)),
        }
    }

    /// Opens the directory at `path`, and makes it and those above it first if
    /// they are missing.
    pub(super) fn open_or_make(path: &Path) -> Result<Self, StoreError> {
        if let Some(found) = Self::open(path)? {
            return Ok(found);
        }
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if parent.as_os_str().is_empty() => (Path::new("."), name),
            (Some(parent), Some(name)) => (parent, name),
            _ => return Err(storage("open", path, Errno::NOENT)),
        };
        let parent = Self::open_or_make(parent)?;
        parent.make(Path::new(name))?;
        Self::open(path)?.ok_or_else(|| storage("open", path, Errno::NOENT))
    }

    fn new(fd: OwnedFd, path: PathBuf) -> Self {
        Self {
            fd: Arc::new(fd),
            path,
        }
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory `name` in this one, if there is one.
    pub(super) fn child(&self, name: impl AsRef<Path>) -> Result<Option<Self>, StoreError> {
        let name = name.as_ref();
        match rustix::fs::openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Some(Self::new(fd, self.path.join(name)))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.unopened(name, errno)),
        }
    }

    /// The directory `name` in this one, made if it is missing.
    pub(super) fn child_or_make(&self, name: impl AsRef<Path>) -> Result<Self, StoreError> {
        let name = name.as_ref();
        if let Some(found) = self.child(name)? {
            return Ok(found);
        }
        self.make(name)?;
        self.child(name)?
            .ok_or_else(|| storage("open", &self.path.join(name), Errno::NOENT))
    }

    fn make(&self, name: &Path) -> Result<(), StoreError> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
            // Another process may have been faster.
            Ok(()) | Err(Errno::EXIST) => self.sync(),
            Err(errno) => Err(storage("make directory", &self.path.join(name), errno)),
        }
    }

    /// The regular file `name` and its size in bytes, if there is one.
    ///
    /// A link is an error even for reading: it could lead to a file that
    /// another tool changes, or that is not the layout owner's to show.
    pub(super) fn file(&self, name: &str) -> Result<Option<(File, u64)>, StoreError> {
        // NONBLOCK, as opening a planted FIFO would wait for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.unopened(Path::new(name), errno)),
        };
        let path = self.path.join(name);
        let meta = file
            .metadata()
            .map_err(|error| storage("open", &path, error))?;
        if !meta.is_file() {
            let cause = io::Error::other("it is no regular file");
            return Err(storage("open", &path, cause));
        }
        Ok(Some((file, meta.len())))
    }

    /// The bytes of the file `name`, if there is one. One longer than `limit`
    /// bytes is an error.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((file, _)) = self.file(name)? else {
            return Ok(None);
        };
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| storage("read", &path, error))?;
        if bytes.len() as u64 > limit {
            let subject = path.display().to_string();
            return Err(StoreError::new(ErrorKind::Malformed, "read", subject)
                .because(format!("longer than the {limit} bytes that are read")));
        }
        Ok(Some(bytes))
    }

    /// What is in the directory, in no order.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let read = || {
            let mut entries = Vec::new();
            for entry in rustix::fs::Dir::read_from(&self.fd)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let kind = match entry.file_type() {
                    // Some file systems do not tell in the listing.
                    FileType::Unknown => {
                        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                            Ok(meta) => FileType::from_raw_mode(meta.st_mode),
                            Err(Errno::NOENT) => continue,
                            Err(errno) => return Err(errno),
                        }
                    }
                    known => known,
                };
                let name = OsString::from_vec(name.to_bytes().to_vec());
                entries.push(Entry { name, kind });
            }
            Ok(entries)
        };
        read().map_err(|errno: Errno| storage("list", &self.path, errno))
    }

    /// Puts a file of these bytes at `name`, in place of what was there.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temp = self.temp()?;
        temp.write(bytes)?;
        temp.persist(self, name)
    }

    /// Removes the file `name`; `false` if there was none.
    pub(super) fn remove(&self, name: &str) -> Result<bool, StoreError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(storage("remove", &self.path.join(name), errno)),
        }
    }

    /// Gives the file `name` of `from` a second name in `to`, which may be
    /// in use.
    pub(super) fn link(from: &Self, name: &str, by: &Self, to: &Self) -> Result<(), StoreError> {
        let temp = temp_name();
        let linked = rustix::fs::linkat(&from.fd, name, &by.fd, &temp, AtFlags::empty());
        linked.map_err(|errno| storage("link", &from.path.join(name), errno))?;
        let _guard = Unlink(by, &temp);
        to.take(by, &temp, name)
    }

    /// Moves the file `temp` of `from` to `name`, durably.
    fn take(&self, from: &Self, temp: &str, name: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&from.fd, temp, &self.fd, name)
            .map_err(|errno| storage("write", &self.path.join(name), errno))?;
        self.sync()
    }

    /// Waits until no other process or task has the directory's lock, and
    /// takes it until the result is dropped.
    ///
    /// An advisory `flock`, which belongs to the opened file: so it holds
    /// between the threads of one process as well, and ends with the process.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, LOCK, flags, Mode::from_raw_mode(0o666))
            .map_err(|errno| self.unopened(Path::new(LOCK), errno))?;
        let file = File::from(fd);
        file.lock()
            .map_err(|error| storage("lock", &self.path.join(LOCK), error))?;
        Ok(file)
    }

    /// A new file that has no name a reader would look for. It goes when it is
    /// dropped.
    pub(super) fn temp(&self) -> Result<Temp, StoreError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = temp_name();
        // The process's umask decides who may read it, as for any other file.
        let fd = rustix::fs::openat(&self.fd, &name, flags, Mode::from_raw_mode(0o666))
            .map_err(|errno| storage("write", &self.path.join(&name), errno))?;
        Ok(Temp {
            dir: self.clone(),
            name,
            file: File::from(fd),
        })
    }

    /// Removes the temporary files that killed processes left. Failing to is
    /// no failure of what is being done.
    pub(super) fn sweep(&self, now: SystemTime) {
        let names = self.entries().unwrap_or_default();
        let names = names.iter().filter_map(|entry| entry.name.to_str());
        for name in names.filter(|name| is_temp(name)) {
            let changed = self.file(name).ok().flatten();
            let changed = changed.and_then(|(file, _)| file.metadata().ok()?.modified().ok());
            let age = changed.and_then(|changed| now.duration_since(changed).ok());
            if age.is_some_and(|age| age > ABANDONED) {
                let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
            }
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.fd).map_err(|errno| storage("write", &self.path, errno))
    }

    /// The error of an open that failed, which for a link should say so: the
    /// kernel speaks of "too many levels" or "not a directory".
    fn unopened(&self, name: &Path, errno: Errno) -> StoreError {
        let path = self.path.join(name);
        let meta = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        if meta.is_ok_and(|meta| FileType::from_raw_mode(meta.st_mode).is_symlink()) {
            let cause = io::Error::other("it is a symbolic link, which is not followed here");
            return storage("open", &path, cause);
        }
        storage("open", &path, errno)
    }
}

fn temp_name() -> String {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(16)
        .collect();
    format!("{TEMP_PREFIX}{random}{TEMP_SUFFIX}")
}

struct Unlink<'a>(&'a Dir, &'a str);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        // Mostly gone by now. It is still there when the rename failed, and
        // when both names were the same file: then rename(2) does nothing.
        let _ = rustix::fs::unlinkat(&self.0.fd, self.1, AtFlags::empty());
    }
}

/// A file under way.
#[derive(Debug)]
pub(super) struct Temp {
    dir: Dir,
    name: String,
    file: File,
}

impl Temp {
    /// Appends `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| storage("write", &self.dir.path.join(&self.name), error))
    }

    /// The file, to read back.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes the file visible as `name` of `to`, in place of what was there.
    pub(super) fn persist(self, to: &Dir, name: &str) -> Result<(), StoreError> {
        let synced = self.file.sync_all();
        synced.map_err(|error| storage("write", &to.path.join(name), error))?;
        to.take(&self.dir, &self.name, name)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        drop(Unlink(&self.dir, &self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linking_a_file_again_leaves_no_second_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let from = Dir::open_or_make(&path.join("from")).unwrap();
        let to = Dir::open_or_make(&path.join("to")).unwrap();
        from.replace("file", b"text").unwrap();
        for _ in 0..2 {
            Dir::link(&from, "file", &from, &to).unwrap();
        }
        assert_eq!(from.entries().unwrap().len(), 1);
        assert_eq!(to.read("file", 4).unwrap().unwrap(), b"text");
    }

    #[test]
    fn a_file_longer_than_the_limit_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open(directory.path()).unwrap().unwrap();
        dir.replace("file", b"12345").unwrap();
        assert!(dir.read("file", 5).unwrap().is_some());
        let error = dir.read("file", 4).unwrap_err();
        assert!(
            error.one_line().contains("longer than the 4 bytes"),
            "{}",
            error.one_line()
        );
    }

    #[test]
    fn what_is_no_file_is_an_error_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let dir = Dir::open(path).unwrap().unwrap();
        dir.make(Path::new("directory")).unwrap();
        let fifo = path.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for name in ["directory", "fifo"] {
            let error = dir.file(name).unwrap_err();
            assert!(
                error.one_line().contains("no regular file"),
                "{}",
                error.one_line()
            );
        }
    }
}
