//! What an upload can meet with, in the classes that differ in what to do next.

use reqwest::StatusCode;

use crate::registry::failure::Failure;
use crate::store::{ErrorKind, StoreError};

/// Why an attempt did not bring the blob to its place.
#[derive(Debug)]
pub(super) enum Setback {
    /// The source cannot be read.
    Source(StoreError),
    /// Nobody knows how much has arrived.
    Cut(Failure),
    /// The registry knows nothing of the session.
    Gone(Failure),
    /// A new token was asked for when the body had passed; there is one now.
    SignedOut(Failure),
    /// A body was too large.
    TooLarge {
        failure: Failure,
        /// How long it was, in bytes.
        sent: u64,
        /// What would not be too large, in bytes, if the registry says.
        limit: Option<u64>,
    },
    /// The registry does not take a blob by one PUT.
    NotWhole(Failure),
    /// It would be no different another time.
    Refused(Failure),
}

impl Setback {
    /// What a failed request with a body of `sent` bytes means.
    pub(super) fn of(failure: Failure, sent: u64) -> Self {
        let status = failure.status.map(|status| status.as_u16());
        let limit = body_limit(&failure.text());
        match status {
            // GHCR answers 416 to a chunk that is too large: going on where
            // the upload stands would have the same answer for ever.
            Some(413) => Self::TooLarge {
                failure,
                sent,
                limit,
            },
            Some(416) if limit.is_some() => Self::TooLarge {
                failure,
                sent,
                limit,
            },
            Some(401) if failure.kind == ErrorKind::Unavailable => Self::SignedOut(failure),
            _ if is_gone(&failure) => Self::Gone(failure),
            Some(416) => Self::Cut(failure),
            _ => match failure.kind {
                ErrorKind::Unavailable | ErrorKind::RateLimited(_) => Self::Cut(failure),
                _ => Self::Refused(failure),
            },
        }
    }

    /// The same for the one PUT with everything.
    pub(super) fn of_whole(failure: Failure, sent: u64) -> Self {
        match failure.status {
            Some(StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) => {
                Self::NotWhole(failure)
            }
            _ => Self::of(failure, sent),
        }
    }
}

/// Whether the registry knows nothing of the session: it has expired, or
/// another replica began it.
pub(super) fn is_gone(failure: &Failure) -> bool {
    failure.status == Some(StatusCode::NOT_FOUND)
        || failure.has_code("BLOB_UPLOAD_UNKNOWN")
        || failure.has_code("BLOB_UPLOAD_INVALID")
}

/// The bytes that GHCR names in "exceeds the maximum permissible limit of
/// 4.00MiB", rounded down; 0 for a limit that cannot be read.
fn body_limit(text: &str) -> Option<u64> {
    let (_, after) = text.split_once("maximum permissible limit of ")?;
    Some(bytes(after.trim_start()).unwrap_or(0))
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = unit.trim_start();
    let end = unit.find(|c: char| !c.is_ascii_alphabetic());
    let factor: u64 = match &unit[..end.unwrap_or(unit.len())] {
        "" | "B" | "bytes" => 1,
        "KB" | "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let whole: u64 = whole.parse().ok()?;
    // Two digits are all that is ever shown, and a full stop may follow.
    let fraction = fraction.split('.').next().unwrap_or_default();
    let hundredths: u64 = match fraction.as_bytes() {
        [] => 0,
        [tenths] => u64::from(tenths - b'0') * 10,
        [tenths, hundredths, ..] => u64::from(tenths - b'0') * 10 + u64::from(hundredths - b'0'),
    };
    whole
        .checked_mul(factor)?
        .checked_add(factor * hundredths / 100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_is_read_from_words() {
        let said = |limit: &str| {
            format!(
                "416 the request body is too large and exceeds the maximum permissible limit of {limit}"
            )
        };
        for (limit, want) in [
            ("4.00MiB", 4 << 20),
            ("4MiB", 4 << 20),
            ("1.5 MiB; try again", 3 << 19),
            ("0.25GiB.", 256 << 20),
            ("7.", 7),
            ("1.5.", 1),
            ("100", 100),
            ("100KB", 100_000),
            ("4.123MB", 4_120_000),
            ("a lot", 0),
            ("..MiB", 0),
            ("99999999999999999999MiB", 0),
            ("18446744073709551615GiB", 0),
        ] {
            assert_eq!(body_limit(&said(limit)), Some(want), "{limit}");
        }
        assert_eq!(body_limit("416 RANGE_INVALID: invalid content range"), None);
    }

    proptest! {
        #[test]
        fn no_words_panic(text: String, number in "[0-9.]{0,25}", unit in "[KMG]?i?B?") {
            bytes(&text);
            bytes(&format!("{number}{unit}"));
        }
    }
}
