//! What a registry wants people to be told: its `Warning` headers.
//!
//! Source: OCI distribution-spec 1.1, "Warnings"; RFC 7234, section 5.5.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::{HeaderMap, WARNING};
use tracing::debug;

use crate::http::printable;

/// How many texts of one registry are told.
const TEXTS: usize = 64;

/// How much of a text is told, in bytes.
const SHOWN: usize = 1 << 10;

/// What a registry has said so far, each text once. It is for people: nothing
/// is ever done about it.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Keeps what an answer of `registry` says that it has not said before.
    pub(super) fn note(&self, registry: &str, headers: &HeaderMap) {
        let values = headers.get_all(WARNING).into_iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        for text in values.flat_map(|value| parse(&value)) {
            let text = printable(&text, SHOWN);
            let count = {
                let mut told = self.lock();
                if told.len() >= TEXTS || told.contains(&text) {
                    continue;
                }
                told.push(text.clone());
                told.len()
            };
            debug!("{registry} warns: {text}");
            if count == TEXTS {
                debug!("{registry} warns of too much: the rest is left out");
            }
        }
    }

    /// The texts, in the order they came, safe to print.
    pub(super) fn told(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The texts of a header: `299 - "text"`, several after commas, each with a
/// date or without. The other codes are for caches and what is in between.
fn parse(header: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        if rest.is_empty() {
            return found;
        }
        let (code, after) = word(rest);
        let (_agent, after) = word(after);
        let (text, after) = match after.strip_prefix('"') {
            Some(text) => unquoted(text),
            // Without quotes it may hold commas and has no other end.
            None => (after.trim_end().to_owned(), ""),
        };
        if code == "299" && !text.trim().is_empty() {
            found.push(text);
        }
        rest = match after.trim_start().strip_prefix('"') {
            Some(date) => unquoted(date).1,
            None => after,
        };
        rest = rest.split_once(',').map_or("", |(_, rest)| rest);
    }
}

/// The word that `text` begins with, and what comes after the space.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_whitespace());
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_start())
}

/// The string that `text` begins with, up to its closing quote, and what
/// follows. `\` escapes the next character; an open end counts.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn j13_warnings_are_read_as_they_are_written() {
        for (header, texts) in [
            (r#"299 - "an end""#, &["an end"][..]),
            (
                r#"299 - "a, \"b\"" "Wed, 21 Oct 2015 07:28:00 GMT", 299 r.io:443 "c""#,
                &[r#"a, "b""#, "c"],
            ),
            (r#"110 - "Response is Stale", 299 - "c","#, &["c"]),
            ("299 - no quotes, but a comma", &["no quotes, but a comma"]),
            (r#"299  - "two  spaces""#, &["two  spaces"]),
            (r#"299 - "open"#, &["open"]),
            (r#"299 - """#, &[]),
            (r#"299 - "a" x, 299 - "b""#, &["a", "b"]),
            ("299 -", &[]),
            ("299", &[]),
            (",, ,", &[]),
            ("", &[]),
        ] {
            assert_eq!(parse(header), texts, "{header}");
        }
    }

    #[test]
    fn j14_only_so_many_warnings_are_kept() {
        let warnings = Warnings::default();
        for number in 0..1000 {
            let text = format!("299 - \"{number} {}\"", "x".repeat(5000));
            let mut headers = HeaderMap::new();
            headers.insert(WARNING, HeaderValue::from_str(&text).unwrap());
            warnings.note("r.io", &headers);
            warnings.note("r.io", &headers);
        }
        let told = warnings.told();
        assert_eq!(told.len(), TEXTS);
        assert!(told[1].starts_with("1 xxx") && told[1].ends_with('…'));
        assert!(told.iter().all(|text| text.len() <= SHOWN + '…'.len_utf8()));
    }

    proptest! {
        #[test]
        fn no_header_panics(text: String) {
            parse(&text);
        }
    }
}
