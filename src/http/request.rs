//! Requests that can be sent again, and their answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::time::timeout;

use super::body::{Progress, held_body};
use super::error::causes;
use super::meter::Flight;
use super::{HttpError, Streamed};

/// How long a body that is read into memory may take in all. Such bodies are
/// short, and the time between two pieces alone would let a server that sends
/// a byte a minute hold its request for ever.
const WHOLE: Duration = Duration::from_secs(5 * 60);

/// The same for what only explains a failure.
const EXCERPT: Duration = Duration::from_secs(10);

/// How long the answer to a patient request may take at least: registries that
/// store in S3 copy the whole blob when its upload is closed.
const CLOSING: Duration = Duration::from_secs(15 * 60);

/// A request that has not been sent.
pub struct Request {
    /// What it is for, as it is counted.
    pub operation: &'static str,
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// The headers, save for those that the client adds.
    pub headers: HeaderMap,
    /// The body.
    pub payload: Payload,
    /// Whether an attempt that failed may have had its effect, which must not
    /// happen twice.
    once: bool,
    /// How much of a success's body belongs to the answer, in bytes; see
    /// [`whole`](Self::whole).
    whole: Option<usize>,
    /// See [`patient`](Self::patient).
    patient: bool,
}

/// Without the query, which may be signed. Secret headers hide themselves.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("path", &self.url.path())
            .field("headers", &self.headers)
            .field("payload", &self.payload)
            .finish()
    }
}

/// A request's body.
pub enum Payload {
    /// None.
    Empty,
    /// Bytes that can be sent again.
    Bytes(Bytes),
    /// Bytes that pass once; `None` when they have passed.
    Stream(Option<Streamed>),
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Stream(_) => f.write_str("stream"),
        }
    }
}

impl Request {
    /// A request without headers and body, counted as an `operation`.
    pub fn new(operation: &'static str, method: Method, url: Url) -> Self {
        Self {
            operation,
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            once: false,
            whole: None,
            patient: false,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a body.
    #[must_use]
    pub fn payload(self, payload: Payload) -> Self {
        Self { payload, ..self }
    }

    /// The same request, not to be repeated after a failure before somebody has
    /// looked what came of it.
    #[must_use]
    pub fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Whether a failed attempt may simply be followed by another.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.once && self.is_replayable()
    }

    /// Makes the body of a success a part of the answer: when it breaks off,
    /// there was none, and the request is sent again. It may have `limit`
    /// bytes, of which it holds all in memory.
    #[must_use]
    pub fn whole(self, limit: usize) -> Self {
        let whole = Some(limit);
        Self { whole, ..self }
    }

    /// Gives the host 15 minutes at least for its answer, once it has the
    /// request: it has much to do for this one.
    #[must_use]
    pub fn patient(self) -> Self {
        Self {
            patient: true,
            ..self
        }
    }

    /// How long to wait for the answer of a host that else may keep silent for
    /// `idle`.
    pub(super) fn closing(&self, idle: Duration) -> Duration {
        match self.patient {
            true => CLOSING.max(idle),
            false => idle,
        }
    }

    /// What [`whole`](Self::whole) was given.
    pub(super) fn limit(&self) -> Option<usize> {
        self.whole
    }

    /// Whether it can be sent a second time.
    pub fn is_replayable(&self) -> bool {
        !matches!(self.payload, Payload::Stream(_))
    }

    /// What goes over the wire now, and how far its body has come.
    pub(super) fn build(&mut self) -> Result<(reqwest::Request, Option<Arc<Progress>>), HttpError> {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        let streamed = match &mut self.payload {
            Payload::Empty if self.method == Method::POST || self.method == Method::PUT => {
                // On HTTP/1.1 hyper says nothing about a body that is not
                // there, and strict servers answer 411.
                request
                    .headers_mut()
                    .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                return Ok((request, None));
            }
            Payload::Empty => return Ok((request, None)),
            Payload::Bytes(bytes) => held_body(bytes.clone()),
            Payload::Stream(streamed) => {
                let spent = || HttpError::Request("its body has been sent already".to_owned());
                streamed.take().ok_or_else(spent)?
            }
        };
        *request.body_mut() = Some(streamed.body);
        Ok((request, Some(streamed.progress)))
    }
}

/// How often a request was tried before this came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trail {
    /// Attempts in all.
    pub attempts: u32,
    /// From the first attempt to the last answer, waits included.
    pub elapsed: Duration,
}

