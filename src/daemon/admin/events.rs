//! What changes, as it changes: server-sent events, as the HTML standard has them.
//!
//! Nobody is sent every change: each watcher gets, some times a second at most,
//! what is different from what it was sent last. A slow one misses nothing but
//! what was in between, and keeps nobody waiting.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};

use super::{Admin, error};
use crate::report::{JobStatuses, Line, SCHEMA_VERSION};

/// How much time lies between two messages at least.
const PACE: Duration = Duration::from_millis(500);

/// How much lies between two at most, so that whoever hears nothing knows that the
/// connection is lost.
const PULSE: Duration = Duration::from_secs(5);

/// The same while blobs are sent.
const MOVING: Duration = Duration::from_secs(1);

/// How many failed runs are sent.
const FAILURES: usize = 20;

/// One who watches.
struct Watcher {
    admin: Arc<Admin>,
    changes: watch::Receiver<u64>,
    /// What they have seen.
    seen: Option<u64>,
    pause: Duration,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(State(admin): State<Arc<Admin>>) -> Response {
    let Ok(place) = Arc::clone(&admin.watchers).try_acquire_owned() else {
        let text = "too many watch already";
        return error(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let watcher = Watcher {
        changes: admin.board.changes(),
        admin,
        seen: None,
        pause: PULSE,
        _place: place,
    };
    let messages = stream::unfold(watcher, |mut watcher| async move {
        let message = watcher.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(message)), watcher))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    ([(CONTENT_TYPE, kind)], Body::from_stream(messages)).into_response()
}

impl Watcher {
    /// What they do not know yet; `None` when it is over.
    async fn next(&mut self) -> Option<String> {
        let closing = self.admin.closing.clone();
        if self.seen.is_some() {
            let (changes, pause) = (&mut self.changes, self.pause);
            let wait = async {
                sleep(PACE).await;
                let _ = timeout(pause - PACE, changes.changed()).await;
            };
            closing.run_until_cancelled(wait).await?;
        }
        self.changes.mark_unchanged();
        let admin = &self.admin;
        let change = admin.board.since(self.seen);
        self.seen = Some(change.version);
        let status = admin.status();
        self.pause = match status.transfers.is_empty() {
            true => PULSE,
            false => MOVING,
        };
        let mut message = event("status", &Line::Status(status));
        message += &event("registries", &Line::Registries(admin.registries()));
        if change.all || !change.jobs.is_empty() {
            let name = if change.all { "jobs" } else { "changed" };
            let jobs = JobStatuses {
                schema_version: SCHEMA_VERSION,
                jobs: change.jobs,
            };
            message += &event(name, &Line::Jobs(jobs));
        }
        if change.runs {
            message += &event("failures", &Line::Runs(admin.runs(true, FAILURES)));
        }
        Some(message)
    }
}

/// A line of JSON has no end of line within.
fn event(name: &str, line: &Line) -> String {
    format!("event: {name}\ndata: {}\n", line.line())
}
