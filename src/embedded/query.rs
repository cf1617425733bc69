//! Query strings.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What needs no encoding in a parameter: RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The parameters of a request, decoded.
///
/// A `+` stays a `+`: no parameter of the specification can hold a blank, and
/// media types, which are sent unencoded by some clients, hold pluses.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&');
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self(
            pairs
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// The first parameter called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every parameter called `name`.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// `text` as it may stand in a parameter.
pub(super) fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("digest=sha256%3Aab&n=&flag&last=a%2Fb&tag=1&tag=2"));
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!((query.get("n"), query.get("flag")), (Some(""), Some("")));
        assert_eq!(query.get("last"), Some("a/b"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("none"), None);
        assert_eq!(Query::parse(None).get("n"), None);
    }

    #[test]
    fn a_plus_is_a_plus() {
        let query = Query::parse(Some("artifactType=a/b+json"));
        assert_eq!(query.get("artifactType"), Some("a/b+json"));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(text in any::<String>()) {
            let query = Query::parse(Some(&format!("x=1&last={}&y", encoded(&text))));
            prop_assert_eq!(query.get("last"), Some(text.as_str()));
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = Query::parse(Some(&text)).get("n");
        }
    }
}
