//! What can go wrong below HTTP, in words that hold no secret.

use std::error::Error;
use std::time::Duration;

use super::{Trail, Verdict};
use crate::telemetry::deceives;

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed, or broke, or nothing came for too long.
    #[error("{cause}{trail}")]
    Transport {
        /// The whole chain of causes, without the URL.
        cause: String,
        /// How often it was tried.
        trail: Trail,
    },
    /// The host asked to be left alone for longer than is worth waiting.
    #[error("the host asked to be left alone for another {} s", .0.as_secs())]
    LeftAlone(Duration),
    /// The request itself cannot be sent.
    #[error("not a request that can be sent: {0}")]
    Request(String),
    /// The client cannot be set up: TLS, certificates, proxies.
    #[error("could not set up the HTTP client: {0}")]
    Setup(String),
    /// More bytes than are read into memory.
    #[error("the answer is longer than the {0} bytes that are read")]
    TooLong(usize),
}

impl HttpError {
    /// A failure of the client's own making.
    pub(super) fn setup(error: reqwest::Error) -> Self {
        Self::Setup(causes(&error.without_url()))
    }
}

/// A transport failure of one attempt: its causes, and whether another attempt
/// may help.
pub(super) fn transport(error: reqwest::Error) -> (String, Verdict) {
    let builder = error.is_builder();
    // The URL may carry a signature.
    let text = causes(&error.without_url());
    // A certificate does not become valid by asking again.
    let verdict = if builder || text.contains("invalid peer certificate") {
        Verdict::Fatal
    } else {
        Verdict::Transient
    };
    (text, verdict)
}

/// An error and its causes in one line. What says why (timed out, refused, no
/// such name) is at the end of reqwest's chain.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// At most `limit` bytes of a server's text for a message or a log: control
/// characters are escaped, so that it can neither start a line nor colour one.
pub fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if shown.len() + c.len_utf8() > limit {
            shown.push('…');
            break;
        }
        if deceives(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A server's URL for a message or a log: without query and fragment, which may
/// be signed, and without what stands before an `@`, which may be a password.
pub fn printable_url(text: &str) -> String {
    let bare = text.split(['?', '#']).next().unwrap_or_default();
    let bare = bare.rsplit_once('@').map_or(bare, |(_, rest)| rest);
    printable(bare, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j2_a_url_is_told_without_its_secrets() {
        for (text, shown) in [
            ("https://r.io/a?sig=s", "https://r.io/a"),
            ("https://r.io/a#s?s", "https://r.io/a"),
            ("https://u:s@r.io/a?s", "r.io/a"),
            ("u:s@s@r.io", "r.io"),
            ("http://[/?s", "http://[/"),
            ("", ""),
        ] {
            assert_eq!(printable_url(text), shown);
        }
    }

    #[test]
    fn j3_server_text_is_escaped_and_cut() {
        assert_eq!(printable("a\nb\u{1b}[31m", 100), "a\\nb\\u{1b}[31m");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("ééé", 3), "é…");
    }
}
