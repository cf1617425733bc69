//! Names: registry hosts, repositories and tags.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::excerpt;

/// Longest `host/name` that registries are known to take. Source: OCI
/// distribution-spec 1.1, "Pulling manifests", the note on 255 characters.
pub(crate) const MAX_NAME: usize = 255;

/// Text that is no valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}: {want}")]
pub struct NameError {
    kind: &'static str,
    want: &'static str,
    text: String,
}

impl NameError {
    fn new(kind: &'static str, want: &'static str, text: &str) -> Self {
        Self {
            kind,
            want,
            text: excerpt(text),
        }
    }
}

/// Gives a validated string newtype its conversions.
macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

/// A registry's name as references spell it: `host` or `host:port`.
///
/// Docker Hub's aliases are one name, `docker.io`. Upper case is folded, as
/// DNS does. Grammar: distribution/reference, `domain`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Arc<str>);

text_newtype!(Host);

impl Host {
    /// Docker Hub's name in references.
    pub const DOCKER_HUB: &'static str = "docker.io";

    /// Whether this is Docker Hub, whose API answers at another name.
    pub fn is_docker_hub(&self) -> bool {
        self.as_str() == Self::DOCKER_HUB
    }

    /// The name without its port.
    pub fn name(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.0,
        }
    }
}

impl FromStr for Host {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |want| NameError::new("registry", want, text);
        let (name, port) = split_port(text).ok_or_else(|| error("expected host or host:port"))?;
        if let Some(port) = port
            && !matches!(port.parse::<u16>(), Ok(1..))
        {
            return Err(error("the port has to be between 1 and 65535"));
        }
        let valid = match name.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_domain(name),
        };
        if !valid || text.len() > MAX_NAME {
            return Err(error("expected a DNS name or an address, like host:port"));
        }
        Ok(match text.to_ascii_lowercase().as_str() {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
                Self(Self::DOCKER_HUB.into())
            }
            lower => Self(lower.into()),
        })
    }
}

/// Splits `host[:port]`, minding that a bracketed IPv6 address has colons too.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_brackets..].split_once(':') {
        Some((_, port)) if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) => None,
        Some((_, port)) => Some((&text[..text.len() - port.len() - 1], Some(port))),
        None => Some((text, None)),
    }
}

fn is_domain(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// A repository's name within its store: `library/alpine`.
///
/// A layout directory holds one repository that has no name of its own,
/// [`Repository::unnamed`]; parsing never yields it. Grammar: OCI
/// distribution-spec 1.1, "Pulling manifests".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(Arc<str>);

text_newtype!(Repository);

impl Repository {
    /// The only repository of a layout directory.
    pub fn unnamed() -> Self {
        Self("".into())
    }

    /// Whether this is the nameless repository of a layout directory.
    pub fn is_unnamed(&self) -> bool {
        self.0.is_empty()
    }

    /// This repository below `self`: `mirror` and `library/alpine` give
    /// `mirror/library/alpine`.
    ///
    /// # Errors
    ///
    /// When the joined name is longer than registries take.
    pub fn join(&self, below: &Self) -> Result<Self, NameError> {
        if self.is_unnamed() {
            return Ok(below.clone());
        }
        format!("{self}/{below}").parse()
    }
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let want = "expected lowercase letters, digits and single . _ __ - between them, \
                    in parts separated by /";
        if text.len() > MAX_NAME || !text.split('/').all(is_path_component) {
            return Err(NameError::new("repository", want, text));
        }
        Ok(Self(text.into()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let is_alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_separator = |run: &str| {
        matches!(run, "." | "_" | "__") || (!run.is_empty() && run.bytes().all(|b| b == b'-'))
    };
    let mut rest = text;
    loop {
        let word = rest.bytes().take_while(|&b| is_alnum(b)).count();
        rest = match (word, &rest[word..]) {
            (0, _) => return false,
            (_, "") => return true,
            (_, more) => more,
        };
        let run = rest.bytes().take_while(|&b| !is_alnum(b)).count();
        if !is_separator(&rest[..run]) {
            return false;
        }
        rest = &rest[run..];
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
///
/// Grammar: OCI distribution-spec 1.1, "Pulling manifests".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

text_newtype!(Tag);

impl Tag {
    /// What a reference without tag and digest means.
    pub fn latest() -> Self {
        Self("latest".into())
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let fine = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if !fine {
            let want = "expected up to 128 letters, digits, _ . -, not starting with . or -";
            return Err(NameError::new("tag", want, text));
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        for (text, host, name) in [
            ("localhost", "localhost", "localhost"),
            ("localhost:5000", "localhost:5000", "localhost"),
            (
                "Registry.Example.ORG",
                "registry.example.org",
                "registry.example.org",
            ),
            ("[::1]:5000", "[::1]:5000", "[::1]"),
            ("[::1]", "[::1]", "[::1]"),
            ("10.0.0.1:443", "10.0.0.1:443", "10.0.0.1"),
            ("docker.io", "docker.io", "docker.io"),
            ("index.docker.io", "docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io", "docker.io"),
        ] {
            let parsed: Host = text.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.name()), (host, name));
        }
        for text in [
            "", ":", ":5000", "h:", "h:0", "h:65536", "h:x", "h/x", "-a.b", "a..b", "a_b", "::1",
            "[::1", "[zz]:1", "h:5:5", "h\n", "user@h", "h?x", "[::1]x",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn repositories() {
        for text in [
            "a",
            "library/alpine",
            "a/b/c/d",
            "a.b_c__d-e---f/0",
            "team--x/y",
        ] {
            assert_eq!(text.parse::<Repository>().unwrap().as_str(), text);
        }
        for text in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", "a.", "a b",
            "../x", "a/../b", "a/.", "é", "a\n",
        ] {
            assert!(text.parse::<Repository>().is_err(), "{text:?} was accepted");
        }
        assert!("a".repeat(256).parse::<Repository>().is_err());
    }

    #[test]
    fn repositories_join() {
        let alpine: Repository = "library/alpine".parse().unwrap();
        let mirror: Repository = "mirror".parse().unwrap();
        assert_eq!(
            mirror.join(&alpine).unwrap().as_str(),
            "mirror/library/alpine"
        );
        assert_eq!(Repository::unnamed().join(&alpine).unwrap(), alpine);
        let long: Repository = "a".repeat(250).parse().unwrap();
        assert!(long.join(&alpine).is_err());
    }

    #[test]
    fn a1_tags() {
        for text in ["latest", "1.2.3", "_x", "V1-rc.1", &"a".repeat(128)] {
            assert_eq!(text.parse::<Tag>().unwrap().as_str(), text);
        }
        for text in [
            "",
            ".x",
            "-x",
            "a/b",
            "a:b",
            "a b",
            "é",
            "..",
            "a\n",
            &"a".repeat(129),
        ] {
            assert!(text.parse::<Tag>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = text.parse::<Host>();
            let _ = text.parse::<Repository>();
            let _ = text.parse::<Tag>();
        }

        #[test]
        fn every_repository_of_the_grammar_parses(
            text in "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}(/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}){0,3}"
        ) {
            prop_assert!(text.parse::<Repository>().is_ok());
        }

        #[test]
        fn a_repository_is_what_the_grammar_says(text in "[a-z0-9._/A-]{0,12}") {
            let grammar = regex::Regex::new(
                "^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$",
            ).unwrap();
            prop_assert_eq!(text.parse::<Repository>().is_ok(), grammar.is_match(&text));
        }

        #[test]
        fn every_tag_of_the_grammar_parses(text in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}") {
            prop_assert!(text.parse::<Tag>().is_ok());
        }
    }
}
