//! Blobs on their way in: end-4 to end-6, end-11, end-13 and end-14 of the
//! distribution-spec.
//!
//! By default one POST for a session and one PUT with everything. What is cut
//! off goes on where the registry says it stands, if that is unambiguous, and
//! else from the beginning in another session; what is refused for its length
//! is sent in chunks.

mod mount;
mod send;
mod session;
mod setback;

use tracing::warn;

use super::auth::Scopes;
use super::client::Inner;
use super::failure::Failure;
use crate::http::{Class, Permit};
use crate::oci::Repository;
use crate::store::{Blob, ErrorKind, StoreError};

pub(super) use mount::Sessions;
use send::Reader;
use session::{Session, Standing};
use setback::Setback;

/// How often another session is begun because the registry has lost one.
const LOST: u32 = 2;

/// Bytes below which a body is not cut up further for being too large.
const SMALLEST: u64 = 256 << 10;

impl Inner {
    pub(super) async fn put_blob(&self, repo: &Repository, blob: Blob) -> Result<(), StoreError> {
        let digest = blob.descriptor().digest.clone();
        let chunked = self
            .chunks
            .above
            .is_some_and(|above| blob.descriptor().size > above);
        let upload = Upload {
            registry: self,
            repo,
            scopes: Scopes::push(repo),
            session: self.sessions.take(repo, &digest),
            way: match chunked {
                true => Way::Chunked,
                false => Way::Whole,
            },
            blob,
            reader: None,
            at: 0,
            most: None,
            accepted: 0,
            resumed: false,
            resumable: true,
            renewed: false,
            furthest: 0,
            cuts: 0,
            lost: 0,
        };
        upload.run().await.map_err(|unstored| match unstored {
            Unstored::Source(error) => error,
            Unstored::Target(failure) => failure.at("store blob", self.image(repo, &digest.into())),
        })
    }
}

/// How the content goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By one PUT; what is left after a cut by one PATCH.
    Whole,
    /// By a PATCH for each chunk.
    Chunked,
}

/// One blob on its way to one repository.
struct Upload<'a> {
    registry: &'a Inner,
    repo: &'a Repository,
    scopes: Scopes,
    blob: Blob,
    way: Way,
    session: Option<Session>,
    /// The content from `at` on, as far as it is open.
    reader: Option<Reader>,
    /// How many bytes the registry has in this session.
    at: u64,
    /// The most that it takes in one request, as far as it showed.
    most: Option<u64>,
    /// The longest chunk that it took in this session.
    accepted: u64,
    /// This session was gone on with after a cut.
    resumed: bool,
    /// Going on after a cut has not failed yet.
    resumable: bool,
    /// A new token was asked for in the middle of a body.
    renewed: bool,
    /// The most bytes that the registry ever had.
    furthest: u64,
    /// How often it was cut off since then.
    cuts: u32,
    /// How many sessions the registry has lost.
    lost: u32,
}

/// Why a blob is not stored.
enum Unstored {
    /// It could not be read.
    Source(StoreError),
    /// It could not be written.
    Target(Failure),
}

/// What comes after a setback.
enum Next {
    /// The blob is there after all.
    Done,
    /// Another attempt.
    Again,
    /// Nothing.
    GiveUp(Unstored),
}

