//! What goes into a request's `Authorization`, and what a 401 is answered with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::credential::{basic, bearer};
use super::token::{self, Realm, Token};
use super::{Challenge, Credential, Scopes};
use crate::http::HostClient;
use crate::registry::failure::Failure;
use crate::store::ErrorKind;

/// How many tokens are remembered, but for those being asked for.
const TOKENS: usize = 256;

/// The credentials of one registry, and what was learnt of how to use them.
#[derive(Debug)]
pub(crate) struct Authorizer {
    credential: Credential,
    registry: Url,
    /// For the token server, which may be another host.
    http: HostClient,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scheme: Option<Scheme>,
    tokens: HashMap<(Realm, Scopes), Arc<tokio::sync::Mutex<Slot>>>,
}

/// What the registry asked for when it was last asked without.
#[derive(Debug, Clone)]
enum Scheme {
    Basic,
    Bearer(Realm),
}

/// A token, or why there is none. Whoever holds the lock asks for it, and all
/// who waited meanwhile take what came.
#[derive(Debug, Default)]
struct Slot {
    token: Option<Token>,
    failed: Option<(Instant, ErrorKind, String)>,
}

/// What one request was sent with.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    pub(crate) header: HeaderValue,
    /// There is nothing better: if this is refused, the answer is no.
    last: bool,
    /// It was the answer to a 401, so that the next answer is the last.
    answers: bool,
    /// Of a token that was fetched for this request: where, and for what.
    fetched: Option<(Realm, Scopes)>,
}

impl Authorization {
    /// Something that is sent without having been asked for. It is not the
    /// last word: the registry may want something else for this request than
    /// it wanted for the one before.
    fn known(header: HeaderValue) -> Self {
        Self {
            header,
            last: false,
            answers: false,
            fetched: None,
        }
    }
}

impl Authorizer {
    pub(crate) fn new(credential: Credential, registry: Url, http: HostClient) -> Self {
        Self {
            credential,
            registry,
            http,
            state: Mutex::default(),
        }
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.credential == Credential::Anonymous
    }

