//! What is known of signing in to one registry, for all its requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::credential::bearer;
use super::token::{self, Realm, Token};
use super::{Challenge, Credential, Keychain, Scopes};
use crate::http::HostClient;
use crate::oci::{Host, Repository};
use crate::registry::failure::Failure;
use crate::store::ErrorKind;

/// How many tokens are remembered, but for those being asked for.
const TOKENS: usize = 256;

/// How long a mount is not asked for whose rights were refused. There may be
/// one for every layer.
const UNMOUNTABLE: Duration = Duration::from_secs(10 * 60);

/// The credentials of one registry, and what was learnt of how to use them.
#[derive(Debug)]
pub(crate) struct Authorizer {
    host: Host,
    keychain: Keychain,
    registry: Url,
    /// For the token server, which may be another host.
    http: HostClient,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scheme: Option<Scheme>,
    /// Whether the credential that was used last is one.
    somebody: bool,
    tokens: HashMap<Key, Arc<tokio::sync::Mutex<Slot>>>,
    unmountable: HashMap<Scopes, Instant>,
}

/// What the registry asked for when it was last asked without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    Basic,
    Bearer(Realm),
}

/// What a token is for. The host is the authorizer's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    realm: Realm,
    scopes: Scopes,
    /// Another one may have other rights.
    credential: Credential,
}

/// A token, or why there is none. Whoever holds the lock asks for it, and all
/// who waited meanwhile take what came.
#[derive(Debug, Default)]
struct Slot {
    token: Option<Token>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    when: Instant,
    asked: Scopes,
    kind: ErrorKind,
    text: String,
}

/// A request for a token.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) realm: &'a Realm,
    /// What the request needs, ...
    pub(super) scopes: &'a Scopes,
    /// ... and what to ask for to have it.
    pub(super) asked: &'a Scopes,
    pub(super) credential: &'a Credential,
    /// The token that is of no use.
    pub(super) refused: Option<&'a HeaderValue>,
    /// What has failed since then would fail again.
    pub(super) since: Instant,
}

impl Authorizer {
    pub(crate) fn new(host: Host, keychain: Keychain, registry: Url, http: HostClient) -> Self {
        Self {
            host,
            keychain,
            registry,
            http,
            state: Mutex::default(),
        }
    }

    /// Whether nobody had to sign in, or the last who had to had no credential.
    pub(crate) fn is_anonymous(&self) -> bool {
        !self.lock().somebody
    }

    /// The credential for what `scopes` are about. What was learnt up to
    /// `after` does not count.
    pub(super) async fn credential(
        &self,
        scopes: &Scopes,
        after: Option<Instant>,
    ) -> Result<Credential, Failure> {
        let found = self.keychain.credential(&self.host, scopes.repo(), after);
        let (found, _) = found.await?;
        self.lock().somebody = found != Credential::Anonymous;
        Ok(found)
    }

