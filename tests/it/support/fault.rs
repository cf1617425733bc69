//! What can go wrong with a request, and how it is done.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::stream::{self, StreamExt};
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};

use super::wire::Ending;

/// What happens to a request instead of, or after, being served.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answered with this status and nothing else.
    Status(u16),
    /// Answered with this.
    Reply {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Served, with one bit of the body flipped.
    FlipBit,
    /// Served, with the connection ended after so many bytes of the body.
    Cut { after: usize, how: End },
    /// Served, with silence after so many bytes of the body.
    Stall(usize),
    /// Served, the body in pieces of so many bytes, with a wait before each.
    Drip { bytes: usize, every: Duration },
    /// Served, with this as the body's length.
    Length(u64),
    /// The connection is closed without an answer.
    Drop,
    /// Served only when [`TestRegistry::release`](super::TestRegistry::release)
    /// is called.
    Hold,
    /// Served, with the connection closed instead of an answer.
    Lose,
    /// An upload of which so many bytes arrive and are kept, before the
    /// connection is reset.
    UploadCut { stored: usize },
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN: the peer has no more to say.
    Fin,
    /// RST: the connection is gone.
    Reset,
}

impl Fault {
    /// The connection is closed in order after so many bytes of the body.
    pub(crate) fn cut(after: usize) -> Self {
        let how = End::Fin;
        Self::Cut { after, how }
    }

    /// A scripted answer.
    pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::Reply {
            status,
            headers: headers.collect(),
            body: body.into(),
        }
    }
}

pub(super) fn reply(status: u16, headers: &[(String, String)], body: Vec<u8>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).expect("a valid reply")
}

pub(super) async fn flip_bit(response: Response) -> Response {
    let (parts, body) = content(response).await;
    let mut body = body.to_vec();
    let middle = body.len() / 2;
    if let Some(byte) = body.get_mut(middle) {
        *byte ^= 1;
    }
    Response::from_parts(parts, body.into())
}

pub(super) async fn cut(response: Response, after: usize, how: End, line: Ending) -> Response {
    begun(response, after, async move {
        // Lets the server send what it has before it learns of the end.
        tokio::task::yield_now().await;
        if how == End::Reset {
            line.reset();
        }
        Err(std::io::Error::other("cut"))
    })
    .await
}

pub(super) async fn stall(response: Response, after: usize) -> Response {
    begun(response, after, std::future::pending()).await
}

/// The body's first bytes, under the length of the whole, and then `rest`.
async fn begun(
    response: Response,
    length: usize,
    rest: impl Future<Output = std::io::Result<Bytes>> + Send + 'static,
) -> Response {
    let (mut parts, body) = content(response).await;
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let start = body.slice(..length.min(body.len()));
    let body = stream::iter([Ok(start)]).chain(stream::once(rest));
    Response::from_parts(parts, Body::from_stream(body))
}

pub(super) async fn drip(response: Response, bytes: usize, every: Duration) -> Response {
    let (mut parts, body) = content(response).await;
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let pieces = stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        // The slowness is the fault.
        tokio::time::sleep(every).await;
        let piece = rest.split_to(bytes.min(rest.len()));
        Some((std::io::Result::Ok(piece), rest))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

pub(super) async fn length(response: Response, length: u64) -> Response {
    let (mut parts, body) = content(response).await;
    parts.headers.insert(CONTENT_LENGTH, length.into());
    // A stream, for a body of known length would be compared with the header.
    let body = stream::iter([std::io::Result::Ok(body)]);
    Response::from_parts(parts, Body::from_stream(body))
}

/// A request that stores the first `stored` bytes of an upload's body and
/// leaves the session open.
pub(super) async fn begun_upload(request: Request, stored: usize) -> Request {
    let (mut parts, body) = request.into_parts();
    let mut kept = Vec::new();
    let mut body = body.into_data_stream();
    while let Some(Ok(piece)) = body.next().await
        && kept.len() < stored
    {
        kept.extend_from_slice(&piece);
    }
    kept.truncate(stored);
    // What closes the session would fail for want of the rest.
    if parts.method == Method::PUT {
        parts.method = Method::PATCH;
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let session = query.split('&').filter(|part| !part.starts_with("digest="));
        let session: Vec<&str> = session.collect();
        let uri = format!("{path}?{}", session.join("&"));
        parts.uri = uri.parse().expect("a part of a URI is one");
        parts.headers.remove(CONTENT_RANGE);
    } else if let Some(range) = parts.headers.get(CONTENT_RANGE) {
        let start = range.to_str().expect("text").split('-').next();
        let start: usize = start.and_then(|start| start.parse().ok()).expect("a range");
        let end = (start + stored).saturating_sub(1);
        let range = format!("{start}-{end}").parse().expect("digits");
        parts.headers.insert(CONTENT_RANGE, range);
    }
    parts.headers.insert(CONTENT_LENGTH, kept.len().into());
    Request::from_parts(parts, kept.into())
}

async fn content(response: Response) -> (http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    (parts, body)
}
