//! The daemon's HTTP surface: health, metrics, the API, the status page.
//!
//! Whoever reaches it may look, unless there is a token; nothing can be changed
//! without one. It is for people and programs of the same organisation: what a
//! browser could be tricked into asking is refused (see `access`).

mod access;
mod api;
mod events;
mod health;
mod page;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use access::{Access, TokenError};
pub use serve::serve;

use super::board::Board;
use super::reload::Asked;
use super::supervisor::{Command, Engine};
use crate::report::{ApiError, Line, Version};

/// How long a request's body may be, in bytes.
const BODY: usize = 1 << 20;

/// How long a request's body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many may watch events at once.
const WATCHERS: usize = 32;

/// What requests are answered from.
#[derive(Debug)]
pub struct Admin {
    board: Arc<Board>,
    engine: Arc<dyn Engine>,
    commands: mpsc::Sender<Command>,
    /// `None` when the configuration cannot be read again.
    reloads: Option<mpsc::Sender<Asked>>,
    access: Access,
    version: Version,
    watchers: Arc<Semaphore>,
    /// Cancelled when answers that have no end are to end.
    closing: CancellationToken,
}

impl Admin {
    /// The surface of a daemon. What has no end ends when `closing` is cancelled.
    pub fn new(
        board: Arc<Board>,
        engine: Arc<dyn Engine>,
        commands: mpsc::Sender<Command>,
        reloads: Option<mpsc::Sender<Asked>>,
        access: Access,
        version: Version,
        closing: CancellationToken,
    ) -> Self {
        Self {
            board,
            engine,
            commands,
            reloads,
            access,
            version,
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            closing,
        }
    }

    /// Its routes.
    pub fn router(self) -> Router {
        let admin = Arc::new(self);
        let open = Router::new()
            .route("/livez", get(health::live))
            .route("/healthz", get(health::live))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(health::metrics));
        let page = Router::new()
            .route("/", get(page::index))
            .route("/page.css", get(page::style))
            .route("/page.js", get(page::script))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&admin),
                named_right,
            ));
        let api = Router::new()
            .route("/status", get(api::status))
            .route("/jobs", get(api::jobs))
            .route("/jobs/{name}", get(api::job))
            .route("/runs", get(api::runs))
            .route("/runs/{id}", get(api::run))
            .route("/registries", get(api::registries))
            .route("/config", get(api::config))
            .route("/version", get(api::version))
            .route("/log-level", get(api::log_level).put(api::set_log_level))
            .route("/events", get(events::events))
            .route("/jobs/{name}/trigger", post(api::trigger))
            .route("/jobs/{name}/pause", post(api::pause))
            .route("/jobs/{name}/resume", post(api::resume))
            .route("/pause", post(api::pause_all))
            .route("/resume", post(api::resume_all))
            .route("/reload", post(api::reload))
            .route("/runs/{id}/cancel", post(api::cancel))
            .layer(middleware::from_fn_with_state(Arc::clone(&admin), admitted));
        Router::new()
            .merge(open)
            .merge(page)
            .nest("/api/v1", api)
            .fallback(nothing)
            .method_not_allowed_fallback(other_method)
            .layer(middleware::from_fn_with_state(Arc::clone(&admin), counted))
            .with_state(admin)
    }
}

/// Counts a request, and says of its answer what holds for all.
async fn counted(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    // What has no route must not make a series of its own.
    let path = path.as_ref().map_or("other", MatchedPath::as_str);
    let metrics = &admin.board.metrics().process;
    metrics.requested(path, response.status().as_u16());
    let headers = response.headers_mut();
    let same = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, same);
    let never = HeaderValue::from_static("no-store");
    headers.entry(CACHE_CONTROL).or_insert(never);
    response
}

/// Lets through what was sent to a name of ours.
async fn named_right(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match admin.access.of_ours(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => error(refusal.status(), &refusal.to_string()),
    }
}

/// Lets through who may do what they ask for, with a body that is not too long.
async fn admitted(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let admitted = admin.access.admits(request.headers(), changes);
    if let Err(refusal) = admitted {
        return error(refusal.status(), &refusal.to_string());
    }
    let (parts, body) = request.into_parts();
    let body = match tokio::time::timeout(PATIENCE, to_bytes(body, BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let text = format!("the body has to come whole, with {BODY} bytes at most");
            return error(StatusCode::PAYLOAD_TOO_LARGE, &text);
        }
        Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    next.run(Request::from_parts(parts, Body::from(body))).await
}

async fn nothing() -> Response {
    error(StatusCode::NOT_FOUND, "there is nothing here")
}

async fn other_method() -> Response {
    let text = "there is something here, but not for this method";
    error(StatusCode::METHOD_NOT_ALLOWED, text)
}

/// An answer in the schema of reports.
fn answer(status: StatusCode, line: &Line) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, kind)], line.line()).into_response()
}

fn error(status: StatusCode, text: &str) -> Response {
    let line = Line::Error(ApiError {
        status: status.as_u16(),
        error: text.to_owned(),
    });
    answer(status, &line)
}