impl Upload<'_> {
    async fn run(mut self) -> Result<(), Unstored> {
        loop {
            // Before there is a place to write: who holds one never waits for
            // one to read.
            let opened = self.open().await;
            let permit = self.registry.http.permit(Class::Write).await;
            let sent = match opened {
                Ok(()) => self.advance(&permit).await,
                Err(error) => Err(Setback::Source(error)),
            };
            let Err(setback) = sent else {
                return Ok(());
            };
            match self.recover(&permit, setback).await {
                Next::Done => return Ok(()),
                Next::Again => {}
                Next::GiveUp(unstored) => {
                    self.cancel(&permit).await;
                    return Err(unstored);
                }
            }
        }
    }

    fn size(&self) -> u64 {
        self.blob.descriptor().size
    }

    /// Whether there is nothing more to send but the end.
    fn is_sent(&self) -> bool {
        self.at > 0 && self.at == self.size()
    }

    /// Makes the content from `at` on available.
    async fn open(&mut self) -> Result<(), StoreError> {
        let at = self.at;
        let in_hand = self.reader.as_mut().is_some_and(|reader| reader.seek(at));
        if self.is_sent() || in_hand {
            return Ok(());
        }
        // Gives back its place at the source first.
        self.reader = None;
        self.reader = Some(Reader::new(self.blob.stream_from(at).await?, at));
        Ok(())
    }

    async fn advance(&mut self, permit: &Permit) -> Result<(), Setback> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let begun = self.registry.begin(permit, self.repo).await;
                begun.map_err(Setback::Refused)?
            }
        };
        let sent = self.send_left(&mut session).await;
        self.session = Some(session);
        sent
    }

    /// Sends what is left, and closes the session.
    async fn send_left(&mut self, session: &mut Session) -> Result<(), Setback> {
        if !self.is_sent() {
            match self.way {
                Way::Whole if self.size() == 0 => self.check_empty().await?,
                Way::Whole if self.at == 0 => return self.send_whole(session).await,
                Way::Whole => self.send_rest(session).await?,
                Way::Chunked => self.send_chunks(session).await?,
            }
        }
        self.close(session).await
    }

    async fn recover(&mut self, permit: &Permit, setback: Setback) -> Next {
        let give_up = |failure| Next::GiveUp(Unstored::Target(failure));
        match setback {
            Setback::Source(error) => return Next::GiveUp(Unstored::Source(error)),
            Setback::Refused(failure) => {
                // It may be that the registry can only take the whole, or lost
                // count.
                let again = self.resumed && failure.kind != ErrorKind::Denied;
                if !again || !self.resumable {
                    return give_up(failure);
                }
                self.resumable = false;
                self.warn(&failure);
                self.restart(permit).await;
            }
            Setback::SignedOut(failure) => {
                if self.renewed {
                    return give_up(failure.with_kind(ErrorKind::Denied));
                }
                self.renewed = true;
                self.warn(&failure);
                self.restart(permit).await;
            }
            Setback::TooLarge {
                failure,
                sent,
                limit,
            } => {
                let Some(most) = self.smaller(sent, limit) else {
                    let text = format!("a body of {sent} bytes is too large for it");
                    return give_up(failure.explained(&text));
                };
                self.warn(&failure);
                self.most = Some(most);
                self.way = Way::Chunked;
                self.restart(permit).await;
            }
            Setback::NotWhole(failure) => {
                self.warn(&failure);
                self.way = Way::Chunked;
                self.restart(permit).await;
            }
            Setback::Gone(failure) => return self.find_or_renew(permit, failure).await,
            Setback::Cut(failure) => return self.resume(permit, failure).await,
        }
        Next::Again
    }

    /// Goes on where the registry stands, if it says so.
    async fn resume(&mut self, permit: &Permit, failure: Failure) -> Next {
        self.cuts += 1;
        if !self.registry.http.pause(self.cuts).await {
            let failure = match self.cuts {
                1 => failure,
                cuts => failure.explained(&format!("broke off {cuts} times without progress")),
            };
            return Next::GiveUp(Unstored::Target(failure));
        }
        let standing = match self.resumable {
            true => self.ask().await,
            false => Ok(Standing::Unknown),
        };
        match standing {
            Ok(Standing::At(at)) => {
                self.warn(&failure);
                self.at = at;
                self.resumed = true;
                self.got_on();
                Next::Again
            }
            Ok(Standing::Unknown) => {
                self.warn(&failure);
                self.restart(permit).await;
                Next::Again
            }
            Ok(Standing::Gone) => self.find_or_renew(permit, failure).await,
            Err(failure) => Next::GiveUp(Unstored::Target(failure)),
        }
    }

    /// The session has gone: with the blob in place, because an answer was
    /// lost, or without.
    async fn find_or_renew(&mut self, permit: &Permit, failure: Failure) -> Next {
        let blob = self.blob.descriptor();
        let found = self.registry.is_there(permit, self.repo, blob).await;
        self.session = None;
        if found.unwrap_or(false) {
            return Next::Done;
        }
        self.lost += 1;
        if self.lost > LOST {
            return Next::GiveUp(Unstored::Target(failure));
        }
        self.warn(&failure);
        self.restart(permit).await;
        Next::Again
    }

    /// From the beginning, in another session.
    async fn restart(&mut self, permit: &Permit) {
        self.cancel(permit).await;
        self.reader = None;
        self.at = 0;
        self.accepted = 0;
        self.resumed = false;
    }

    async fn cancel(&mut self, permit: &Permit) {
        if let Some(session) = self.session.take() {
            self.registry.cancel(permit, &session.url, self.repo).await;
        }
    }

    /// More than ever has arrived.
    fn got_on(&mut self) {
        if self.at > self.furthest {
            self.furthest = self.at;
            self.cuts = 0;
        }
    }

    /// How long a chunk is to be.
    fn chunk(&self, session: &Session) -> u64 {
        let wanted = self.registry.chunks.size.max(session.least);
        wanted.min(self.most.unwrap_or(u64::MAX))
    }

    /// What to send at once after `sent` bytes were too many; `None` if it was
    /// not for their number.
    fn smaller(&self, sent: u64, limit: Option<u64>) -> Option<u64> {
        if sent <= self.accepted || sent <= SMALLEST {
            return None;
        }
        let told = limit.filter(|limit| (1..sent).contains(limit));
        Some(told.unwrap_or_else(|| (sent / 2).max(SMALLEST)))
    }

    fn warn(&self, failure: &Failure) {
        warn!(
            blob.digest = %self.blob.descriptor().digest,
            blob.bytes = self.size(),
            upload.bytes = self.at,
            "an upload to {} is gone on with: {}",
            self.repo,
            failure.text(),
        );
    }
}