/// What there is to say beyond the one attempt that everybody expects; begins
/// with a space.
impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts <= 1 {
            return Ok(());
        }
        let seconds = self.elapsed.as_secs_f64();
        write!(f, " ({} attempts in {seconds:.1} s)", self.attempts)
    }
}

/// An answer, of which the body is still to come.
pub struct Response {
    inner: reqwest::Response,
    flight: Flight,
    trail: Trail,
    /// How long the next piece of the body may keep one waiting.
    idle: Duration,
    /// Of the body, what was looked at before its time, and what came instead
    /// of the rest.
    peeked: VecDeque<Result<Bytes, HttpError>>,
}

/// Neither the URL's query nor the headers, which may lead to signed URLs.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("host", &self.url().host_str())
            .field("path", &self.url().path())
            .field("trail", &self.trail)
            .finish_non_exhaustive()
    }
}

impl Response {
    pub(super) fn new(inner: reqwest::Response, flight: Flight, idle: Duration) -> Self {
        Self {
            inner,
            flight,
            trail: Trail::default(),
            idle,
            peeked: VecDeque::new(),
        }
    }

    /// The same answer, with what it took to get it.
    pub(super) fn after(self, trail: Trail) -> Self {
        Self { trail, ..self }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header that is text.
    pub fn text_header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// `Content-Length`, as the server wrote it. After HEAD it tells of a body
    /// that does not come.
    pub fn content_length(&self) -> Option<u64> {
        self.text_header("content-length")?.trim().parse().ok()
    }

    /// The URL that answered.
    pub fn url(&self) -> &Url {
        self.inner.url()
    }

    /// How often it was asked for.
    pub fn trail(&self) -> Trail {
        self.trail
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// When it is longer than `limit` bytes, of which no more are read, when it
    /// breaks off, or when it takes longer than 5 minutes.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, HttpError> {
        self.read(limit).await
    }

    /// Reads the whole body ahead of whoever wants it.
    pub(super) async fn hold(&mut self, limit: usize) -> Result<(), HttpError> {
        let body = self.read(limit).await?;
        self.peeked.push_back(Ok(body));
        Ok(())
    }

    async fn read(&mut self, limit: usize) -> Result<Bytes, HttpError> {
        if self
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(HttpError::TooLong(limit));
        }
        let reading = async {
            let mut all = BytesMut::new();
            while let Some(chunk) = self.chunk().await? {
                if all.len() + chunk.len() > limit {
                    return Err(HttpError::TooLong(limit));
                }
                all.extend_from_slice(&chunk);
            }
            Ok(all.freeze())
        };
        match timeout(WHOLE, reading).await {
            Ok(read) => read,
            Err(_) => Err(HttpError::Transport {
                cause: format!(
                    "no end of the answer in {} s: operation timed out",
                    WHOLE.as_secs()
                ),
                trail: Trail::default(),
            }),
        }
    }

    /// The body's first `limit` bytes, or what came of them in 10 seconds: for
    /// messages.
    pub async fn excerpt(mut self, limit: usize) -> Bytes {
        let mut all = BytesMut::new();
        let reading = async {
            while let Ok(Some(chunk)) = self.chunk().await {
                all.extend_from_slice(&chunk[..chunk.len().min(limit - all.len())]);
                if all.len() == limit {
                    break;
                }
            }
        };
        // Whether it came to an end or not, there is no more of it.
        let _ = timeout(EXCERPT, reading).await;
        all.freeze()
    }

    /// The body's first `limit` bytes, or what came of them in 10 seconds. They
    /// stay there for whoever reads the body.
    pub async fn peek(&mut self, limit: usize) -> Bytes {
        let reading = async {
            while self.peeked.iter().flatten().map(Bytes::len).sum::<usize>() < limit
                && self.peeked.iter().all(Result::is_ok)
            {
                match self.receive().await.transpose() {
                    Some(piece) => self.peeked.push_back(piece),
                    None => break,
                }
            }
        };
        // What did not come in time is still to come.
        let _ = timeout(EXCERPT, reading).await;
        let mut seen = BytesMut::new();
        for piece in self.peeked.iter().flatten() {
            seen.extend_from_slice(&piece[..piece.len().min(limit - seen.len())]);
        }
        seen.freeze()
    }

