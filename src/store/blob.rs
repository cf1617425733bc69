//! Blobs on the move, verified as they pass.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{ErrorKind, Hosted, StoreError};
use crate::oci::{Descriptor, Digest, Hasher, MediaType, Repository};

/// Bytes as they arrive.
pub type BlobStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// How far apart, in bytes, the places are from which a blob can be read on:
/// the most that is read again to go on in the middle.
const STEP: u64 = 8 << 20;

/// Where a blob's content can be had again.
#[async_trait]
pub trait Content: Send + Sync {
    /// The bytes from `offset` on, not verified.
    async fn read_from(&self, offset: u64) -> Result<BlobStream, StoreError>;
}

/// The content of one blob under way, which cannot be wrong unnoticed.
///
/// A stream of it ends with an error unless what passed was exactly the bytes
/// that the descriptor promised. The piece that completes the blob is held back
/// until the digest is known to match, so that a receiver that stops at the
/// promised length has never been given wrong content.
pub struct Blob {
    descriptor: Descriptor,
    origin: Arc<str>,
    /// The body that was opened first: by it a blob is known to be there.
    first: Option<BlobStream>,
    again: Option<Arc<dyn Content>>,
    counter: Option<Counter>,
    marks: Marks,
    /// [`STEP`], but for tests.
    step: u64,
}

/// Is given the length, in bytes, of each piece that passes.
type Counter = Arc<dyn Fn(u64) + Send + Sync>;

impl Blob {
    /// Puts a verification on `body`, which passes once. `origin` names where
    /// it comes from, for the error message.
    pub fn verified(
        descriptor: &Descriptor,
        origin: impl Into<Arc<str>>,
        body: BlobStream,
    ) -> Self {
        Self {
            descriptor: descriptor.clone(),
            origin: origin.into(),
            first: Some(body),
            again: None,
            counter: None,
            marks: Marks::default(),
            step: STEP,
        }
    }

    /// The same blob, that tells of each piece that passes how many bytes it has.
    /// Those that are read again count again.
    #[must_use]
    pub fn counted(self, counter: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self {
            counter: Some(Arc::new(counter)),
            ..self
        }
    }

    /// The same blob, to be had again from `content`.
    #[must_use]
    pub fn with_content(self, content: impl Content + 'static) -> Self {
        Self {
            again: Some(Arc::new(content)),
            ..self
        }
    }

    /// A blob that is in memory already.
    pub fn from_bytes(media_type: MediaType, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        let body = stream::iter([Ok(bytes.clone())]).boxed();
        Self::verified(&descriptor, "memory", body).with_content(bytes)
    }

    /// A blob that `store` holds.
    pub(crate) async fn hosted<S>(
        store: &S,
        repo: &Repository,
        blob: &Descriptor,
    ) -> Result<Self, StoreError>
    where
        S: Hosted + Clone + 'static,
    {
        let content = Stored {
            store: store.clone(),
            repo: repo.clone(),
            digest: blob.digest.clone(),
        };
        let body = content.read_from(0).await?;
        let origin = format!("{}/{repo}", store.name());
        Ok(Self::verified(blob, origin, body).with_content(content))
    }

    /// What the content is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The bytes; an error in the stream means that none of it may be kept.
    pub fn into_stream(mut self) -> BlobStream {
        stream::once(async move { self.stream_from(0).await })
            .try_flatten()
            .boxed()
    }

    /// The bytes from `offset` on, for whoever has those before it from an
    /// earlier stream. They are verified together with what that stream gave;
    /// the last 8 MiB of it at most are read again for that, and taken to be
    /// what was given.
    ///
    /// # Errors
    ///
    /// When the content cannot be read, or not once more.
    pub async fn stream_from(&mut self, offset: u64) -> Result<BlobStream, StoreError> {
        let mut check = Check {
            expected: self.descriptor.digest.clone(),
            size: self.descriptor.size,
            seen: 0,
            hasher: Hasher::new(self.descriptor.digest.algorithm()),
            origin: Arc::clone(&self.origin),
            marks: Marks::default(),
            step: self.step,
        };
        if offset > check.size {
            let error = check.error(format!("it ends before byte {offset}"));
            return Err(error.with_kind(ErrorKind::Refused));
        }
        // An earlier stream that is still about goes on with marks of its own.
        self.marks = self.marks.up_to(offset);
        check.marks = self.marks.clone();
        if let Some((place, hasher)) = self.marks.last() {
            check.seen = place;
            check.hasher = hasher;
        }
        let first = match check.seen {
            0 => self.first.take(),
            _ => None,
        };
        let body = match (first, &self.again) {
            (Some(first), _) => first,
            (None, Some(again)) => again.read_from(check.seen).await?,
            (None, None) => {
                let error = check.error("it can be read only once".to_owned());
                return Err(error.with_kind(ErrorKind::Unavailable));
            }
        };
        let verified = check.on(body, offset);
        Ok(match self.counter.clone() {
            None => verified,
            Some(counter) => verified
                .inspect_ok(move |chunk| counter(chunk.len() as u64))
                .boxed(),
        })
    }

