//! A body of known length that streams.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use super::meter::Sending;

type BoxError = Box<dyn Error + Send + Sync>;

/// How much of what is in memory is handed over at once, in bytes: each piece
/// that the host takes is a sign of life.
const PIECE: usize = 64 << 10;

/// A body that passes once, and how far it has come.
pub struct Streamed {
    pub(super) body: reqwest::Body,
    pub(super) progress: Arc<Progress>,
}

/// Who keeps whom waiting while a body is sent. There is no limit on the
/// whole, for a blob may be of any size and a line of any speed.
#[derive(Debug)]
pub(super) struct Progress {
    phase: Mutex<Phase>,
    /// What counts the bytes; there is none before the host is given the body.
    sending: OnceLock<Sending>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The host has what there was, and has not asked for more since.
    Taken(Instant),
    /// The source has nothing yet. It has limits of its own.
    Source,
    /// The host has the last byte since then.
    Complete(Instant),
}

impl Progress {
    /// The host is given the body now, and no sooner.
    pub(super) fn begin(&self, sending: Sending) {
        // Each body passes once.
        let _ = self.sending.set(sending);
        self.enter(Phase::Taken(Instant::now()));
    }

    /// Ends, and says why, when the host has taken nothing for `idle` of what
    /// was there to be taken, or has not answered `closing` after the last byte.
    pub(super) async fn stalled(&self, idle: Duration, closing: Duration) -> String {
        loop {
            let phase = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
            let left = match phase {
                Phase::Taken(since) => idle.checked_sub(since.elapsed()),
                Phase::Complete(since) => closing.checked_sub(since.elapsed()),
                // Whatever begins meanwhile cannot be over by then.
                Phase::Source => Some(idle),
            };
            match (left.filter(|left| !left.is_zero()), phase) {
                (Some(left), _) => sleep(left).await,
                (None, Phase::Complete(_)) => {
                    return format!(
                        "no answer for {} s after the last byte: operation timed out",
                        closing.as_secs_f64()
                    );
                }
                (None, _) => return format!("no progress for {} s", idle.as_secs_f64()),
            }
        }
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

/// A request body of exactly `length` bytes.
///
/// The length is declared by the body itself, not by a header beside it: with
/// a header that is too small, HTTP/1.1 would cut the body silently. A stream
/// that is shorter or longer fails the request, and one that fails at its very
/// end as well: the last piece leaves only when the stream has ended in order.
pub fn exact_body<E>(stream: BoxStream<'static, Result<Bytes, E>>, length: u64) -> Streamed
where
    E: Into<BoxError> + Send + 'static,
{
    let progress = Arc::new(Progress {
        phase: Mutex::new(Phase::Source),
        sending: OnceLock::new(),
    });
    let body = reqwest::Body::wrap(Exact {
        // reqwest asks for `Sync`, which a boxed stream is not. Nobody waits
        // for this lock: `poll_frame` has the body for itself.
        stream: Mutex::new(stream.fuse().boxed()),
        missing: length,
        held: None,
        progress: Arc::clone(&progress),
    });
    Streamed { body, progress }
}

/// A request body that is in memory.
pub(super) fn held_body(bytes: Bytes) -> Streamed {
    let length = bytes.len() as u64;
    let pieces = stream::unfold(bytes, |mut left| async {
        let piece = left.split_to(left.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), left))
    });
    exact_body(pieces.boxed(), length)
}

struct Exact<E> {
    stream: Mutex<BoxStream<'static, Result<Bytes, E>>>,
    /// What has to come yet.
    missing: u64,
    /// What has come and not left. HTTP/1.1 asks for nothing after the length
    /// is reached, so that without this the end would never be seen.
    held: Option<Bytes>,
    progress: Arc<Progress>,
}

impl<E: Into<BoxError>> Exact<E> {
    fn is_drained(&self) -> bool {
        self.missing == 0 && self.held.is_none()
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let failed = |error: BoxError| Poll::Ready(Some(Err(error)));
        loop {
            let stream = self
                .stream
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            match ready!(stream.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => match self.missing.checked_sub(chunk.len() as u64) {
                    None => return failed("the content is longer than its descriptor".into()),
                    Some(missing) => {
                        self.missing = missing;
                        if let Some(before) = self.held.replace(chunk) {
                            return Poll::Ready(Some(Ok(Frame::data(before))));
                        }
                    }
                },
                Some(Err(error)) => return failed(error.into()),
                None if self.missing > 0 => {
                    return failed("the content is shorter than its descriptor".into());
                }
                None => return Poll::Ready(self.held.take().map(|last| Ok(Frame::data(last)))),
            }
        }
    }
}

impl<E: Into<BoxError>> Body for Exact<E> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = self.poll_piece(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let (Some(piece), Some(sending)) = (frame.data_ref(), self.progress.sending.get())
        {
            sending.sent(piece.len());
        }
        self.progress.enter(match &polled {
            Poll::Pending => Phase::Source,
            Poll::Ready(Some(Ok(_))) if !self.is_drained() => Phase::Taken(Instant::now()),
            Poll::Ready(_) => Phase::Complete(Instant::now()),
        });
        polled
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |held| held.len() as u64);
        SizeHint::with_exact(self.missing + held)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn read(chunks: &[&'static [u8]], length: u64) -> Result<u64, String> {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|c| Ok::<_, io::Error>(Bytes::from_static(c)))
            .collect();
        let mut body = exact_body(stream::iter(chunks).boxed(), length).body;
        assert_eq!(body.size_hint().exact(), Some(length));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut seen = 0;
        loop {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => seen += frame.into_data().unwrap().len() as u64,
                Poll::Ready(Some(Err(error))) => {
                    return Err(super::super::error::causes(&error));
                }
                Poll::Ready(None) => return Ok(seen),
                Poll::Pending => unreachable!("the stream is ready"),
            }
        }
    }

    #[test]
    fn only_the_promised_length_passes() {
        assert_eq!(read(&[b"ab", b"c"], 3), Ok(3));
        assert_eq!(read(&[], 0), Ok(0));
        assert!(read(&[b"ab"], 3).unwrap_err().contains("shorter"));
        assert!(read(&[b"ab", b"cd"], 3).unwrap_err().contains("longer"));
        assert!(read(&[b"abc", b"d"], 3).unwrap_err().contains("longer"));
    }
}
