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
        Self::behind(Matcher::from_system(), user_agent, hosts)
    }

    fn behind(
        proxies: Matcher,
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
                proxies,
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
        let to_proxy = match (&proxy, url.host_str()) {
            (Some(proxy), Some(host)) => proxy.eq_ignore_ascii_case(host),
            _ => false,
        };
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
        let proxy_of = |url: &str| {
            let uri: Result<http::Uri, _> = url.parse();
            uri.map(|uri| self.pools.proxies.intercept(&uri))
                .map_err(|error| HttpError::Request(error.to_string()))
        };
        // The `*` of NO_PROXY is taken there for every name, but not for
        // addresses.
        if proxy_of(&format!("{}://name.invalid/", url.scheme()))?.is_none() {
            return Ok(None);
        }
        let proxy = proxy_of(url.as_str())?;
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
    use crate::http::error::transport;

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

    #[tokio::test]
    async fn what_a_name_stands_for_is_checked_by_the_connection() {
        let client = HttpClient::new("test/1").unwrap();
        let url: Url = "http://localhost:1/x?secret".parse().unwrap();
        let refused = async |reach| {
            let kind = Kind {
                trust: Trust::PLAIN,
                reach,
                proxy: None,
            };
            let pool = client.pools.build(&kind).unwrap();
            let error = pool.get(url.clone()).send().await.unwrap_err();
            match transport(error, &url) {
                Ok((text, _)) => text,
                Err(error) => error.to_string(),
            }
        };
        let error = refused(Reach::Outside).await;
        assert!(error.contains("leads to http://localhost:1, "), "{error}");
        let known = &client.pools.whereabouts;
        assert!(!known.is_private("localhost"), "strangers are not recorded");
        let error = refused(Reach::Inside).await;
        assert!(!error.contains("leads to"), "{error}");
        assert!(!known.is_private("localhost"), "strangers are not recorded");
        let error = refused(Reach::Anywhere).await;
        assert!(!error.contains("leads to"), "{error}");
        assert!(known.is_private("localhost"));
    }

    #[test]
    fn a_proxy_is_a_way_and_not_a_place() {
        let proxies = || {
            let proxies = Matcher::builder().all("http://Proxy.test:3128");
            proxies.no("direct.test").build()
        };
        let client = HttpClient::behind(proxies(), "test/1", []).unwrap();
        let pool = |url: &str, reach| {
            let pool = client.pool(&url.parse().unwrap(), &Trust::PLAIN, reach);
            pool.map_err(|error| error.to_string())
        };
        pool("http://s.test/", Reach::Outside).unwrap();
        pool("http://proxy.test/", Reach::Inside).unwrap();
        let error = pool("http://proxy.test:8080/", Reach::Outside).unwrap_err();
        assert!(error.contains("http://proxy.test:8080, "), "{error}");
        for (url, proxied) in [
            ("http://s.test/", true),
            ("https://s.test/", true),
            ("http://10.0.0.1/", true),
            ("http://direct.test/", false),
            ("http://a.direct.test/", false),
            ("http://127.0.0.1/", false),
            ("http://localhost/", false),
        ] {
            let proxy = client.proxy(&url.parse().unwrap()).unwrap();
            assert_eq!(proxy.is_some(), proxied, "{url}");
        }
    }

    #[test]
    fn a_host_is_where_its_name_leads() {
        let client = HttpClient::new("test/1").unwrap();
        for (url, recorded, private) in [
            ("https://a.test:5000/", None, false),
            ("https://b.test:5000/", Some(Zone::Private), true),
            ("https://c.test/", Some(Zone::Public), false),
            ("https://10.0.0.1/", None, true),
            ("https://8.8.8.8/", None, false),
        ] {
            let url: Url = url.parse().unwrap();
            if let Some(zone) = recorded {
                let host = url.host_str().unwrap();
                client.pools.whereabouts.record(host, zone);
            }
            assert_eq!(client.is_private(&url), private, "{url}");
        }
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