    /// Reads all of it into memory: for blobs known to be small, and tests.
    ///
    /// # Errors
    ///
    /// Whatever the stream fails with.
    pub async fn into_bytes(self) -> Result<Bytes, StoreError> {
        let all = self
            .into_stream()
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

#[async_trait]
impl Content for Bytes {
    async fn read_from(&self, offset: u64) -> Result<BlobStream, StoreError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.slice(start.min(self.len())..);
        Ok(stream::iter([Ok(rest)]).boxed())
    }
}

/// A blob in a store that gives parts of it.
struct Stored<S> {
    store: S,
    repo: Repository,
    digest: Digest,
}

#[async_trait]
impl<S: Hosted> Content for Stored<S> {
    async fn read_from(&self, offset: u64) -> Result<BlobStream, StoreError> {
        let size = self.store.blob_size(&self.repo, &self.digest).await?;
        let size = size.unwrap_or(0);
        let range = offset.min(size)..size;
        self.store.read_blob(&self.repo, &self.digest, range).await
    }
}

/// Places that a stream has passed, each with the state of the hash there: it
/// stands for the bytes that were given, whatever a later stream reads in their
/// place.
#[derive(Clone, Default)]
struct Marks(Arc<Mutex<Vec<(u64, Hasher)>>>);

impl Marks {
    /// The marks at and before `offset`.
    fn up_to(&self, offset: u64) -> Self {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = marks.iter().take_while(|(place, _)| *place <= offset);
        Self(Arc::new(Mutex::new(before.cloned().collect())))
    }

    fn last(&self) -> Option<(u64, Hasher)> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.last().cloned()
    }

    fn add(&self, place: u64, hasher: &Hasher) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.push((place, hasher.clone()));
    }
}

struct Check {
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
    origin: Arc<str>,
    marks: Marks,
    step: u64,
}

impl Check {
    /// `body`, which begins where the check stands, verified and without what
    /// is before `offset`.
    fn on(self, body: BlobStream, offset: u64) -> BlobStream {
        stream::try_unfold((body, self), move |(mut body, mut check)| async move {
            loop {
                let Some(mut chunk) = body.try_next().await? else {
                    return check.end().map(|()| None);
                };
                let known = offset.saturating_sub(check.seen);
                check.update(&chunk)?;
                let known = usize::try_from(known).unwrap_or(usize::MAX);
                let fresh = chunk.split_off(known.min(chunk.len()));
                if !fresh.is_empty() {
                    return Ok(Some((fresh, (body, check))));
                }
            }
        })
        .boxed()
    }