    /// The credential for a repository, and where it comes from, if there is one.
    pub(crate) async fn identity(
        &self,
        repo: Option<&Repository>,
    ) -> Result<(Credential, Option<String>), Failure> {
        self.keychain.credential(&self.host, repo, None).await
    }

    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.lock().scheme.clone()
    }

    pub(super) fn learn(&self, scheme: Scheme) {
        self.lock().scheme = Some(scheme);
    }

    /// That nobody gets the rights for this mount.
    pub(super) fn learn_unmountable(&self, scopes: &Scopes) {
        let mut state = self.lock();
        state
            .unmountable
            .retain(|_, since| since.elapsed() < UNMOUNTABLE);
        if state.unmountable.len() < TOKENS {
            state.unmountable.insert(scopes.clone(), Instant::now());
        }
    }

    pub(super) fn is_unmountable(&self, scopes: &Scopes) -> bool {
        let state = self.lock();
        let since = state.unmountable.get(scopes);
        since.is_some_and(|since| since.elapsed() < UNMOUNTABLE)
    }

    /// The realm of a challenge, if credentials may go there: a registry that
    /// is reached over TLS cannot have them sent in the clear.
    pub(super) fn realm(&self, challenge: &Challenge) -> Result<Realm, String> {
        let text = challenge.get("realm").unwrap_or_default();
        let url = Url::parse(text).ok().filter(|url| {
            let scheme = url.scheme();
            scheme == "https" || (scheme == "http" && self.registry.scheme() == "http")
        });
        let url = url
            .filter(|url| url.has_host() && url.username().is_empty() && url.password().is_none());
        let url = url.ok_or_else(|| {
            let text = crate::http::printable_url(text);
            format!("the registry names {text:?} as its token server, which cannot be used")
        })?;
        let service = challenge
            .get("service")
            .filter(|service| !service.is_empty());
        Ok(Realm {
            url,
            service: service.map(ToOwned::to_owned),
        })
    }

    /// A token, and whether it was fetched for this.
    pub(super) async fn token(&self, wanted: Wanted<'_>) -> Result<(HeaderValue, bool), Failure> {
        if let Credential::RegistryToken(token) = wanted.credential {
            let header = bearer(token).ok_or_else(|| {
                Failure::new(
                    ErrorKind::Denied,
                    "the registry token cannot stand in a header",
                )
            })?;
            return Ok((header, false));
        }
        let slot = self.slot(&wanted);
        let mut slot = slot.lock().await;
        if let Some(token) = &slot.token
            && token.until > Instant::now()
            && wanted.refused != Some(&token.header)
        {
            return Ok((token.header.clone(), false));
        }
        if let Some(failed) = &slot.failed
            && failed.when >= wanted.since
            && failed.asked == *wanted.asked
        {
            return Err(Failure::new(failed.kind, failed.text.clone()));
        }
        slot.token = None;
        let fetched = token::fetch(&self.http, wanted.realm, wanted.asked, wanted.credential);
        match fetched.await {
            Ok(token) => {
                let header = token.header.clone();
                slot.token = Some(token);
                Ok((header, true))
            }
            Err(failure) => {
                slot.failed = Some(Failed {
                    when: Instant::now(),
                    asked: wanted.asked.clone(),
                    kind: failure.kind,
                    text: failure.text(),
                });
                Err(failure)
            }
        }
    }

    fn slot(&self, wanted: &Wanted<'_>) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut state = self.lock();
        if state.tokens.len() >= TOKENS {
            let now = Instant::now();
            let in_use = |slot: &Arc<_>| Arc::strong_count(slot) > 1;
            let is_good = |slot: &Slot| slot.token.as_ref().is_some_and(|token| token.until > now);
            state
                .tokens
                .retain(|_, slot| in_use(slot) || slot.try_lock().is_ok_and(|slot| is_good(&slot)));
            // All good for longer. Who needs one of them again asks again.
            if state.tokens.len() >= TOKENS {
                state.tokens.retain(|_, slot| in_use(slot));
            }
        }
        let key = Key {
            realm: wanted.realm.clone(),
            scopes: wanted.scopes.clone(),
            credential: wanted.credential.clone(),
        };
        Arc::clone(state.tokens.entry(key).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

    use super::*;
    use crate::http::{HostOptions, HttpClient, RetryPolicy, Tls};

    /// The realm that a registry at `registry` may name.
    fn realm(registry: &str, realm: &str) -> Result<String, String> {
        let url: Url = registry.parse().unwrap();
        let client = HttpClient::new("test").unwrap();
        let options = HostOptions::new("r.test").with_tls(Tls::Disabled);
        let http = HostClient::new(&client, url.clone(), &options, RetryPolicy::default());
        let host = "r.test".parse().unwrap();
        let auth = Authorizer::new(host, Credential::Anonymous.into(), url, http);
        let challenge = format!("Bearer realm=\"{realm}\",service=\"\"");
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(&challenge).unwrap());
        let found = auth.realm(&Challenge::all(&headers)[0])?;
        assert_eq!(found.service, None);
        Ok(found.url.to_string())
    }

    #[test]
    fn f11_a_realm_is_never_below_the_registry_s_scheme() {
        let (plain, tls) = ("http://auth.test/token", "https://auth.test/token");
        assert_eq!(realm("https://r.test/v2/", tls), Ok(tls.to_owned()));
        assert_eq!(realm("http://r.test/v2/", tls), Ok(tls.to_owned()));
        assert_eq!(realm("http://r.test/v2/", plain), Ok(plain.to_owned()));
        for realm_text in [
            plain,
            "HTTP://auth.test/",
            "//auth.test/",
            "/token",
            "ws://auth.test/",
        ] {
            let error = realm("https://r.test/v2/", realm_text).unwrap_err();
            assert!(error.contains(&format!("{realm_text:?}")), "{error}");
        }
        let error = realm("https://r.test/v2/", "http://auth.test/?key=canary").unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn f2_a_token_is_used_until_its_time_and_not_after() {
        // Nobody is there: a token is either remembered or there is none.
        let own: Url = "http://127.0.0.1:1/v2/".parse().unwrap();
        let client = HttpClient::new("test/1").unwrap();
        let options = HostOptions::new("127.0.0.1:1").with_tls(Tls::Disabled);
        let http = HostClient::new(&client, own.clone(), &options, RetryPolicy::none());
        let (host, keychain) = ("r.io".parse().unwrap(), Credential::Anonymous.into());
        let authorizer = Authorizer::new(host, keychain, own.clone(), http);
        let realm = Realm {
            url: own,
            service: None,
        };
        let scopes = Scopes::pull(&"a".parse().unwrap());
        let wanted = || Wanted {
            realm: &realm,
            scopes: &scopes,
            asked: &scopes,
            credential: &Credential::Anonymous,
            refused: None,
            since: Instant::now(),
        };
        authorizer.slot(&wanted()).lock().await.token = Some(Token {
            header: HeaderValue::from_static("Bearer x"),
            until: Instant::now() + Duration::from_secs(60),
        });
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(authorizer.token(wanted()).await.unwrap().0, "Bearer x");
        tokio::time::advance(Duration::from_secs(1)).await;
        let error = authorizer.token(wanted()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn j14_only_so_many_tokens_are_remembered() {
        let own: Url = "https://r.io/v2/".parse().unwrap();
        let client = HttpClient::new("test/1").unwrap();
        let options = HostOptions::new("r.io");
        let http = HostClient::new(&client, own.clone(), &options, RetryPolicy::none());
        let (host, keychain) = ("r.io".parse().unwrap(), Credential::Anonymous.into());
        let authorizer = Authorizer::new(host, keychain, own.clone(), http);
        let realm = Realm {
            url: own,
            service: None,
        };
        let slot = |number: usize| {
            let scopes = Scopes::pull(&format!("a{number}").parse().unwrap());
            authorizer.slot(&Wanted {
                realm: &realm,
                scopes: &scopes,
                asked: &scopes,
                credential: &Credential::Anonymous,
                refused: None,
                since: Instant::now(),
            })
        };
        // Somebody is asking for the first one all the while.
        let first = slot(0);
        for number in 1..10 * TOKENS {
            slot(number).lock().await.token = Some(Token {
                header: HeaderValue::from_static("Bearer x"),
                until: Instant::now() + Duration::from_secs(3600),
            });
            assert!(authorizer.lock().tokens.len() <= TOKENS, "{number}");
        }
        assert!(Arc::ptr_eq(&first, &slot(0)));
    }
}
