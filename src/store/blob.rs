//! Blobs on the move, verified as they pass.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{ErrorKind, StoreError};
use crate::oci::{Descriptor, Digest, Hasher, MediaType};

/// Bytes as they arrive.
pub type BlobStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// The content of one blob under way, which cannot be wrong unnoticed.
///
/// The stream ends with an error unless it was exactly the bytes that its
/// descriptor promised. The piece that completes it is held back until the
/// digest is known to match, so that a receiver that stops at the promised
/// length has never been given wrong content.
pub struct Blob {
    descriptor: Descriptor,
    body: BlobStream,
}

impl Blob {
    /// Puts a verification on `body`. `origin` names where it comes from, for
    /// the error message.
    pub fn verified(descriptor: &Descriptor, origin: impl Into<String>, body: BlobStream) -> Self {
        let check = Check {
            expected: descriptor.digest.clone(),
            size: descriptor.size,
            seen: 0,
            hasher: Hasher::new(descriptor.digest.algorithm()),
            origin: origin.into(),
        };
        let body = stream::try_unfold((body, check), |(mut body, mut check)| async move {
            loop {
                match body.try_next().await? {
                    Some(chunk) if chunk.is_empty() => {}
                    Some(chunk) => {
                        check.update(&chunk)?;
                        return Ok(Some((chunk, (body, check))));
                    }
                    None => return check.end().map(|()| None),
                }
            }
        });
        Self {
            descriptor: descriptor.clone(),
            body: body.boxed(),
        }
    }

    /// A blob that is in memory already.
    pub fn from_bytes(media_type: MediaType, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            descriptor: Descriptor::of(media_type, &bytes),
            body: stream::iter([Ok(bytes)]).boxed(),
        }
    }

    /// What the content is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The bytes; an error in the stream means that none of it may be kept.
    pub fn into_stream(self) -> BlobStream {
        self.body
    }

    /// Reads all of it into memory: for blobs known to be small, and tests.
    ///
    /// # Errors
    ///
    /// Whatever the stream fails with.
    pub async fn into_bytes(self) -> Result<Bytes, StoreError> {
        let all = self
            .body
            .try_fold(BytesMut::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await?;
        Ok(all.freeze())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

struct Check {
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
    origin: String,
}

impl Check {
    fn update(&mut self, chunk: &Bytes) -> Result<(), StoreError> {
        self.seen += chunk.len() as u64;
        if self.seen > self.size {
            return Err(self.error(format!(
                "goes on after the {} bytes it should have",
                self.size
            )));
        }
        self.hasher.update(chunk);
        if self.seen == self.size {
            self.compare()
        } else {
            Ok(())
        }
    }

    fn end(&self) -> Result<(), StoreError> {
        match (self.seen, self.size) {
            (0, 0) => self.compare(),
            (seen, size) if seen < size => {
                Err(self.error(format!("ended after {seen} of {size} bytes")))
            }
            _ => Ok(()),
        }
    }

    fn compare(&self) -> Result<(), StoreError> {
        let seen = self.hasher.clone().finish();
        if seen == self.expected {
            return Ok(());
        }
        Err(self.error(format!("expected digest {}, seen {seen}", self.expected)))
    }

    fn error(&self, cause: String) -> StoreError {
        let subject = format!("blob {} of {}", self.expected, self.origin);
        StoreError::new(ErrorKind::Corrupt, "read", subject).because(cause)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn blob(promised: &[u8], sent: &[&[u8]]) -> Blob {
        let chunks: Vec<_> = sent
            .iter()
            .map(|&chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let descriptor = Descriptor::of(MediaType::OCTET_STREAM, promised);
        Blob::verified(&descriptor, "h.io/a", stream::iter(chunks).boxed())
    }

    /// What a receiver got before the error, and the error.
    fn receive(blob: Blob) -> (Vec<u8>, Option<StoreError>) {
        run(async {
            let mut got = Vec::new();
            let mut stream = blob.into_stream();
            loop {
                match stream.try_next().await {
                    Ok(Some(chunk)) => got.extend_from_slice(&chunk),
                    Ok(None) => return (got, None),
                    Err(error) => return (got, Some(error)),
                }
            }
        })
    }

    #[test]
    fn the_right_bytes_pass() {
        for chunks in [
            &[b"abc".as_slice()][..],
            &[b"a", b"", b"bc"],
            &[b"", b"abc", b""],
        ] {
            let (got, error) = receive(blob(b"abc", chunks));
            assert_eq!((got.as_slice(), error.is_none()), (b"abc".as_slice(), true));
        }
        assert!(receive(blob(b"", &[])).1.is_none());
    }

    #[test]
    fn wrong_bytes_are_never_completed() {
        for (promised, chunks, reason) in [
            (&b"abc"[..], &[&b"abd"[..]][..], "expected digest"),
            (b"abc", &[b"ab"], "ended after 2 of 3"),
            (b"abc", &[], "ended after 0 of 3"),
            (b"abc", &[b"ab", b"cd"], "goes on after the 3"),
            (b"", &[b"x"], "goes on after"),
        ] {
            let (got, error) = receive(blob(promised, chunks));
            let error = error.expect("an error");
            assert!(error.one_line().contains(reason), "{}", error.one_line());
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(
                promised.is_empty() || got.len() < promised.len(),
                "{got:?} was completed"
            );
        }
    }

    #[test]
    fn bytes_after_the_last_are_an_error() {
        let (_, error) = receive(blob(b"abc", &[b"abc", b"d"]));
        assert_eq!(error.expect("an error").kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn any_split_of_the_right_bytes_passes(chunks in any::<Vec<Vec<u8>>>()) {
            let whole = chunks.concat();
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let (got, error) = receive(blob(&whole, &chunks));
            prop_assert!(error.is_none());
            prop_assert_eq!(got, whole);
        }

        #[test]
        fn any_other_bytes_fail(promised: Vec<u8>, chunks: Vec<Vec<u8>>) {
            prop_assume!(chunks.concat() != promised);
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            prop_assert!(receive(blob(&promised, &chunks)).1.is_some());
        }
    }
}
