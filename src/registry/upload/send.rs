//! The requests that carry the content.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};

use super::Upload;
use super::session::{Session, received};
use super::setback::Setback;
use crate::http::{Payload, Request, Response, exact_body};
use crate::registry::failure::Failure;
use crate::registry::links::closing;
use crate::registry::operation::UPLOAD;
use crate::store::{BlobStream, ErrorKind, StoreError};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Content from some place on, of which a chunk may be in hand.
pub(super) struct Reader {
    body: BlobStream,
    /// What has come and is in no chunk yet.
    spare: Bytes,
    /// Where the chunk begins.
    start: u64,
    chunk: Bytes,
}

impl Reader {
    /// `body` begins at byte `start` of the blob.
    pub(super) fn new(body: BlobStream, start: u64) -> Self {
        Self {
            body,
            spare: Bytes::new(),
            start,
            chunk: Bytes::new(),
        }
    }

    /// Goes to a place within the chunk in hand; `false` for any other.
    pub(super) fn seek(&mut self, to: u64) -> bool {
        let ahead = to.checked_sub(self.start);
        let Some(ahead) = ahead.and_then(|ahead| usize::try_from(ahead).ok()) else {
            return false;
        };
        if ahead > self.chunk.len() {
            return false;
        }
        self.chunk = self.chunk.slice(ahead..);
        self.start = to;
        true
    }

    /// The chunk in hand, or the next one of `length` bytes; at the end of the
    /// content a shorter one, and then an empty one.
    async fn chunk(&mut self, length: u64) -> Result<Bytes, StoreError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if self.chunk.is_empty() {
            let mut chunk = BytesMut::new();
            while chunk.len() < length {
                if self.spare.is_empty() {
                    match self.body.try_next().await? {
                        Some(piece) => self.spare = piece,
                        None => break,
                    }
                }
                let part = self.spare.len().min(length - chunk.len());
                chunk.extend_from_slice(&self.spare.split_to(part));
            }
            self.chunk = chunk.freeze();
        }
        Ok(self.chunk.clone())
    }
}

impl Upload<'_> {
    /// Nothing is to be sent. That it is nothing has to be known first.
    pub(super) async fn check_empty(&mut self) -> Result<(), Setback> {
        match self.reader.take() {
            Some(reader) => {
                let all: Result<Vec<_>, _> = reader.body.try_collect().await;
                all.map(drop).map_err(Setback::Source)
            }
            None => Ok(()),
        }
    }

    /// Sends everything and closes the session.
    pub(super) async fn send_whole(&mut self, session: &Session) -> Result<(), Setback> {
        let size = self.size();
        let url = closing(&session.url, &self.blob.descriptor().digest);
        let response = self
            .stream(Request::new(UPLOAD, Method::PUT, url), size)
            .await?;
        match response.status().as_u16() {
            200 | 201 | 204 => Ok(()),
            _ => Err(Setback::of_whole(Failure::of(response).await, size)),
        }
    }

    /// Sends all that the registry does not have yet.
    pub(super) async fn send_rest(&mut self, session: &mut Session) -> Result<(), Setback> {
        let left = self.size() - self.at;
        let request = Request::new(UPLOAD, Method::PATCH, session.url.clone())
            .header(CONTENT_RANGE, range(self.at, left));
        let response = self.stream(request, left).await?;
        self.taken(session, response, left).await
    }

    /// Sends chunk after chunk until the registry has everything.
    pub(super) async fn send_chunks(&mut self, session: &mut Session) -> Result<(), Setback> {
        let wanted = self.chunk(session);
        while let Some(reader) = &mut self.reader {
            let chunk = reader.chunk(wanted).await.map_err(Setback::Source)?;
            let length = chunk.len() as u64;
            if length == 0 {
                break;
            }
            // Not to be repeated: a part of it may have arrived.
            let mut request = Request::new(UPLOAD, Method::PATCH, session.url.clone())
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_RANGE, range(self.at, length))
                .payload(Payload::Bytes(chunk))
                .patient()
                .once();
            let sent = self.registry.send_part(&mut request, &self.scopes).await;
            let response = sent.map_err(|failure| Setback::of(failure, length))?;
            self.taken(session, response, length).await?;
            self.accepted = self.accepted.max(length);
        }
        Ok(())
    }

    /// Says that this was all.
    pub(super) async fn close(&mut self, session: &Session) -> Result<(), Setback> {
        let url = closing(&session.url, &self.blob.descriptor().digest);
        let mut request = Request::new(UPLOAD, Method::PUT, url)
            .header(CONTENT_TYPE, OCTETS)
            .patient();
        let sent = self.registry.send_part(&mut request, &self.scopes).await;
        let response = sent.map_err(|failure| Setback::of(failure, 0))?;
        match response.status().as_u16() {
            200 | 201 | 204 => Ok(()),
            _ => Err(Setback::of(Failure::of(response).await, 0)),
        }
    }

    /// Sends `request` with the content from where it stands, `length` bytes.
    async fn stream(&mut self, request: Request, length: u64) -> Result<Response, Setback> {
        let body = self.reader.take().map(|reader| reader.body);
        let body = body.unwrap_or_else(|| stream::empty().boxed());
        // What the source says is kept aside: reqwest would bury it in words
        // of its own.
        let broken: Arc<Mutex<Option<StoreError>>> = Arc::default();
        let slot = Arc::clone(&broken);
        let body = body.map_err(move |error| {
            let text = error.to_string();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            text
        });
        let mut request = request
            .header(CONTENT_TYPE, OCTETS)
            .patient()
            .payload(Payload::Stream(Some(exact_body(body.boxed(), length))));
        let sent = self.registry.send_part(&mut request, &self.scopes).await;
        let source = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match source {
            Some(error) => Err(Setback::Source(error)),
            None => sent.map_err(|failure| Setback::of(failure, length)),
        }
    }

    /// Reads the answer to a part of `sent` bytes.
    async fn taken(
        &mut self,
        session: &mut Session,
        response: Response,
        sent: u64,
    ) -> Result<(), Setback> {
        // ECR says 201, some 204.
        if !matches!(response.status().as_u16(), 201 | 202 | 204) {
            return Err(Setback::of(Failure::of(response).await, sent));
        }
        session.follow(&response).map_err(Setback::Refused)?;
        let at = self.at + sent;
        match received(response.headers()) {
            Some(there) if there != at => {
                let text = format!("it accepts a part and has {there} bytes instead of {at}");
                Err(Setback::Cut(Failure::new(ErrorKind::Unavailable, text)))
            }
            _ => {
                self.at = at;
                if let Some(reader) = &mut self.reader {
                    reader.seek(at);
                }
                self.got_on();
                Ok(())
            }
        }
    }
}

/// `Content-Range` of an upload, which has no unit and no total: OCI
/// distribution-spec 1.1, "Pushing a blob in chunks".
fn range(start: u64, length: u64) -> HeaderValue {
    let last = (start + length).saturating_sub(1);
    HeaderValue::try_from(format!("{start}-{last}")).expect("digits may stand in a header")
}
