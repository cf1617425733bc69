//! The uploads under way.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use super::answer::{Code, Failure};
use crate::oci::Repository;
use crate::store::Upload;

/// How long a request waits for another one on the same upload. A client that
/// resumes after a cut is often here before the cut is noticed.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The uploads under way, by their id, bounded in number and age.
///
/// Nothing runs in the background: what is too old goes when the next upload
/// request arrives, and until then there are at most `limit` of them.
#[derive(Debug)]
pub(super) struct Sessions {
    limit: NonZeroUsize,
    expiry: Duration,
    all: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    repo: Repository,
    used: Instant,
    slot: Slot,
}

/// Where an upload rests between requests. Empty for good once it has ended
/// or failed.
type Slot = Arc<tokio::sync::Mutex<Option<Box<dyn Upload>>>>;

impl Sessions {
    pub(super) fn new(limit: NonZeroUsize, expiry: Duration) -> Self {
        Self {
            limit,
            expiry,
            all: Mutex::default(),
        }
    }

    /// Takes a new upload in and gives its id, which nobody can guess: it is
    /// all that a request needs to write to the upload.
    pub(super) fn insert(
        &self,
        repo: &Repository,
        upload: Box<dyn Upload>,
    ) -> Result<String, Failure> {
        let id = random_id()?;
        let mut all = self.lock();
        if all.len() >= self.limit.get() {
            return Err(Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                Code::TooManyRequests,
                format!("{} uploads are under way", self.limit),
            )
            .with_header(RETRY_AFTER, HeaderValue::from_static("60")));
        }
        let session = Session {
            repo: repo.clone(),
            used: Instant::now(),
            slot: Arc::new(tokio::sync::Mutex::new(Some(upload))),
        };
        all.insert(id.clone(), session);
        Ok(id)
    }

    /// The upload `id` of `repo`, for this request alone.
    pub(super) async fn claim(&self, repo: &Repository, id: &str) -> Result<Claim<'_>, Failure> {
        let slot = {
            let mut all = self.lock();
            let session = all.get_mut(id).filter(|session| session.repo == *repo);
            let session = session.ok_or_else(unknown)?;
            session.used = Instant::now();
            Arc::clone(&session.slot)
        };
        let held = timeout(BUSY_WAIT, slot.lock_owned()).await.map_err(|_| {
            let message = "another request is writing to this upload";
            Failure::new(StatusCode::CONFLICT, Code::BlobUploadInvalid, message)
        })?;
        if held.is_none() {
            return Err(unknown());
        }
        Ok(Claim {
            sessions: self,
            id: id.to_owned(),
            held,
        })
    }

    /// Gives the upload up. A request that is writing to it fails.
    pub(super) fn remove(&self, repo: &Repository, id: &str) -> Result<(), Failure> {
        let mut all = self.lock();
        let known = all.get(id).is_some_and(|session| session.repo == *repo);
        if !known {
            return Err(unknown());
        }
        all.remove(id);
        Ok(())
    }

    /// Locks the table, without what is too old. An upload that a request
    /// holds is in use, however long ago the request began.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        let mut all = self
            .all
            .lock()
            .expect("nothing panics while it holds the lock");
        all.retain(|_, session| {
            Arc::strong_count(&session.slot) > 1 || session.used.elapsed() < self.expiry
        });
        all
    }
}

/// An upload in the hands of one request.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    sessions: &'a Sessions,
    id: String,
    held: OwnedMutexGuard<Option<Box<dyn Upload>>>,
}

impl Claim<'_> {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// How many bytes the upload has.
    pub(super) fn received(&self) -> u64 {
        self.held.as_ref().map_or(0, |upload| upload.received())
    }

    /// Writes to the upload. It is lost when that fails, or when the request
    /// is dropped in the middle: nobody knows then how much was written.
    pub(super) async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), Failure> {
        if !self.sessions.lock().contains_key(&self.id) {
            return Err(unknown());
        }
        let mut upload = self.held.take().ok_or_else(unknown)?;
        upload.write(bytes).await?;
        *self.held = Some(upload);
        Ok(())
    }

    /// Ends the session and gives the upload.
    pub(super) fn take(mut self) -> Result<Box<dyn Upload>, Failure> {
        self.held.take().ok_or_else(unknown)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut all = self.sessions.lock();
        if self.held.is_none() {
            all.remove(&self.id);
        } else if let Some(session) = all.get_mut(&self.id) {
            session.used = Instant::now();
        }
    }
}

fn unknown() -> Failure {
    Failure::missing(Code::BlobUploadUnknown, "no such upload")
}

/// 128 bits from the system, in hex.
fn random_id() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| {
        let message = "the system gives no random numbers";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, message)
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
