//! One request's way in: what goes into its `Authorization`, and what a
//! refusal is answered with.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::authorizer::{Scheme, Wanted};
use super::credential::basic;
use super::token::Realm;
use super::{Authorizer, Challenge, Credential, Scopes};
use crate::http::Response;
use crate::registry::failure::Failure;
use crate::store::ErrorKind;

/// How long a fresh token that is called invalid is given to become valid: it
/// may have been made by a clock that is ahead of the registry's.
const SKEW: Duration = Duration::from_millis(1500);

/// How much of a 403 is looked at, in bytes.
const EXPIRED: usize = 4 << 10;

/// One request's way in.
#[derive(Debug)]
pub(crate) struct SignIn<'a> {
    auth: &'a Authorizer,
    scopes: &'a Scopes,
    /// When the request began.
    since: Instant,
    /// What the request is sent with.
    header: Option<HeaderValue>,
    /// Whose that is, and since when it is known.
    credential: Option<(Credential, Instant)>,
    /// Where the token came from that was fetched for this request, and for
    /// what.
    fetched: Option<(Realm, Scopes)>,
    /// There is nothing better: if this is refused, the answer is no.
    last: bool,
    /// There was an answer to a 401, so that the next one is the last.
    answered: bool,
    /// The credential was asked for again.
    renewed: bool,
    /// A fresh token was given time to become valid.
    waited: bool,
}

impl Authorizer {
    /// Begins with what is known without being asked.
    pub(crate) async fn sign_in<'a>(&'a self, scopes: &'a Scopes) -> Result<SignIn<'a>, Failure> {
        let mut request = SignIn {
            auth: self,
            scopes,
            since: Instant::now(),
            header: None,
            credential: None,
            fetched: None,
            last: false,
            answered: false,
            renewed: false,
            waited: false,
        };
        if scopes.is_for_mount() && self.is_unmountable(scopes) {
            return Err(Failure::new(
                ErrorKind::Denied,
                "the rights for it were refused a short time ago",
            ));
        }
        match self.scheme() {
            None => {}
            Some(Scheme::Basic) => request.header = request.basic().await?,
            Some(Scheme::Bearer(realm)) => request.ahead(&realm).await?,
        }
        Ok(request)
    }
}

