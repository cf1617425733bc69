//! Answers that are no success, in the classes that callers act on.

use std::error::Error;
use std::time::SystemTime;

use reqwest::StatusCode;
use serde_json::Value;

use crate::http::{HttpError, Response, printable, retry_after};
use crate::oci::ManifestError;
use crate::store::{ErrorKind, StoreError, chain};

/// How much of an error's body is read, in bytes.
const READ: usize = 64 << 10;

/// How much of what a server says is shown, in bytes.
const SHOWN: usize = 1 << 10;

/// How much of a cause is shown, in bytes: what a server says, and what there
/// is to say about it.
const CAUSE: usize = 2 * SHOWN;

/// Why a request did not succeed; not yet on what.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    /// The answer's status, if there was one.
    pub(super) status: Option<StatusCode>,
    /// The error codes in the answer, such as `NAME_UNKNOWN`.
    pub(super) codes: Vec<String>,
    cause: Box<dyn Error + Send + Sync>,
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            status: None,
            codes: Vec::new(),
            cause: cause.into(),
        }
    }

    /// What `response` says went wrong. Reads its body.
    pub(super) async fn of(response: Response) -> Self {
        let status = response.status();
        let wait = retry_after(response.headers(), SystemTime::now());
        let trail = response.trail();
        let body = response.excerpt(READ).await;
        let (codes, said) = read_errors(&body);
        let kind = match kind_of(status, &codes) {
            ErrorKind::RateLimited(_) => ErrorKind::RateLimited(wait),
            kind => kind,
        };
        let said = match said.is_empty() {
            true => status.to_string(),
            false => format!("{} {}", status.as_u16(), printable(&said, SHOWN)),
        };
        Self {
            kind,
            status: Some(status),
            codes,
            cause: format!("{said}{trail}").into(),
        }
    }

    /// The same failure, seen as `kind`.
    pub(super) fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same failure, with `text` before its cause.
    pub(super) fn explained(self, text: &str) -> Self {
        let cause = format!("{text}: {}", self.cause).into();
        Self { cause, ..self }
    }

    pub(super) fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }

    /// What failed: "could not `action` `subject`".
    ///
    /// What a server's document or certificate is refused for may quote it:
    /// the cause is escaped and cut whatever it is.
    pub(super) fn at(self, action: &'static str, subject: impl Into<String>) -> StoreError {
        let cause = printable(&chain(&*self.cause), CAUSE);
        StoreError::new(self.kind, action, subject).because(cause)
    }

    /// The cause alone, to be said again to others who waited for the same.
    pub(super) fn text(&self) -> String {
        self.cause.to_string()
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        let kind = match &error {
            HttpError::Transport { .. } => ErrorKind::Unavailable,
            HttpError::LeftAlone(wait) => ErrorKind::RateLimited(Some(*wait)),
            HttpError::TooLong(_) => ErrorKind::Malformed,
            HttpError::Forbidden { .. } | HttpError::Request(_) | HttpError::Setup(_) => {
                ErrorKind::Refused
            }
        };
        Self::new(kind, error)
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let kind = match &error {
            ManifestError::Digest { .. } => ErrorKind::Corrupt,
            ManifestError::Schema1 => ErrorKind::Schema1,
            _ => ErrorKind::Malformed,
        };
        Self::new(kind, error)
    }
}

fn kind_of(status: StatusCode, codes: &[String]) -> ErrorKind {
    let has = |code: &str| codes.iter().any(|known| known == code);
    // The code says more than the status where registries disagree on it.
    if has("MANIFEST_BLOB_UNKNOWN") {
        return ErrorKind::MissingContent;
    }
    if has("BLOB_UPLOAD_UNKNOWN") || has("BLOB_UPLOAD_INVALID") {
        // The session expired, or another replica began it: a new one helps.
        return ErrorKind::Unavailable;
    }
    if status.is_client_error() && (has("DIGEST_INVALID") || has("SIZE_INVALID")) {
        return ErrorKind::Corrupt;
    }
    match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        429 => ErrorKind::RateLimited(None),
        408 | 499 | 500..=599 => ErrorKind::Unavailable,
        400..=498 if has("UNSUPPORTED") => ErrorKind::Unsupported,
        400..=498 => ErrorKind::Refused,
        _ => ErrorKind::Malformed,
    }
}

