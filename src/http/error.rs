//! What can go wrong below HTTP, in words that hold no secret.

use std::error::Error;
use std::time::Duration;

use reqwest::Url;

use super::guard::{OutOfReach, Zone};
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
    /// A server led to where it may not.
    #[error("the server leads to {place}, {why}")]
    Forbidden {
        /// Scheme, host and port.
        place: String,
        /// What is wrong with it, and what can be done.
        why: String,
    },
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

    /// A server led to `url`, which is in `zone`.
    pub(super) fn out_of_reach(url: &Url, zone: Zone) -> Self {
        match zone {
            Zone::Forbidden => Self::Forbidden {
                place: url.origin().ascii_serialization(),
                why: "a link-local or reserved address, where no server may lead".to_owned(),
            },
            Zone::Private | Zone::Public => Self::not_listed(
                url,
                "a private address, where a host that is not private itself may not lead",
            ),
        }
    }

    /// A server led to `url`, which `what` says is only for the operator to
    /// name.
    pub(super) fn not_listed(url: &Url, what: &str) -> Self {
        let tls = match url.scheme() {
            "https" => "",
            _ => " with tls: disabled",
        };
        Self::Forbidden {
            place: url.origin().ascii_serialization(),
            why: format!(
                "{what}: to allow it, list {} under creds{tls}",
                host_and_port(url)
            ),
        }
    }
}

/// What to do about failures whose own words do not say so.
const ADVICE: &[(&str, &str)] = &[
    (
        "invalid peer certificate: UnknownIssuer",
        "not signed by a CA that is trusted here: give that CA as regcert, or set tls: insecure",
    ),
    (
        "CaUsedAsEndEntity",
        "a self-signed one: give it as regcert, or set tls: insecure",
    ),
    (
        "alert: CertificateRequired",
        "the host wants a client certificate: give clientCert and clientKey",
    ),
    (
        "message of type InvalidContentType",
        "the host does not speak TLS here: for plain HTTP, set tls: disabled",
    ),
];

/// A transport failure of one attempt to reach `url`: its causes, and whether
/// another attempt may help.
///
/// # Errors
///
/// When the URL's name stands for addresses where it may not lead.
pub(super) fn transport(error: reqwest::Error, url: &Url) -> Result<(String, Verdict), HttpError> {
    if let Some(OutOfReach(zone)) = find(&error) {
        return Err(HttpError::out_of_reach(url, *zone));
    }
    let builder = error.is_builder();
    // The URL may carry a signature.
    let mut text = causes(&error.without_url());
    let certificate = text.contains("invalid peer certificate");
    let advice = ADVICE.iter().find(|(sign, _)| text.contains(sign));
    if certificate {
        text = format!("the certificate of {}: {text}", host_and_port(url));
    }
    if let Some((_, advice)) = advice {
        text = format!("{text} ({advice})");
    }
    // None of these goes away by asking again.
    let verdict = match builder || certificate || advice.is_some() {
        true => Verdict::Fatal,
        false => Verdict::Transient,
    };
    Ok((text, verdict))
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The cause of this type, if there is one.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
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
