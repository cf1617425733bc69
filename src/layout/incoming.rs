//! Content on its way to disk, in pieces, off the asynchronous threads.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio_util::io::ReaderStream;

use super::blobs::{PIECE, expect};
use super::dir::{Temp, storage};
use super::directory::Layout;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::store::{BlobStream, ErrorKind, StoreError, Upload};

/// Runs `work`, which waits for the disk or a lock, where that holds up
/// nothing else. It runs to its end even when the caller stops waiting.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    joined(spawn_blocking(work).await)
}

fn joined<T>(ended: Result<Result<T, StoreError>, JoinError>) -> Result<T, StoreError> {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => Err(stopped(error)),
    })
}

fn stopped(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::new(ErrorKind::Unavailable, "write", "blob").because(cause)
}

/// Bytes `range` of `file`, at most two pieces of it in memory.
pub(super) fn read(
    mut file: File,
    path: PathBuf,
    range: Range<u64>,
) -> Result<BlobStream, StoreError> {
    file.seek(SeekFrom::Start(range.start))
        .map_err(|error| storage("read", &path, error))?;
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(PIECE);
    let part = file.take(range.end - range.start);
    let pieces = ReaderStream::with_capacity(part, PIECE);
    Ok(pieces
        .map_err(move |error: io::Error| storage("read", &path, error))
        .boxed())
}

/// A temporary file that fills while the next bytes come in. Dropping it
/// removes the file.
#[derive(Debug)]
pub(super) struct Incoming {
    state: State,
    /// Small writes are gathered, as each trip to the disk has its price.
    gathered: BytesMut,
    received: u64,
}

#[derive(Debug)]
enum State {
    Idle(Filling),
    Writing(JoinHandle<Result<Filling, StoreError>>),
    Failed,
}

#[derive(Debug)]
struct Filling {
    temp: Temp,
    hasher: Option<Hasher>,
}

impl Incoming {
    /// Fills `temp`, and computes the digest with `hasher` if one is given.
    pub(super) fn new(temp: Temp, hasher: Option<Hasher>) -> Self {
        Self {
            state: State::Idle(Filling { temp, hasher }),
            gathered: BytesMut::new(),
            received: 0,
        }
    }

    /// Takes the next bytes. When the caller stops waiting they are taken all
    /// the same.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.received += bytes.len() as u64;
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush().await?;
        }
        Ok(())
    }

    /// The filled file, with its digest if one was computed.
    pub(super) async fn finish(mut self) -> Result<(Temp, Option<Digest>), StoreError> {
        self.flush().await?;
        self.settle().await?;
        match self.state {
            State::Idle(Filling { temp, hasher }) => Ok((temp, hasher.map(Hasher::finish))),
            State::Writing(_) | State::Failed => Err(failed_before()),
        }
    }

    /// Begins to write what was gathered, after what is being written.
    async fn flush(&mut self) -> Result<(), StoreError> {
        self.settle().await?;
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(mut filling) => {
                let piece = self.gathered.split().freeze();
                self.state = State::Writing(spawn_blocking(move || {
                    if let Some(hasher) = &mut filling.hasher {
                        hasher.update(&piece);
                    }
                    filling.temp.write(&piece)?;
                    Ok(filling)
                }));
                Ok(())
            }
            State::Writing(_) | State::Failed => Err(failed_before()),
        }
    }

    async fn settle(&mut self) -> Result<(), StoreError> {
        if let State::Writing(task) = &mut self.state {
            let ended = task.await;
            self.state = State::Failed;
            self.state = State::Idle(joined(ended)?);
        }
        Ok(())
    }
}

fn failed_before() -> StoreError {
    stopped("an earlier part of it could not be written")
}

/// An upload into a layout.
#[derive(Debug)]
pub(super) struct LayoutUpload {
    layout: Layout,
    incoming: Incoming,
}

impl LayoutUpload {
    pub(super) fn begin(layout: Layout) -> Result<Self, StoreError> {
        let temp = layout.dir().temp()?;
        // The digest is not known yet. It is nearly always a SHA-256.
        let hasher = Hasher::new(Algorithm::Sha256);
        Ok(Self {
            layout,
            incoming: Incoming::new(temp, Some(hasher)),
        })
    }
}

#[async_trait]
impl Upload for LayoutUpload {
    fn received(&self) -> u64 {
        self.incoming.received
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.incoming.write(&bytes).await
    }

    async fn finish(self: Box<Self>, expected: &Digest) -> Result<(), StoreError> {
        let Self { layout, incoming } = *self;
        let expected = expected.clone();
        let (temp, sha256) = incoming.finish().await?;
        blocking(move || {
            let seen = match sha256 {
                Some(digest) if digest.algorithm() == expected.algorithm() => digest,
                _ => layout.digest_of(&temp, &expected)?,
            };
            expect(&expected, &seen, &layout)?;
            layout.keep(temp, &expected)
        })
        .await
    }
}
