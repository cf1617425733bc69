//! Whether the process lives and is ready, and its metrics.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{StatusCode, Uri};

use super::Admin;
use crate::telemetry::metrics::{OPEN_METRICS, TEXT, open_metrics};

/// How long the scheduler may not have looked at its clock, which it does every 10
/// s at least.
const STALLED: Duration = Duration::from_secs(60);

/// Something that has to be so, and whether it is.
type Check = (&'static str, Result<(), String>);

pub(super) async fn live(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    told(&[admin.scheduler()], &uri)
}

pub(super) async fn ready(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let draining = match admin.board.is_draining() {
        true => Err("it was told to end".to_owned()),
        false => Ok(()),
    };
    // There is no board before a configuration was loaded.
    let checks = [
        ("configuration", Ok(())),
        ("serving", draining),
        admin.scheduler(),
    ];
    told(&checks, &uri)
}

pub(super) async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let text = admin.board.metrics_text(&*admin.engine);
    let open = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (kind, text) = match open {
        true => (OPEN_METRICS, open_metrics(&text)),
        false => (TEXT, text),
    };
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

impl Admin {
    fn scheduler(&self) -> Check {
        let since = self.board.since_tick();
        // When it drains, it waits for runs and for nothing else.
        let fine = since < STALLED || self.board.is_draining();
        let why = || format!("it has not looked at its clock for {} s", since.as_secs());
        ("scheduler", if fine { Ok(()) } else { Err(why()) })
    }
}

/// One word, or a line for each check where it is asked for or something is wrong.
fn told(checks: &[Check], uri: &Uri) -> Response {
    let failed = checks.iter().any(|(_, check)| check.is_err());
    let (status, word) = match failed {
        true => (StatusCode::SERVICE_UNAVAILABLE, "failed\n"),
        false => (StatusCode::OK, "ok\n"),
    };
    let verbose = uri
        .query()
        .is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    let mut text = String::new();
    if failed || verbose {
        for (name, check) in checks {
            let _ = match check {
                Ok(()) => writeln!(text, "[+] {name}: ok"),
                Err(why) => writeln!(text, "[-] {name}: {why}"),
            };
        }
    }
    text += word;
    (status, text).into_response()
}
