//! Where a server may lead.
//!
//! A redirect, an upload's `Location` or a token server's URL comes from
//! somebody who may want to see the inside of our network. The addresses that
//! are checked are those that are connected to: a literal in the URL, and what
//! a name resolves to in the very lookup of the connection, so that a name
//! cannot stand for one address when checked and for another when used.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// What kind of place an address is, the more dangerous the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Zone {
    /// Anybody's.
    Public,
    /// This machine, or its network.
    Private,
    /// Link-local, where clouds hand out credentials to whoever asks, or no
    /// host's address at all.
    Forbidden,
}

impl Zone {
    /// Of an address, or of the IPv4 address within one of IPv6. Source:
    /// IANA's special-purpose address registries (RFC 6890).
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            // This network, link-local, multicast, reserved and broadcast.
            [0, ..] | [169, 254, ..] | [224..=255, ..] => Self::Forbidden,
            // The metadata services of Azure, Alibaba and Oracle.
            [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Self::Forbidden,
            [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            // Behind a provider's NAT, protocol assignments, benchmarks.
            [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let v4 = |high: u16, low: u16| {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Forbidden,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Private,
            // IPv4-compatible, -mapped and -translated; NAT64.
            [0, 0, 0, 0, 0, 0, high, low]
            | [0, 0, 0, 0, 0, 0xffff, high, low]
            | [0, 0, 0, 0, 0xffff, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
            // NAT64 of one's own network.
            [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low).max(Self::Private),
            // Teredo: the server, and the client's address inverted.
            [0x2001, 0, a, b, _, _, high, low] => v4(a, b).max(v4(!high, !low)),
            // 6to4.
            [0x2002, high, low, ..] => v4(high, low),
            // The metadata services of AWS and Google.
            [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, ..] => Self::Forbidden,
            // Link-local and multicast.
            [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] => Self::Forbidden,
            // Unique local, and the site-local addresses of before.
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Self::Private,
            _ => Self::Public,
        }
    }

    /// Of a URL's host as far as it says so itself; `None` is a name that
    /// stands for whatever it resolves to.
    pub(super) fn of_host(url: &Url) -> Option<Self> {
        if let Some(address) = literal(url) {
            return Some(Self::of(address));
        }
        let name = url.host_str()?.trim_end_matches('.');
        match name {
            "metadata.google.internal" | "metadata.goog" => Some(Self::Forbidden),
            "localhost" => Some(Self::Private),
            _ if name.ends_with(".localhost") => Some(Self::Private),
            _ => None,
        }
    }
}

/// The address that a URL has for a host.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether a URL leads to this machine, as far as it says so itself.
pub(super) fn is_loopback(url: &Url) -> bool {
    match literal(url) {
        Some(address) => address.to_canonical().is_loopback(),
        None => Zone::of_host(url) == Some(Zone::Private),
    }
}

/// How far a URL may lead, by who named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anywhere: the operator named it.
    Anywhere,
    /// Also inside: a server that is there itself named it, or the operator
    /// did, too.
    Inside,
    /// To public addresses: any server named it.
    Outside,
}

impl Reach {
    pub(super) fn admits(self, zone: Zone) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Inside => zone != Zone::Forbidden,
            Self::Outside => zone == Zone::Public,
        }
    }
}

/// A name that stands for no address that its URL may lead to.
#[derive(Debug, thiserror::Error)]
#[error("every address is out of reach")]
pub(super) struct OutOfReach(pub(super) Zone);

/// Where the hosts are that the operator named.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(Mutex<HashMap<String, Zone>>);

impl Whereabouts {
    /// Whether `host` is private: all that its name has ever resolved to is.
    /// Once public, always public: whoever owns the name of a public host
    /// could otherwise move it inside for a moment and lead there himself.
    pub(super) fn is_private(&self, host: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(host).is_some_and(|zone| *zone != Zone::Public)
    }