impl SignIn<'_> {
    /// Puts into the headers what the request is to be sent with.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        match &self.header {
            Some(header) => headers.insert(AUTHORIZATION, header.clone()),
            None => headers.remove(AUTHORIZATION),
        };
    }

    /// The answer, unless the request is to be sent again with something else.
    pub(crate) async fn judge(&mut self, response: Response) -> Result<Option<Response>, Failure> {
        match response.status() {
            StatusCode::UNAUTHORIZED => {}
            StatusCode::FORBIDDEN => return self.expired(response).await,
            _ => return Ok(Some(response)),
        }
        let challenges = Challenge::all(response.headers());
        let answer = Failure::of(response).await;
        let found = self.answer(&challenges, answer).await;
        if let Err(failure) = &found
            && failure.kind == ErrorKind::Denied
            && self.scopes.is_for_mount()
        {
            self.auth.learn_unmountable(self.scopes);
        }
        found.map(|()| None)
    }

    /// Finds what to answer a 401 with.
    async fn answer(&mut self, challenges: &[Challenge], answer: Failure) -> Result<(), Failure> {
        let of = |scheme| {
            let mut challenges = challenges.iter();
            challenges.find(|challenge: &&Challenge| challenge.scheme == scheme)
        };
        if self.last {
            return self.refused(of("bearer"), answer).await;
        }
        let bearers = challenges
            .iter()
            .filter(|challenge| challenge.scheme == "bearer");
        let mut unusable = None;
        for challenge in bearers {
            let realm = match self.auth.realm(challenge) {
                Ok(realm) => realm,
                Err(reason) => {
                    unusable = Some(reason);
                    continue;
                }
            };
            let named = challenge.get("scope").unwrap_or_default();
            let asked = self.scopes.with_challenged(named);
            let fetched = self.fetched.as_ref();
            if fetched.is_some_and(|(from, to)| *from == realm && *to == asked) {
                // Another one would be no different.
                self.last = true;
                return self.refused(Some(challenge), answer).await;
            }
            self.auth.learn(Scheme::Bearer(realm.clone()));
            self.bearer(&realm, &asked).await?;
            // A remembered token may have been revoked, and is renewed once.
            // Two answers are the most: a registry that names another token
            // server every time must not be followed in a circle.
            self.last |= self.answered || self.fetched.is_some();
            self.answered = true;
            return Ok(());
        }
        if of("basic").is_some() {
            let Some(header) = self.basic().await? else {
                let text = format!("the registry wants a user and password, not {}", self.who());
                return Err(answer.with_kind(ErrorKind::Denied).explained(&text));
            };
            self.last = true;
            if self.header.as_ref() == Some(&header) {
                return self.refused(None, answer).await;
            }
            self.auth.learn(Scheme::Basic);
            self.header = Some(header);
            return Ok(());
        }
        let reason = unusable.unwrap_or_else(|| {
            "the registry does not say how to sign in (no Basic or Bearer challenge)".to_owned()
        });
        Err(answer.with_kind(ErrorKind::Denied).explained(&reason))
    }

    /// The end, unless it was a fresh token that may become valid, or whoever
    /// keeps the password has another one by now.
    async fn refused(
        &mut self,
        challenge: Option<&Challenge>,
        answer: Failure,
    ) -> Result<(), Failure> {
        if challenge.is_some_and(|challenge| self.may_become_valid(challenge)) {
            self.waited = true;
            sleep(SKEW).await;
            return Ok(());
        }
        if self.is_basic()
            && self.renew().await?
            && let Some(header) = self.basic().await?
        {
            self.header = Some(header);
            return Ok(());
        }
        let text = format!("the registry refused {}", self.who());
        Err(answer.with_kind(ErrorKind::Denied).explained(&text))
    }

    /// Whether a token that was fetched for this request is called invalid,
    /// rather than too weak.
    fn may_become_valid(&self, challenge: &Challenge) -> bool {
        let realm = self.auth.realm(challenge).ok();
        let fetched = self.fetched.as_ref().map(|(from, _)| from);
        let invalid = challenge.get("error") == Some("invalid_token");
        invalid && !self.waited && fetched.is_some() && fetched == realm.as_ref()
    }

    /// ECR says that a password has expired with a 403. `None` if there is
    /// another one.
    async fn expired(&mut self, mut response: Response) -> Result<Option<Response>, Failure> {
        if self.header.is_none() || self.renewed {
            return Ok(Some(response));
        }
        let text = response.peek(EXPIRED).await.to_ascii_lowercase();
        let text = String::from_utf8_lossy(&text);
        if !text.contains("authorization token has expired") {
            return Ok(Some(response));
        }
        debug!("the registry says that {} has expired", self.who());
        let basic = self.is_basic();
        let changed = self.renew().await?;
        match self.auth.scheme() {
            _ if basic && !changed => return Ok(Some(response)),
            _ if basic => self.header = self.basic().await?,
            Some(Scheme::Bearer(realm)) => self.bearer(&realm, self.scopes).await?,
            _ => return Ok(Some(response)),
        }
        Ok(None)
    }

    /// Asks for the credential again, once. Whether it is another one: that
    /// there is none any more is no reason to go on as nobody.
    async fn renew(&mut self) -> Result<bool, Failure> {
        let Some((old, since)) = &self.credential else {
            return Ok(false);
        };
        if std::mem::replace(&mut self.renewed, true) {
            return Ok(false);
        }
        let new = self.auth.credential(self.scopes, Some(*since)).await?;
        let changed = new != *old && new != Credential::Anonymous;
        if changed {
            self.credential = Some((new, Instant::now()));
        }
        Ok(changed)
    }

    async fn credential(&mut self) -> Result<&Credential, Failure> {
        if self.credential.is_none() {
            let found = self.auth.credential(self.scopes, None).await?;
            self.credential = Some((found, Instant::now()));
        }
        let (credential, _) = self.credential.as_ref().expect("it was asked for");
        Ok(credential)
    }

    async fn basic(&mut self) -> Result<Option<HeaderValue>, Failure> {
        Ok(match self.credential().await? {
            Credential::Basic { user, password } => Some(basic(user, password)),
            _ => None,
        })
    }

    /// Whether the request was sent with a user and password.
    fn is_basic(&self) -> bool {
        match &self.credential {
            Some((Credential::Basic { user, password }, _)) => {
                self.header.as_ref() == Some(&basic(user, password))
            }
            _ => false,
        }
    }

    /// Takes a token that the registry is likely to ask for. That there is none
    /// is no failure yet: this request may belong to another token server.
    async fn ahead(&mut self, realm: &Realm) -> Result<(), Failure> {
        self.credential().await?;
        if let Err(failure) = self.bearer(realm, self.scopes).await {
            debug!("no token ahead of the request: {}", failure.text());
        }
        Ok(())
    }

    /// Takes a token. If the credential is refused that was known, whoever
    /// keeps it is asked once for another one.
    async fn bearer(&mut self, realm: &Realm, asked: &Scopes) -> Result<(), Failure> {
        let token = match self.token(realm, asked).await {
            Err(failure) if failure.kind == ErrorKind::Denied && self.renew().await? => {
                self.token(realm, asked).await
            }
            token => token,
        };
        let (header, fetched) = token?;
        self.header = Some(header);
        self.fetched = fetched.then(|| (realm.clone(), asked.clone()));
        self.last = matches!(self.who(), Credential::RegistryToken(_));
        Ok(())
    }

    async fn token(
        &mut self,
        realm: &Realm,
        asked: &Scopes,
    ) -> Result<(HeaderValue, bool), Failure> {
        self.credential().await?;
        let (credential, _) = self.credential.as_ref().expect("it was asked for");
        let wanted = Wanted {
            realm,
            scopes: self.scopes,
            asked,
            credential,
            refused: self.header.as_ref(),
            since: self.since,
        };
        self.auth.token(wanted).await
    }

    /// Who the registry was shown.
    fn who(&self) -> &Credential {
        const NOBODY: &Credential = &Credential::Anonymous;
        self.credential
            .as_ref()
            .map_or(NOBODY, |(credential, _)| credential)
    }
}