    fn update(&mut self, mut chunk: &[u8]) -> Result<(), StoreError> {
        if chunk.is_empty() {
            return Ok(());
        }
        if self.seen + chunk.len() as u64 > self.size {
            return Err(self.error(format!(
                "goes on after the {} bytes it should have",
                self.size
            )));
        }
        while !chunk.is_empty() {
            let left = self.step - self.seen % self.step;
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let (part, rest) = chunk.split_at(left.min(chunk.len()));
            self.hasher.update(part);
            self.seen += part.len() as u64;
            // None at the end: what is there has to be compared.
            if self.seen.is_multiple_of(self.step) && self.seen < self.size {
                self.marks.add(self.seen, &self.hasher);
            }
            chunk = rest;
        }
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

    /// Content that is damaged from its n-th reading on, the first being 0, at
    /// one bit; and where each reading began.
    struct Damaged {
        bytes: Bytes,
        pieces: usize,
        bit: Option<(usize, usize)>,
        readings: Arc<Mutex<Vec<u64>>>,
    }

    #[async_trait]
    impl Content for Damaged {
        async fn read_from(&self, offset: u64) -> Result<BlobStream, StoreError> {
            let mut readings = self.readings.lock().unwrap();
            readings.push(offset);
            let mut bytes = self.bytes.to_vec();
            match self.bit {
                Some((from, bit)) if readings.len() > from => bytes[bit / 8] ^= 1 << (bit % 8),
                _ => {}
            }
            let rest = bytes.split_off(usize::try_from(offset).unwrap());
            let pieces: Vec<_> = rest
                .chunks(self.pieces)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            Ok(stream::iter(pieces).boxed())
        }
    }

    impl Damaged {
        fn blob(self, step: u64) -> Blob {
            let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &self.bytes);
            let mut blob = Blob::verified(&descriptor, "test", stream::empty().boxed());
            blob.first = None;
            blob.step = step;
            blob.with_content(self)
        }
    }

    /// As a receiver does that goes on where it was cut off: takes a number of
    /// bytes of each stream, and all of the last. Gives what it has then.
    async fn take_in_turns(blob: &mut Blob, cuts: &[usize]) -> Result<Vec<u8>, StoreError> {
        let mut have: Vec<u8> = Vec::new();
        for cut in cuts.iter().map(Some).chain([None]) {
            let mut body = blob.stream_from(have.len() as u64).await?;
            let mut left = cut.copied().unwrap_or(usize::MAX);
            while left > 0 {
                let Some(chunk) = body.try_next().await? else {
                    break;
                };
                // A cut may be anywhere in a piece.
                let taken = left.min(chunk.len());
                have.extend_from_slice(&chunk[..taken]);
                left -= taken;
            }
        }
        Ok(have)
    }

    #[test]
    fn no_more_than_a_step_is_read_again() {
        let bytes = Bytes::from(vec![7; 100]);
        let readings = Arc::default();
        let content = Damaged {
            bytes: bytes.clone(),
            pieces: 7,
            bit: None,
            readings: Arc::clone(&readings),
        };
        let have = run(take_in_turns(&mut content.blob(16), &[33, 0, 20, 46])).unwrap();
        assert_eq!(have, bytes);
        assert_eq!(*readings.lock().unwrap(), [0, 32, 32, 48, 96]);
    }

    #[test]
    fn what_passes_once_is_not_had_again() {
        let mut blob = blob(b"abc", &[b"abc"]);
        let error = run(async {
            blob.stream_from(0).await?.try_collect::<Vec<_>>().await?;
            blob.stream_from(0).await.map(drop)
        });
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.one_line().contains("only once"),
            "{}",
            error.one_line()
        );
        let beyond = run(blob.stream_from(4)).err().unwrap();
        assert_eq!(beyond.kind(), ErrorKind::Refused);
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

        #[test]
        fn cuts_anywhere_leave_the_content_what_it_is(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0_usize..80, 0..6),
            pieces in 1_usize..40,
            step in 1_u64..40,
        ) {
            let bytes = Bytes::from(bytes);
            let content = Damaged {
                bytes: bytes.clone(),
                pieces,
                bit: None,
                readings: Arc::default(),
            };
            let have = run(take_in_turns(&mut content.blob(step), &cuts));
            prop_assert_eq!(have.ok(), Some(bytes.to_vec()));
        }

        #[test]
        fn a_flipped_bit_never_completes_the_content(
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            bit: prop::sample::Index,
            from in 0_usize..4,
            cuts in prop::collection::vec(0_usize..80, 0..6),
            pieces in 1_usize..40,
            step in 1_u64..40,
        ) {
            let bit = bit.index(bytes.len() * 8);
            let bytes = Bytes::from(bytes);
            let content = Damaged {
                bytes: bytes.clone(),
                pieces,
                bit: Some((from, bit)),
                readings: Arc::default(),
            };
            // Damage to a reading that is not needed does not count.
            if let Ok(have) = run(take_in_turns(&mut content.blob(step), &cuts)) {
                prop_assert_eq!(have, bytes.to_vec());
            }
        }
    }
}
