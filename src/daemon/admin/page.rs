//! The status page. It holds no data: its script asks the API, with the token if
//! that wants one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
};

use super::Admin;

/// Nothing but what this server serves, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// With a word in it that there is a token, for the script not to find out by being
/// refused.
pub(super) async fn index(State(admin): State<Arc<Admin>>) -> Response {
    let page = include_str!("page/index.html");
    let page = match admin.access.allows_changes() {
        true => page.replacen("<html ", "<html data-token ", 1),
        false => page.to_owned(),
    };
    file("text/html; charset=utf-8", page)
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

pub(super) async fn script() -> Response {
    let kind = "text/javascript; charset=utf-8";
    file(kind, include_str!("page/page.js"))
}

fn file(kind: &'static str, content: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // After an update it is another one.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, content).into_response()
}
