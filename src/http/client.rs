//! The connection pools.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Url, redirect};

use super::HttpError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection pools that all hosts share. Clones are the same pools.
///
/// Proxies come from the environment (`HTTPS_PROXY`, `HTTP_PROXY`,
/// `ALL_PROXY`, `NO_PROXY`), but nothing for a loopback address ever goes to
/// one. Redirects are never followed here: whoever asks decides, hop by hop.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pools: Arc<Pools>,
}

#[derive(Debug)]
struct Pools {
    user_agent: String,
    /// By [`Kind`]. Made when first used, for a machine without CA
    /// certificates can still speak plain HTTP.
    clients: [OnceLock<reqwest::Client>; 4],
}

/// What a pool does differently from the others.
#[derive(Debug, Clone, Copy)]
struct Kind {
    verify: bool,
    proxy: bool,
}

impl HttpClient {
    /// Pools that introduce themselves as `user_agent`.
    ///
    /// # Errors
    ///
    /// When `user_agent` cannot stand in a header.
    pub fn new(user_agent: &str) -> Result<Self, HttpError> {
        if reqwest::header::HeaderValue::from_str(user_agent).is_err() {
            return Err(HttpError::Setup(format!(
                "user agent {user_agent:?} is no header value"
            )));
        }
        // Somebody else in the process may have installed one: theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            pools: Arc::new(Pools {
                user_agent: user_agent.to_owned(),
                clients: Default::default(),
            }),
        })
    }

    /// The pool for `url`. `verify` is whether certificates are checked.
    pub(super) fn pool(&self, url: &Url, verify: bool) -> Result<&reqwest::Client, HttpError> {
        let kind = Kind {
            // Nothing is verified on plain HTTP, so no certificates are needed
            // to set up the pool for it.
            verify: verify && url.scheme() == "https",
            proxy: !is_loopback(url),
        };
        let slot = &self.pools.clients[usize::from(kind.verify) * 2 + usize::from(kind.proxy)];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build(&self.pools.user_agent, kind)?;
        Ok(slot.get_or_init(|| client))
    }
}

fn build(user_agent: &str, kind: Kind) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .tls_danger_accept_invalid_certs(!kind.verify);
    if !kind.proxy {
        builder = builder.no_proxy();
    }
    builder.build().map_err(HttpError::setup)
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let bare = host.trim_matches(['[', ']']);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        for (url, loopback) in [
            ("http://localhost:5000/", true),
            ("http://LOCALHOST/", true),
            ("http://a.localhost/", true),
            ("http://127.0.0.1/", true),
            ("http://127.9.9.9/", true),
            ("http://2130706433/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn pools_are_shared_by_what_they_do() {
        let client = HttpClient::new("test/1").unwrap();
        let url: Url = "http://127.0.0.1/".parse().unwrap();
        let (a, b) = (client.pool(&url, true).unwrap(), client.clone());
        assert!(
            std::ptr::eq(a, b.pool(&url, false).unwrap()),
            "plain HTTP verifies nothing"
        );
        assert!(HttpClient::new("a\nb").is_err());
    }
}
