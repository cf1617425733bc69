//! Asking a token server.
//!
//! Source: distribution's `docs/content/spec/auth/token.md` and `oauth.md`.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::credential::{basic, bearer};
use super::{Credential, Scopes};
use crate::http::{HostClient, Payload, Request, Response, Secret};
use crate::registry::failure::Failure;
use crate::registry::operation::TOKEN;
use crate::store::ErrorKind;

/// How much of a token server's answer is read, in bytes.
const BODY: usize = 128 << 10;

/// How long a token lives that does not say: distribution's `token.md`.
const DEFAULT_LIFE: u64 = 60;

/// A longer life than this is not believed.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// Where tokens for a registry come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Realm {
    pub(super) url: Url,
    pub(super) service: Option<String>,
}

/// A bearer token, and until when it is used.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    /// A number; some write it as a string.
    #[serde(default)]
    expires_in: Value,
}

/// Asks `realm` for a token. One request, but for identity tokens whose server
/// does not know POST.
pub(super) async fn fetch(
    http: &HostClient,
    realm: &Realm,
    scopes: &Scopes,
    credential: &Credential,
) -> Result<Token, Failure> {
    let named = http.refuse_address(&realm.url);
    named.map_err(|error| explained(error.into(), realm))?;
    if let Credential::IdentityToken(token) = credential {
        let answer = http.send(&mut post(realm, scopes, token)).await;
        let answer = answer.map_err(|error| explained(error.into(), realm))?;
        // GCR 404, JFrog 401, ACR 400.
        if !matches!(answer.status().as_u16(), 400 | 401 | 404 | 405) {
            return read(answer, realm, credential).await;
        }
    }
    let answer = http.send(&mut get(realm, scopes, credential)).await;
    let answer = answer.map_err(|error| explained(error.into(), realm))?;
    read(answer, realm, credential).await
}

fn get(realm: &Realm, scopes: &Scopes, credential: &Credential) -> Request {
    let mut url = realm.url.clone();
    let mut query = url.query_pairs_mut();
    if let Some(service) = &realm.service {
        query.append_pair("service", service);
    }
    for scope in scopes.iter() {
        query.append_pair("scope", scope);
    }
    let header = match credential {
        Credential::Basic { user, password } => {
            query.append_pair("account", user);
            Some(basic(user, password))
        }
        Credential::IdentityToken(token) => Some(basic("", token)),
        Credential::Anonymous | Credential::RegistryToken(_) => None,
    };
    drop(query);
    let request = Request::new(TOKEN, Method::GET, url).whole(BODY);
    match header {
        Some(header) => request.header(AUTHORIZATION, header),
        None => request,
    }
}

fn post(realm: &Realm, scopes: &Scopes, token: &Secret) -> Request {
    // A URL of no meaning, for its form encoding.
    let mut form = realm.url.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", realm.service.as_deref().unwrap_or_default())
        .append_pair("client_id", "regmirror")
        .append_pair("scope", &scopes.joined())
        .append_pair("refresh_token", token.expose());
    let form = form.query().unwrap_or_default().to_owned();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    Request::new(TOKEN, Method::POST, realm.url.clone())
        .whole(BODY)
        .header(CONTENT_TYPE, kind)
        .payload(Payload::Bytes(form.into()))
}

async fn read(answer: Response, realm: &Realm, credential: &Credential) -> Result<Token, Failure> {
    let status = answer.status();
    if status != StatusCode::OK {
        let failure = Failure::of(answer).await;
        return Err(match failure.kind {
            ErrorKind::Denied | ErrorKind::Refused => {
                let text = format!("the token server {} refused {credential}", place(realm));
                failure.with_kind(ErrorKind::Denied).explained(&text)
            }
            // That the server has no such page does not mean that the image is
            // not there.
            ErrorKind::NotFound => explained(failure.with_kind(ErrorKind::Malformed), realm),
            _ => explained(failure, realm),
        });
    }
    // A token's life begins when it was made, which was before now.
    let now = Instant::now();
    let body = answer.bytes(BODY).await;
    let body = body.map_err(|error| explained(error.into(), realm))?;
    parse(&body, now).map_err(|cause| explained(Failure::new(ErrorKind::Malformed, cause), realm))
}

