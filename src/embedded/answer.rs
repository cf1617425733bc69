//! Answers: what the handlers give back, failures above all.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::oci::Digest;
use crate::store::{ErrorKind, StoreError};

/// The digest of what is answered, or was stored.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Error codes of the OCI distribution-spec 1.1, "Error Codes", and below them
/// those that docker/distribution adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Denied,
    Unsupported,
    TooManyRequests,
    PaginationNumberInvalid,
    RangeInvalid,
    Unavailable,
    Unknown,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What a handler gives.
pub(super) type Answer = Result<Response, Failure>;

/// A request that cannot be served, as the client is told.
#[derive(Debug)]
pub(super) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: Code,
    message: String,
    detail: Value,
    headers: HeaderMap,
    cause: Option<StoreError>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            message: message.into(),
            detail: Value::Null,
            headers: HeaderMap::new(),
            cause: None,
        }))
    }

    /// A fault of the request: 400.
    pub(super) fn bad(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Something that is not there: 404.
    pub(super) fn missing(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Names the digest that the failure is about in `detail`.
    pub(super) fn about(mut self, digest: &Digest) -> Self {
        self.0.detail = json!({ "digest": digest });
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    pub(super) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.0.headers.extend(headers);
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The store's error behind this, for the log.
    pub(super) fn cause(&self) -> Option<&StoreError> {
        self.0.cause.as_ref()
    }
}

impl From<StoreError> for Failure {
    /// The client learns the class of the failure. The rest, which may name
    /// paths of this machine, is for the log.
    fn from(error: StoreError) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, Code::Unknown),
            ErrorKind::Denied => (StatusCode::FORBIDDEN, Code::Denied),
            ErrorKind::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests),
            ErrorKind::Refused => (StatusCode::BAD_REQUEST, Code::Denied),
            ErrorKind::MissingContent => (StatusCode::NOT_FOUND, Code::ManifestBlobUnknown),
            ErrorKind::Schema1 => (StatusCode::BAD_REQUEST, Code::ManifestInvalid),
            ErrorKind::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            ErrorKind::Storage if out_of_space(&error) => {
                (StatusCode::INSUFFICIENT_STORAGE, Code::Unknown)
            }
            ErrorKind::Corrupt | ErrorKind::Malformed | ErrorKind::Storage => {
                (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown)
            }
        };
        let mut failure = Self::new(status, code, error.kind().to_string());
        if let ErrorKind::RateLimited(Some(wait)) = error.kind() {
            failure = failure.with_header(RETRY_AFTER, wait.as_secs().max(1).into());
        }
        failure.0.cause = Some(error);
        failure
    }
}

fn out_of_space(error: &StoreError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl IntoResponse for Failure {
    /// Body: OCI distribution-spec 1.1, "Error Codes".
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.0.code.as_str(), "message": self.0.message });
        if !self.0.detail.is_null() {
            error["detail"] = self.0.detail;
        }
        let mut response = json_answer(&json!({ "errors": [error] }));
        *response.status_mut() = self.0.status;
        response.headers_mut().extend(self.0.headers);
        response
    }
}

/// 200 with a JSON document.
pub(super) fn json_answer(document: &Value) -> Response {
    let mut response = Response::new(Body::from(document.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// An answer without content.
pub(super) fn empty<const N: usize>(
    status: StatusCode,
    headers: [(HeaderName, HeaderValue); N],
) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    response
}

/// An answer with `size` bytes of content; to HEAD the caller gives no body.
pub(super) fn content<const N: usize>(
    body: Body,
    size: u64,
    headers: [(HeaderName, HeaderValue); N],
) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_LENGTH, size.into());
    response.headers_mut().extend(headers);
    response
}

/// A header value made of what was parsed, or percent-encoded, before.
pub(super) fn value(text: impl AsRef<str>) -> HeaderValue {
    HeaderValue::from_str(text.as_ref())
        .expect("names, digests, media types and encoded text are visible ASCII")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_store_s_failure_gets_the_status_of_its_kind() {
        for (kind, status) in [
            (ErrorKind::NotFound, 404),
            (ErrorKind::Denied, 403),
            (ErrorKind::RateLimited(None), 429),
            (ErrorKind::Refused, 400),
            (ErrorKind::Unsupported, 405),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Storage, 500),
        ] {
            let failure = Failure::from(StoreError::new(kind, "read", "x"));
            assert_eq!(failure.status().as_u16(), status, "{kind:?}");
        }
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::new(ErrorKind::Storage, "write", "x").because(full);
        assert_eq!(Failure::from(error).status().as_u16(), 507);
        let wait = ErrorKind::RateLimited(Some(Duration::from_secs(9)));
        let response = Failure::from(StoreError::new(wait, "read", "x")).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "9");
    }

    #[test]
    fn the_client_is_not_told_of_paths() {
        let error = StoreError::new(ErrorKind::Storage, "write", "/srv/data/x")
            .because("/srv/data is read-only");
        let failure = Failure::from(error);
        assert!(failure.cause().is_some());
        assert!(!failure.0.message.contains("/srv"), "{failure:?}");
    }
}