    /// What to send without having been asked, as far as is known.
    pub(crate) async fn known(&self, scopes: &Scopes) -> Result<Option<Authorization>, Failure> {
        let scheme = self.lock().scheme.clone();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => Ok(self.basic().map(Authorization::known)),
            Some(Scheme::Bearer(realm)) => {
                self.bearer(&realm, scopes, scopes, None).await.map(Some)
            }
        }
    }

    /// What to answer a 401 with. `refused` is what the request was sent with,
    /// `answer` what the registry said.
    pub(crate) async fn answer(
        &self,
        challenges: &[Challenge],
        scopes: &Scopes,
        refused: Option<&Authorization>,
        answer: Failure,
    ) -> Result<Authorization, Failure> {
        let denied = |text: String| Err(answer.with_kind(ErrorKind::Denied).explained(&text));
        let refusal = || format!("the registry refused {}", self.credential);
        if refused.is_some_and(|refused| refused.last) {
            return denied(refusal());
        }
        let bearers = challenges
            .iter()
            .filter(|challenge| challenge.scheme == "bearer");
        let mut unusable = None;
        for challenge in bearers {
            match self.realm(challenge) {
                Ok(realm) => {
                    let asked = scopes.with_challenged(challenge.get("scope").unwrap_or_default());
                    let fetched = refused.and_then(|refused| refused.fetched.as_ref());
                    if fetched.is_some_and(|(from, to)| *from == realm && *to == asked) {
                        // Another one would be no different.
                        return denied(refusal());
                    }
                    self.lock().scheme = Some(Scheme::Bearer(realm.clone()));
                    let mut found = self.bearer(&realm, scopes, &asked, refused).await?;
                    // A remembered token may have been revoked, and is
                    // renewed once. Two answers are the most: a registry that
                    // names another token server every time must not be
                    // followed in a circle.
                    let second = refused.is_some_and(|refused| refused.answers);
                    found.last |= second || found.fetched.is_some();
                    found.answers = true;
                    return Ok(found);
                }
                Err(reason) => unusable = Some(reason),
            }
        }
        if challenges
            .iter()
            .any(|challenge| challenge.scheme == "basic")
        {
            let Some(header) = self.basic() else {
                return denied(format!(
                    "the registry wants a user and password, not {}",
                    self.credential
                ));
            };
            if refused.is_some_and(|refused| refused.header == header) {
                return denied(refusal());
            }
            self.lock().scheme = Some(Scheme::Basic);
            return Ok(Authorization {
                last: true,
                ..Authorization::known(header)
            });
        }
        let reason = unusable.unwrap_or_else(|| {
            "the registry does not say how to sign in (no Basic or Bearer challenge)".to_owned()
        });
        denied(reason)
    }

    fn basic(&self) -> Option<HeaderValue> {
        match &self.credential {
            Credential::Basic { user, password } => Some(basic(user, password)),
            _ => None,
        }
    }

    /// The realm of a challenge, if credentials may go there: a registry that
    /// is reached over TLS cannot have them sent in the clear.
    fn realm(&self, challenge: &Challenge) -> Result<Realm, String> {
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

    /// A token for `scopes`, asking for `asked` when there is none but the
    /// `refused` one.
    async fn bearer(
        &self,
        realm: &Realm,
        scopes: &Scopes,
        asked: &Scopes,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, Failure> {
        if let Credential::RegistryToken(token) = &self.credential {
            let header = bearer(token).ok_or_else(|| {
                Failure::new(
                    ErrorKind::Denied,
                    "the registry token cannot stand in a header",
                )
            })?;
            return Ok(Authorization {
                last: true,
                ..Authorization::known(header)
            });
        }
        let slot = self.slot(realm, scopes);
        let arrived = Instant::now();
        let mut slot = slot.lock().await;
        if let Some(token) = &slot.token
            && token.until > Instant::now()
            && refused.is_none_or(|refused| refused.header != token.header)
        {
            return Ok(Authorization::known(token.header.clone()));
        }
        if let Some((when, kind, text)) = &slot.failed
            && *when >= arrived
        {
            return Err(Failure::new(*kind, text.clone()));
        }
        slot.token = None;
        match token::fetch(&self.http, realm, asked, &self.credential).await {
            Ok(token) => {
                let header = token.header.clone();
                slot.token = Some(token);
                Ok(Authorization {
                    fetched: Some((realm.clone(), asked.clone())),
                    ..Authorization::known(header)
                })
            }
            Err(failure) => {
                slot.failed = Some((Instant::now(), failure.kind, failure.text()));
                Err(failure)
            }
        }
    }

    fn slot(&self, realm: &Realm, scopes: &Scopes) -> Arc<tokio::sync::Mutex<Slot>> {
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
        let key = (realm.clone(), scopes.clone());
        Arc::clone(state.tokens.entry(key).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::{HostOptions, HttpClient, RetryPolicy};

    #[tokio::test]
    async fn j14_only_so_many_tokens_are_remembered() {
        let own: Url = "https://r.io/v2/".parse().unwrap();
        let client = HttpClient::new("test/1").unwrap();
        let options = HostOptions::new("r.io");
        let http = HostClient::new(&client, own.clone(), &options, RetryPolicy::none());
        let authorizer = Authorizer::new(Credential::Anonymous, own.clone(), http);
        let realm = Realm {
            url: own,
            service: None,
        };
        let scopes = |number: usize| Scopes::pull(&format!("a{number}").parse().unwrap());
        // Somebody is asking for the first one all the while.
        let first = authorizer.slot(&realm, &scopes(0));
        for number in 1..10 * TOKENS {
            let slot = authorizer.slot(&realm, &scopes(number));
            slot.lock().await.token = Some(Token {
                header: HeaderValue::from_static("Bearer x"),
                until: Instant::now() + Duration::from_secs(3600),
            });
            assert!(authorizer.lock().tokens.len() <= TOKENS, "{number}");
        }
        assert!(Arc::ptr_eq(&first, &authorizer.slot(&realm, &scopes(0))));
    }
}
