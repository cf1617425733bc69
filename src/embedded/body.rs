//! Request bodies.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::StatusCode;

use super::answer::{Code, Failure};

/// How long a client may send nothing in the middle of a body. Without a bound
/// a connection that died unnoticed would hold its upload for ever.
const IDLE: Duration = Duration::from_secs(120);

/// A request's body, piece by piece.
pub(super) struct Pieces(BodyDataStream);

impl Pieces {
    pub(super) fn of(body: Body) -> Self {
        Self(body.into_data_stream())
    }

    /// The next piece, or `None` at the body's end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(IDLE, self.0.next()).await {
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(Failure::bad(
                Code::BlobUploadInvalid,
                format!("the body broke off: {error}"),
            )),
            Err(_) => Err(Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                Code::BlobUploadInvalid,
                format!("the body did not go on for {} s", IDLE.as_secs()),
            )),
        }
    }

    /// All of it, if that is no more than `limit` bytes; 413 otherwise.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Bytes, Failure> {
        let mut all = BytesMut::new();
        let mut seen = 0_usize;
        while let Some(piece) = self.next().await? {
            seen = seen.saturating_add(piece.len());
            if seen <= limit {
                all.extend_from_slice(&piece);
            } else if seen > limit.saturating_mul(4) {
                break;
            }
            // Just above the limit the rest is read and dropped: a client that
            // is still sending when the connection closes may never see why.
        }
        if seen > limit {
            let message = format!("longer than the {limit} bytes that are taken");
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                Code::SizeInvalid,
                message,
            ));
        }
        Ok(all.freeze())
    }
}
