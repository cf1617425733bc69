//! The connection pools.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Url, redirect};
use tracing::debug;

use super::guard::{Reach, Resolver, Whereabouts, Zone, is_loopback};
use super::tls::{SystemRoots, Trust};
use super::{HostOptions, HttpError};

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
    /// What the operator said of hosts, by their origins.
    listed: HashMap<String, Trust>,
    proxies: Matcher,
    roots: SystemRoots,
    whereabouts: Arc<Whereabouts>,
    /// Made when first used. There are a few at most.
    clients: Mutex<Vec<(Kind, reqwest::Client)>>,
}

/// What a pool does differently from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    trust: Trust,
    reach: Reach,
    /// The proxy's host.
    proxy: Option<String>,
}

impl HttpClient {
    /// Pools that introduce themselves as `user_agent`.
    ///
    /// # Errors
    ///
    /// When `user_agent` cannot stand in a header.
    pub fn new(user_agent: &str) -> Result<Self, HttpError> {
        Self::with_hosts(user_agent, [])
    }

    /// The same, of an operator who listed `hosts`. What is said of them holds
    /// whoever leads there, and any host may lead there.
    ///
    /// # Errors
    ///
    /// When `user_agent` cannot stand in a header, or one of the addresses is
    /// none.
    pub fn with_hosts(
        user_agent: &str,
        hosts: impl IntoIterator<Item = HostOptions>,
    ) -> Result<Self, HttpError> {
        if reqwest::header::HeaderValue::from_str(user_agent).is_err() {
            return Err(HttpError::Setup(format!(
                "user agent {user_agent:?} is no header value"
            )));
        }
        let mut listed = HashMap::new();
        for host in hosts {
            let url = host.url().ok_or_else(|| {
                let text = format!("{:?} is no address: expected host[:port]", host.address);
                HttpError::Setup(text)
            })?;
            listed.entry(origin(&url)).or_insert_with(|| host.trust());
        }
        Ok(Self {
            pools: Arc::new(Pools {
                user_agent: user_agent.to_owned(),
                listed,
                proxies: Matcher::from_system(),
                roots: SystemRoots::default(),
                whereabouts: Arc::default(),
                clients: Mutex::default(),
            }),
        })
    }

    /// What the operator said of the host at `url`.
    pub(super) fn listed(&self, url: &Url) -> Option<&Trust> {
        self.pools.listed.get(&origin(url))
    }

    /// Whether a host that the operator named is private, as far as is known:
    /// one behind a proxy is not.
    pub(super) fn is_private(&self, url: &Url) -> bool {
        match Zone::of_host(url) {
            Some(zone) => zone != Zone::Public,
            None => url
                .host_str()
                .is_some_and(|host| self.pools.whereabouts.is_private(host)),
        }
    }

    /// The pool for `url`, which may lead as far as `reach`.
    ///
    /// # Errors
    ///
    /// When it leads further already, or the pool cannot be set up.
    pub(super) fn pool(
        &self,
        url: &Url,
        trust: &Trust,
        reach: Reach,
    ) -> Result<reqwest::Client, HttpError> {
        let proxy = self.proxy(url)?;
        // A proxy is a way, and nothing that a server may lead to.
        let to_proxy = proxy.is_some() && proxy.as_deref() == url.host_str();
        let zone = match Zone::of_host(url) {
            None if to_proxy => Zone::Private,
            zone => zone.unwrap_or(Zone::Public),
        };
        if !reach.admits(zone) {
            return Err(HttpError::out_of_reach(url, zone));
        }
        let kind = Kind {
            trust: match url.scheme() {
                "https" => trust.clone(),
                _ => Trust::PLAIN,
            },
            reach,
            proxy,
        };
        let mut clients = self
            .pools
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(known, _)| *known == kind) {
            return Ok(client.clone());
        }
        let client = self.pools.build(&kind)?;
        clients.push((kind, client.clone()));
        Ok(client)
    }

    /// The host of the proxy that the environment names for `url`.
    fn proxy(&self, url: &Url) -> Result<Option<String>, HttpError> {
        if is_loopback(url) {
            return Ok(None);
        }
        let uri: http::Uri = url
            .as_str()
            .parse()
            .map_err(|error| HttpError::Request(format!("{error}")))?;
        let proxy = self.pools.proxies.intercept(&uri);
        Ok(proxy.and_then(|proxy| proxy.uri().host().map(ToOwned::to_owned)))
    }
}

impl Pools {
    fn build(&self, kind: &Kind) -> Result<reqwest::Client, HttpError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.user_agent)
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_backend_preconfigured(kind.trust.config(&self.roots)?)
            .dns_resolver(Resolver {
                reach: kind.reach,
                proxy: kind.proxy.clone(),
                whereabouts: Arc::clone(&self.whereabouts),
            });
        match &kind.proxy {
            Some(proxy) => debug!("connecting through the proxy {proxy}"),
            None => builder = builder.no_proxy(),
        }
        builder.build().map_err(HttpError::setup)
    }
}

/// Scheme, host and port.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_shared_by_what_they_do() {
        let client = HttpClient::new("test/1").unwrap();
        let verified = HostOptions::new("").trust();
        let pools = |url: &str, trust: &Trust, reach| {
            let _ = client
                .clone()
                .pool(&url.parse().unwrap(), trust, reach)
                .unwrap();
            client.pools.clients.lock().unwrap().len()
        };
        assert_eq!(pools("http://127.0.0.1/", &verified, Reach::Anywhere), 1);
        assert_eq!(
            pools("http://8.8.8.8/", &Trust::PLAIN, Reach::Anywhere),
            1,
            "plain HTTP verifies nothing"
        );
        assert_eq!(pools("http://8.8.8.8/", &verified, Reach::Outside), 2);
        assert_eq!(pools("https://8.8.8.8/", &Trust::PLAIN, Reach::Outside), 2);
    }

    #[test]
    fn what_cannot_be_set_up_is_named() {
        let error = HttpClient::new("a\nb").unwrap_err().to_string();
        assert!(error.contains("user agent"), "{error}");
        let hosts = [HostOptions::new("a/b")];
        let error = HttpClient::with_hosts("test/1", hosts).unwrap_err();
        assert!(error.to_string().contains("\"a/b\""), "{error}");
    }
}
