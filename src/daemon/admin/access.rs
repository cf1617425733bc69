//! Who may ask for what.
//!
//! Three things are looked at. The name in `Host` has to be an address,
//! `localhost`, or one that the operator named: a page of another site can have a
//! browser resolve its own name to our address (DNS rebinding), but cannot make it
//! say another name. `Origin`, which browsers send with whatever another site asks
//! for, has to be ours. And a token, which no browser adds by itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{StatusCode, Uri};
use subtle::ConstantTimeEq as _;

/// How much of a token's file is read, in bytes.
const LONGEST: usize = 4096;

/// Who may ask for what.
#[derive(Debug)]
pub struct Access {
    /// Holds the token. It is read each time, for it may be replaced.
    token: Option<PathBuf>,
    /// Names by which we are reached, besides addresses and `localhost`.
    hosts: Vec<String>,
}

/// A token's file is of no use.
#[derive(Debug, thiserror::Error)]
#[error("could not use the token in {}: {reason}", path.display())]
pub struct TokenError {
    path: PathBuf,
    reason: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the request has no usable Host header")]
    NoHost,
    #[error("this server is not called that: start it with --http-host NAME if it is")]
    OtherHost,
    #[error("a page of another site may not ask for this")]
    OtherOrigin,
    #[error("nothing can be changed here: start the server with --admin-token-file FILE")]
    NoToken,
    #[error("it takes the token: Authorization: Bearer TOKEN")]
    Unauthorized,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherOrigin | Self::NoToken => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
        }
    }
}

impl Access {
    /// Access for whoever has the token in a file; without one, to look only.
    /// `hosts` are names by which we are reached, besides addresses and `localhost`.
    ///
    /// # Errors
    ///
    /// When there is no token in the file.
    pub fn new(token: Option<PathBuf>, hosts: Vec<String>) -> Result<Self, TokenError> {
        if let Some(path) = &token {
            read(path)?;
        }
        Ok(Self { token, hosts })
    }

    /// Whether somebody can change something.
    pub(super) fn allows_changes(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a request was meant for us.
    pub(super) fn of_ours(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = one(headers, &HOST).ok_or(Refusal::NoHost)?;
        let authority: Authority = host.parse().map_err(|_| Refusal::NoHost)?;
        let name = authority.host().trim_matches(['[', ']']);
        let known = name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name));
        if !known {
            return Err(Refusal::OtherHost);
        }
        if headers.contains_key(ORIGIN) {
            let origin = one(headers, &ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
            let same = origin.is_some_and(|origin| origin.authority() == Some(&authority));
            if !same {
                return Err(Refusal::OtherOrigin);
            }
        }
        Ok(())
    }

    /// Whether a request that changes something, or does not, may have its answer.
    pub(super) fn admits(&self, headers: &HeaderMap, changes: bool) -> Result<(), Refusal> {
        self.of_ours(headers)?;
        let Some(path) = &self.token else {
            return match changes {
                true => Err(Refusal::NoToken),
                false => Ok(()),
            };
        };
        let token = read(path).map_err(|error| {
            tracing::error!("{error}");
            Refusal::Unauthorized
        })?;
        let given = one(headers, &AUTHORIZATION).unwrap_or_default();
        let given = match given.split_once(' ') {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => given.trim(),
            _ => "",
        };
        // How long the comparison takes says nothing of where they differ.
        match bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
            true => Ok(()),
            false => Err(Refusal::Unauthorized),
        }
    }
}

/// A header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The token in a file: its first line.
fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |reason: String| TokenError {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    if token.is_empty()
        || token.len() > LONGEST
        || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        let reason = "expected one line of visible ASCII characters, without spaces";
        return Err(failed(reason.to_owned()));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        pairs.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    #[test]
    fn names_and_origins_are_ours_or_refused() {
        let access = Access::new(None, vec!["mirror.example.com".to_owned()]).unwrap();
        let asked = |pairs: &[(&'static str, &str)]| access.of_ours(&headers(pairs));
        for host in [
            "127.0.0.1:9090",
            "10.1.2.3",
            "[::1]:9090",
            "localhost:1",
            "LocalHost",
            "Mirror.Example.com:80",
        ] {
            assert_eq!(asked(&[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
        ] {
            assert_eq!(asked(&[("host", host)]), Err(Refusal::OtherHost), "{host}");
        }
        assert_eq!(asked(&[]), Err(Refusal::NoHost));
        assert_eq!(asked(&[("host", "a b")]), Err(Refusal::NoHost));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(asked(&twice), Err(Refusal::NoHost));
        let from = |origin: &str| asked(&[("host", "localhost:9090"), ("origin", origin)]);
        assert_eq!(from("http://localhost:9090"), Ok(()));
        assert_eq!(from("https://localhost:9090"), Ok(()));
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:9091",
            "",
            "localhost:9090x",
        ] {
            assert_eq!(from(origin), Err(Refusal::OtherOrigin), "{origin}");
        }
    }

    #[test]
    fn a_token_is_the_whole_token_and_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (wrong, text) in [("empty", "\n"), ("two words", "a b"), ("two lines", "a\nb")] {
            std::fs::write(&path, text).unwrap();
            assert!(
                Access::new(Some(path.clone()), Vec::new()).is_err(),
                "{wrong}"
            );
        }
        std::fs::write(&path, "s3cret\n").unwrap();
        let access = Access::new(Some(path.clone()), Vec::new()).unwrap();
        let with = |value: &str| {
            let headers = headers(&[("host", "localhost"), ("authorization", value)]);
            [false, true].map(|changes| access.admits(&headers, changes).is_ok())
        };
        assert_eq!(with("Bearer s3cret"), [true, true]);
        assert_eq!(with("bearer s3cret"), [true, true]);
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret1",
            "Bearer ",
            "Basic s3cret",
            "s3cret",
            "",
        ] {
            assert_eq!(with(wrong), [false, false], "{wrong}");
        }
        std::fs::write(&path, "other").unwrap();
        assert_eq!(with("Bearer s3cret"), [false, false]);
        assert_eq!(with("Bearer other"), [true, true]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(with("Bearer other"), [false, false]);
        assert_eq!(with("Bearer "), [false, false]);

        let nobody = Access::new(None, Vec::new()).unwrap();
        let headers = headers(&[("host", "localhost")]);
        assert_eq!(nobody.admits(&headers, false), Ok(()));
        assert_eq!(nobody.admits(&headers, true), Err(Refusal::NoToken));
    }
}