fn parse(body: &[u8], now: Instant) -> Result<Token, &'static str> {
    // serde_json's own message may quote the token.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "its answer is not a token")?;
    let text = [answer.token, answer.access_token].into_iter().flatten();
    let text = text.into_iter().find(|text| !text.is_empty());
    let token = Secret::new(text.ok_or("there is no token in its answer")?);
    let header = bearer(&token).ok_or("its token cannot stand in a header")?;
    let life = match &answer.expires_in {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let life = life.filter(|life| *life > 0).unwrap_or(DEFAULT_LIFE);
    let life = Duration::from_secs(life.min(LONGEST_LIFE));
    // Renewed a bit before its end: a request takes time to arrive.
    let margin = (life / 4).min(Duration::from_secs(10));
    Ok(Token {
        header,
        until: now + (life - margin),
    })
}

fn explained(failure: Failure, realm: &Realm) -> Failure {
    failure.explained(&format!("no token from {}", place(realm)))
}

/// The realm without its query.
fn place(realm: &Realm) -> String {
    format!(
        "{}{}",
        realm.url.origin().ascii_serialization(),
        realm.url.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(body: &str) -> Result<(String, u64), &'static str> {
        let now = Instant::now();
        let token = parse(body.as_bytes(), now)?;
        let header = token.header.to_str().unwrap().to_owned();
        Ok((header, (token.until - now).as_secs()))
    }

    #[test]
    fn f2_tokens_are_read_in_every_form_and_renewed_early() {
        for (body, header, seconds) in [
            (r#"{"token":"T","expires_in":300}"#, "Bearer T", 290),
            (r#"{"access_token":"T"}"#, "Bearer T", 50),
            (
                r#"{"token":"","access_token":"T","expires_in":20}"#,
                "Bearer T",
                15,
            ),
            (
                r#"{"token":"T","expires_in":"300","issued_at":"2009-11-10"}"#,
                "Bearer T",
                290,
            ),
            (r#"{"token":"T","expires_in":-5}"#, "Bearer T", 50),
            (r#"{"token":"T","expires_in":1e300}"#, "Bearer T", 50),
            (
                r#"{"token":"T","expires_in":18446744073709551615}"#,
                "Bearer T",
                86390,
            ),
        ] {
            assert_eq!(life(body), Ok((header.to_owned(), seconds)), "{body}");
        }
        for body in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":7}"#,
            r#"{"token":"a\nb"}"#,
        ] {
            assert!(life(body).is_err(), "{body}");
        }
    }

    #[test]
    fn f3_a_token_request_names_service_scopes_and_user() {
        let realm = Realm {
            url: "https://a.io/token?x=1".parse().unwrap(),
            service: Some("a b".to_owned()),
        };
        let repo = "a/b".parse().unwrap();
        let scopes = Scopes::push(&repo).and_pull(&"c".parse().unwrap());
        let anonymous = get(&realm, &scopes, &Credential::Anonymous);
        assert_eq!(
            anonymous.url.as_str(),
            "https://a.io/token?x=1&service=a+b&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"
        );
        assert!(anonymous.headers.is_empty());
        let user = Credential::Basic {
            user: "u".to_owned(),
            password: Secret::from("p"),
        };
        let known = get(&realm, &scopes, &user);
        assert!(known.url.query().unwrap().ends_with("&account=u"));
        assert_eq!(known.headers[AUTHORIZATION], "Basic dTpw");
        let refresh = post(&realm, &scopes, &Secret::from("R"));
        let Payload::Bytes(form) = refresh.payload else {
            panic!("a form");
        };
        assert!(form.ends_with(b"&refresh_token=R"), "{form:?}");
    }
}