/// The codes, and everything in words, of `{"errors": [{code, message,
/// detail}]}`; of any other body, its text. Source: OCI distribution-spec 1.1,
/// "Error Codes"; what is there may be of any type.
fn read_errors(body: &[u8]) -> (Vec<String>, String) {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let listed = document
        .as_ref()
        .and_then(|document| document["errors"].as_array());
    let Some(errors) = listed else {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        // A page for a browser says nothing in a log.
        return match text.starts_with('<') {
            true => (Vec::new(), String::new()),
            false => (Vec::new(), text.to_owned()),
        };
    };
    let mut codes = Vec::new();
    let mut said = Vec::new();
    for error in errors {
        let code = error["code"].as_str().unwrap_or_default();
        if !code.is_empty() {
            codes.push(code.to_owned());
        }
        let message = error["message"].as_str().unwrap_or_default();
        let detail = match &error["detail"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let parts = [code, message, &detail];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        said.push(parts.join(": "));
    }
    (codes, said.join("; "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn error_bodies_of_every_kind_are_read() {
        for (body, codes, said) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no","detail":{"tag":"1"}}]}"#,
                &["MANIFEST_UNKNOWN"][..],
                r#"MANIFEST_UNKNOWN: no: {"tag":"1"}"#,
            ),
            (
                r#"{"errors":[{"code":"A","detail":null},{"code":"B","message":7,"detail":"d"}]}"#,
                &["A", "B"],
                "A; B: d",
            ),
            (
                r#"{"details":"incorrect"}"#,
                &[],
                r#"{"details":"incorrect"}"#,
            ),
            (
                "Too Many Requests (HAP429).\n",
                &[],
                "Too Many Requests (HAP429).",
            ),
            ("<html>…", &[], ""),
            (r#"{"errors":null}"#, &[], r#"{"errors":null}"#),
            ("", &[], ""),
        ] {
            let (seen, text) = read_errors(body.as_bytes());
            assert_eq!(
                (seen, text.as_str()),
                (codes.iter().map(ToString::to_string).collect(), said)
            );
        }
    }

    #[test]
    fn statuses_fall_into_the_classes_that_callers_act_on() {
        for (status, code, kind) in [
            (404, "MANIFEST_UNKNOWN", ErrorKind::NotFound),
            (404, "MANIFEST_BLOB_UNKNOWN", ErrorKind::MissingContent),
            (400, "MANIFEST_BLOB_UNKNOWN", ErrorKind::MissingContent),
            (404, "BLOB_UPLOAD_UNKNOWN", ErrorKind::Unavailable),
            (400, "DIGEST_INVALID", ErrorKind::Corrupt),
            (400, "UNSUPPORTED", ErrorKind::Unsupported),
            (405, "", ErrorKind::Unsupported),
            (412, "PRECONDITION", ErrorKind::Refused),
            (413, "", ErrorKind::Refused),
            (401, "UNAUTHORIZED", ErrorKind::Denied),
            (403, "DENIED", ErrorKind::Denied),
            (429, "TOOMANYREQUESTS", ErrorKind::RateLimited(None)),
            (499, "", ErrorKind::Unavailable),
            (500, "", ErrorKind::Unavailable),
            (522, "", ErrorKind::Unavailable),
            (302, "", ErrorKind::Malformed),
            (204, "", ErrorKind::Malformed),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind_of(status, &[code.to_owned()]), kind, "{status} {code}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>) {
            read_errors(&body);
        }
    }
}
