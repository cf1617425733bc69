//! The server: from a request to the handler of its endpoint.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use super::answer::{Answer, Code, Failure, json_answer};
use super::body::Pieces;
use super::query::Query;
use super::route::Route;
use super::sessions::Sessions;
use crate::oci::Repository;
use crate::store::{ErrorKind, Hosted};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// What the embedded registry allows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Refuses every write with 405.
    pub read_only: bool,
    /// How many uploads may be under way at once; one more is answered 429.
    pub max_uploads: NonZeroUsize,
    /// How long an upload may lie idle before it is given up.
    pub upload_expiry: Duration,
}

impl Default for Options {
    /// Writable; 1,000 uploads, given up after an hour.
    fn default() -> Self {
        Self {
            read_only: false,
            max_uploads: NonZeroUsize::new(1000).expect("1000 is not 0"),
            upload_expiry: Duration::from_secs(3600),
        }
    }
}

impl Options {
    /// These options with [`Options::read_only`] as given.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }
}

/// One embedded registry: its store and the uploads under way.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) store: Arc<dyn Hosted>,
    pub(super) sessions: Sessions,
    read_only: bool,
}

/// A registry over `store`, to be given to [`serve`] or put under layers.
pub fn router(store: Arc<dyn Hosted>, options: Options) -> Router {
    let registry = Registry {
        store,
        sessions: Sessions::new(options.max_uploads, options.upload_expiry),
        read_only: options.read_only,
    };
    // Names have any number of parts, which axum's patterns cannot say.
    Router::new()
        .fallback(answer)
        .with_state(Arc::new(registry))
}

/// Serves `router` until `shutdown` completes, and then until the requests
/// under way are answered. A client that never ends its request holds that up;
/// dropping the future ends it at once.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = registry.dispatch(&parts, Pieces::of(body)).await;
    let status = match &answer {
        Ok(response) => response.status(),
        Err(failure) => failure.status(),
    };
    let (method, path) = (&parts.method, parts.uri.path());
    match answer.as_ref().err().and_then(Failure::cause) {
        Some(cause) if status.is_server_error() => {
            tracing::error!(%method, path, status = status.as_u16(), error = cause.one_line(), "request failed");
        }
        cause => {
            let error = cause.map(|cause| cause.to_string());
            tracing::debug!(%method, path, status = status.as_u16(), error, "request answered");
        }
    }
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    // Docker takes a server without this for one that is no registry.
    let version = HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert(API_VERSION, version);
    response
}

impl Registry {
    async fn dispatch(&self, parts: &Parts, body: Pieces) -> Answer {
        let method = &parts.method;
        let reads = *method == Method::GET || *method == Method::HEAD;
        if self.read_only && !reads {
            return Err(refused(method, "GET, HEAD", "this registry is read-only"));
        }
        let query = Query::parse(parts.uri.query());
        let route = Route::parse(parts.uri.path()).map_err(|error| error.failure(method))?;
        match (method.as_str(), &route) {
            ("GET" | "HEAD", Route::Base) => Ok(json_answer(&json!({}))),
            ("GET" | "HEAD", Route::Catalog) => self.catalog(&query).await,
            ("GET" | "HEAD", Route::Tags(repo)) => self.tags(repo, &query).await,
            ("GET" | "HEAD", Route::Referrers(repo, subject)) => {
                self.referrers(repo, subject, &query).await
            }
            ("GET" | "HEAD", Route::Manifest(repo, reference)) => {
                self.get_manifest(repo, reference, parts).await
            }
            ("PUT", Route::Manifest(repo, reference)) => {
                self.put_manifest(repo, reference, parts, body).await
            }
            ("DELETE", Route::Manifest(repo, reference)) => {
                self.delete_manifest(repo, reference).await
            }
            ("GET" | "HEAD", Route::Blob(repo, digest)) => self.get_blob(repo, digest, parts).await,
            ("DELETE", Route::Blob(repo, digest)) => self.delete_blob(repo, digest).await,
            ("POST", Route::Uploads(repo)) => self.begin_upload(repo, &query, body).await,
            ("GET" | "HEAD", Route::Upload(repo, id)) => self.upload_status(repo, id).await,
            ("PATCH", Route::Upload(repo, id)) => self.continue_upload(repo, id, parts, body).await,
            ("PUT", Route::Upload(repo, id)) => {
                self.finish_upload(repo, id, &query, parts, body).await
            }
            ("DELETE", Route::Upload(repo, id)) => self.cancel_upload(repo, id),
            _ => Err(refused(
                method,
                route.methods(),
                "this endpoint does not know the method",
            )),
        }
    }

    /// The failure for something that `repo` lacks: `code`, unless there is
    /// no such repository either.
    pub(super) async fn missing(&self, repo: &Repository, code: Code, what: &str) -> Failure {
        use futures::StreamExt;
        match self.store.tags(repo).next().await {
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => {
                Failure::missing(Code::NameUnknown, format!("no repository {repo}"))
            }
            _ => Failure::missing(code, format!("no {what} in {repo}")),
        }
    }
}

fn refused(method: &Method, allow: &'static str, why: &str) -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::Unsupported,
        format!("{method}: {why}"),
    )
    .with_header(ALLOW, HeaderValue::from_static(allow))
}