    /// The body, piece by piece.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, HttpError>> {
        stream::try_unfold(self, |mut response| async move {
            let chunk = response.chunk().await?;
            Ok(chunk.map(|chunk| (chunk, response)))
        })
        .boxed()
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        match self.peeked.pop_front() {
            Some(piece) => piece.map(Some),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, HttpError> {
        let failed = |cause| HttpError::Transport {
            cause,
            trail: Trail::default(),
        };
        match timeout(self.idle, self.inner.chunk()).await {
            Ok(Ok(chunk)) => {
                self.flight.received(chunk.as_ref().map_or(0, Bytes::len));
                Ok(chunk)
            }
            Ok(Err(error)) => Err(failed(causes(&error.without_url()))),
            Err(elapsed) => Err(failed(format!(
                "no byte for {} s: operation timed out ({})",
                self.idle.as_secs_f64(),
                causes(&elapsed)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::http::{HostOptions, Meter};

    fn of_body(body: reqwest::Body) -> Response {
        let answer = http::Response::new(body).into();
        let meter: Arc<dyn Meter> = Arc::new(());
        Response::new(answer, Flight::begin(&meter, "test"), HostOptions::IDLE)
    }

    /// An answer of which a byte comes every 3 seconds.
    fn trickle(bytes: usize) -> Response {
        let pieces = stream::iter(0..bytes).then(|_| async {
            sleep(Duration::from_secs(3)).await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
        });
        let body = reqwest::Body::wrap_stream(pieces);
        of_body(body)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_in_memory_has_to_come_in_time() {
        let began = Instant::now();
        assert_eq!(trickle(90).bytes(1000).await.unwrap().len(), 90);
        assert_eq!(began.elapsed().as_secs(), 270);

        let began = Instant::now();
        let error = trickle(900).bytes(1000).await.unwrap_err();
        assert!(matches!(error, HttpError::Transport { .. }), "{error}");
        assert!(error.to_string().contains("in 300 s"), "{error}");
        assert_eq!(began.elapsed().as_secs(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_streams_may_take_any_time_but_not_stand_still() {
        let began = Instant::now();
        let pieces = trickle(10_000).into_stream().count().await;
        assert_eq!(pieces, 10_000);
        assert_eq!(began.elapsed().as_secs(), 30_000);

        let began = Instant::now();
        let mut response = trickle(10);
        response.idle = Duration::from_millis(2500);
        let error = response.into_stream().next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("no byte for 2.5 s"), "{error}");
        assert_eq!(began.elapsed().as_millis(), 2500);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_looked_at_is_still_there() {
        let mut answer = trickle(5);
        assert_eq!(answer.peek(2).await, "xx");
        assert_eq!(answer.peek(1).await, "x");
        assert_eq!(answer.peek(3).await, "xxx");
        assert_eq!(answer.bytes(1000).await.unwrap(), "xxxxx");

        let began = Instant::now();
        let mut answer = trickle(900);
        assert_eq!(answer.peek(1000).await, "xxx");
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(answer.excerpt(5).await, "xxxxx");

        // What goes wrong meanwhile is said in its place.
        let pieces = [
            Ok(Bytes::from_static(b"ab")),
            Err(std::io::Error::other("cut")),
        ];
        let body = reqwest::Body::wrap_stream(stream::iter(pieces));
        let mut answer = of_body(body);
        assert_eq!(answer.peek(10).await, "ab");
        assert_eq!(answer.peek(10).await, "ab");
        let mut rest = answer.into_stream();
        assert_eq!(rest.next().await.unwrap().unwrap(), "ab");
        assert!(rest.next().await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_excerpt_is_what_came_soon() {
        let began = Instant::now();
        assert_eq!(trickle(900).excerpt(1000).await, "xxx");
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(trickle(2).excerpt(1000).await, "xx");
        assert_eq!(trickle(900).excerpt(1).await, "x");
    }
}