    pub(super) fn record(&self, host: &str, zone: Zone) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.entry(host.to_owned()).or_insert(zone);
        *before = zone.min(*before);
    }
}

/// The system's resolver, of which only what is within reach comes through.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) reach: Reach,
    /// The proxy's host, which is the environment's to choose.
    pub(super) proxy: Option<String>,
    pub(super) whereabouts: Arc<Whereabouts>,
}

impl Resolver {
    /// The addresses of `host` that are within reach.
    fn admitted(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, OutOfReach> {
        let proxy = self.proxy.as_deref();
        if proxy.is_some_and(|proxy| proxy.eq_ignore_ascii_case(host)) {
            return Ok(found);
        }
        let zone = |address: &SocketAddr| Zone::of(address.ip());
        let mildest = found.iter().map(zone).min().unwrap_or(Zone::Public);
        if self.reach == Reach::Anywhere {
            self.whereabouts.record(host, mildest);
        }
        if !self.reach.admits(mildest) {
            return Err(OutOfReach(mildest));
        }
        let within = |address: &SocketAddr| self.reach.admits(zone(address));
        Ok(found.into_iter().filter(within).collect())
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = Self {
            proxy: self.proxy.clone(),
            whereabouts: Arc::clone(&self.whereabouts),
            ..*self
        };
        Box::pin(async move {
            let found: Vec<_> = lookup_host((name.as_str(), 0)).await?.collect();
            if found.is_empty() {
                return Err(io::Error::other("the name has no address").into());
            }
            let found = this.admitted(name.as_str(), found)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_however_they_are_wrapped() {
        for (zone, addresses) in [
            (
                Zone::Forbidden,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "169.254.0.0",
                    "169.254.169.254",
                    "169.254.255.255",
                    "168.63.129.16",
                    "100.100.100.200",
                    "192.0.0.192",
                    "224.0.0.1",
                    "239.255.255.255",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "fe80::1",
                    "febf::1",
                    "ff02::1",
                    "fd00:ec2::254",
                    "fd20:ce::254",
                    "::ffff:169.254.169.254",
                    "::ffff:0.0.0.0",
                    "::169.254.169.254",
                    "::ffff:0:169.254.169.254",
                    "64:ff9b::169.254.169.254",
                    "64:ff9b:1::169.254.169.254",
                    "2002:a9fe:a9fe::",
                    "2001:0:5db8:d822::5601:5601",
                    "2001:0:a9fe:a9fe::a247:27dd",
                ][..],
            ),
            (
                Zone::Private,
                &[
                    "127.0.0.1",
                    "127.255.255.255",
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.0.1",
                    "100.64.0.1",
                    "100.127.255.255",
                    "192.0.0.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "::1",
                    "fc00::1",
                    "fdff::1",
                    "fec0::1",
                    "::ffff:127.0.0.1",
                    "::ffff:10.0.0.1",
                    "::10.0.0.1",
                    "64:ff9b::10.0.0.1",
                    "64:ff9b::7f00:1",
                    "64:ff9b:1::8.8.8.8",
                    "2002:7f00:1::1",
                    "2002:c0a8:1::",
                    "2001:0:5db8:d822::80ff:fffe",
                ],
            ),
            (
                Zone::Public,
                &[
                    "8.8.8.8",
                    "1.0.0.0",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                    "169.253.255.255",
                    "169.255.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.0",
                    "192.167.255.255",
                    "192.169.0.0",
                    "198.17.255.255",
                    "198.20.0.0",
                    "223.255.255.255",
                    "2606:4700::1111",
                    "2001:4860::8888",
                    "::ffff:8.8.8.8",
                    "64:ff9b::8.8.8.8",
                    "2002:808:808::1",
                    "2001:0:5db8:d822::f7f7:f7f7",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(Zone::of(address.parse().unwrap()), zone, "{address}");
            }
        }
    }

    #[test]
    fn a_host_is_told_apart_in_every_spelling() {
        for (url, zone) in [
            ("http://2130706433/", Some(Zone::Private)),
            ("http://0x7f.1/", Some(Zone::Private)),
            ("http://0177.0.0.1/", Some(Zone::Private)),
            ("http://127.0.0.1./", Some(Zone::Private)),
            ("http://127%2e0.0.1/", Some(Zone::Private)),
            ("http://１２７.0.0.1/", Some(Zone::Private)),
            ("http://[::1]/", Some(Zone::Private)),
            ("http://[::ffff:a9fe:a9fe]/", Some(Zone::Forbidden)),
            ("http://2852039166/latest", Some(Zone::Forbidden)),
            ("http://0/", Some(Zone::Forbidden)),
            ("http://METADATA.google.internal./", Some(Zone::Forbidden)),
            ("http://metadata.goog/", Some(Zone::Forbidden)),
            ("http://LocalHost:80/", Some(Zone::Private)),
            ("http://a.localhost./", Some(Zone::Private)),
            ("http://8.8.8.8/", Some(Zone::Public)),
            ("http://localhost.example/", None),
            ("http://metadata.google.internal.example/", None),
            ("http://127.0.0.1.example/", None),
        ] {
            assert_eq!(Zone::of_host(&url.parse().unwrap()), zone, "{url}");
        }
    }

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        for (url, loopback) in [
            ("http://localhost:5000/", true),
            ("http://LOCALHOST./", true),
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

    fn resolver(reach: Reach) -> Resolver {
        Resolver {
            reach,
            proxy: Some("Proxy.test".to_owned()),
            whereabouts: Arc::default(),
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        texts.iter().map(address).collect()
    }

    #[test]
    fn names_lose_the_addresses_that_are_out_of_reach() {
        const ALL: &[&str] = &["169.254.169.254", "10.0.0.1", "8.8.8.8", "fe80::1"];
        for (reach, found, left) in [
            (Reach::Anywhere, ALL, Some(ALL)),
            (Reach::Inside, ALL, Some(&["10.0.0.1", "8.8.8.8"][..])),
            (Reach::Outside, ALL, Some(&["8.8.8.8"])),
            (Reach::Outside, &["10.0.0.1"], None),
            (Reach::Inside, &["169.254.169.254", "::"], None),
            (
                Reach::Anywhere,
                &["169.254.169.254"],
                Some(&["169.254.169.254"]),
            ),
        ] {
            let resolver = resolver(reach);
            let admitted = resolver.admitted("s.test", addresses(found));
            assert_eq!(admitted.ok(), left.map(addresses), "{reach:?} {found:?}");
            let proxy = resolver.admitted("proxy.test", addresses(found));
            assert_eq!(proxy.ok(), Some(addresses(found)), "the proxy is free");
        }
    }

    #[test]
    fn a_host_is_private_until_it_was_seen_outside() {
        let resolver = resolver(Reach::Anywhere);
        let private = |found: &[&str]| {
            let _ = resolver.admitted("r.test", addresses(found));
            resolver.whereabouts.is_private("r.test")
        };
        assert!(!resolver.whereabouts.is_private("r.test"), "not known yet");
        assert!(private(&["10.0.0.1", "::1"]));
        assert!(!private(&["10.0.0.1", "8.8.8.8"]));
        assert!(!private(&["10.0.0.1"]), "it moved inside to lead there");
        assert!(!resolver.whereabouts.is_private("s.test"));
    }

    #[tokio::test]
    async fn what_a_stranger_resolves_to_says_nothing_of_a_host() {
        let outside = resolver(Reach::Outside);
        let error = outside.resolve("localhost".parse().unwrap()).await.err();
        assert!(error.is_some_and(|error| error.is::<OutOfReach>()));
        assert!(!outside.whereabouts.is_private("localhost"));
        let own = resolver(Reach::Anywhere);
        let found = own.resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.count() > 0);
        assert!(own.whereabouts.is_private("localhost"));
    }
}
