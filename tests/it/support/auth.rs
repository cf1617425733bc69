//! Who may use a test registry: Basic credentials, or tokens as
//! docker/distribution's `spec/auth/token.md` has them.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, header};
use percent_encoding::percent_decode_str;
use serde_json::json;

/// What a client has to show.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    /// These credentials with every request.
    Basic { user: String, password: String },
    /// A token, which `/token` gives to these credentials.
    Bearer { user: String, password: String },
    /// A token, which `/token` gives to anybody, for pulling only.
    Anonymous,
}

#[derive(Debug)]
pub(super) struct Guard {
    auth: Auth,
    address: String,
    /// What each token grants: `repository:NAME:ACTION`.
    tokens: HashMap<String, Vec<String>>,
}

impl Guard {
    pub(super) fn new(auth: Auth, address: &str) -> Self {
        Self {
            auth,
            address: address.to_owned(),
            tokens: HashMap::new(),
        }
    }

    pub(super) fn accept(&mut self, token: &str, scopes: &[&str]) {
        let granted = scopes.iter().copied().flat_map(actions).collect();
        self.tokens.insert(token.to_owned(), granted);
    }

    /// The answer to a request that does not come through: a challenge, or
    /// what the token endpoint says.
    pub(super) fn check(&mut self, request: &Request) -> Option<Response> {
        let shown = request.headers().get(header::AUTHORIZATION);
        let shown = shown
            .and_then(|shown| shown.to_str().ok())
            .unwrap_or_default();
        let query = request.uri().query().unwrap_or_default();
        match &self.auth {
            Auth::Basic { user, password } => (shown != basic(user, password))
                .then(|| challenge("Basic realm=\"Registry\"".to_owned())),
            Auth::Bearer { .. } | Auth::Anonymous if request.uri().path() == "/token" => {
                Some(self.token(request.method(), query, shown))
            }
            Auth::Bearer { .. } | Auth::Anonymous => {
                let needed = needed(request.method(), request.uri().path(), query);
                self.check_token(shown, &needed)
            }
        }
    }

    fn check_token(&self, shown: &str, needed: &[String]) -> Option<Response> {
        let granted = shown
            .strip_prefix("Bearer ")
            .and_then(|token| self.tokens.get(token));
        let error = match granted {
            Some(granted) if needed.iter().all(|scope| granted.contains(scope)) => return None,
            Some(_) => ",error=\"insufficient_scope\"",
            None if shown.is_empty() => "",
            None => ",error=\"invalid_token\"",
        };
        let scope = match needed {
            [] => String::new(),
            needed => format!(",scope=\"{}\"", joined(needed)),
        };
        Some(challenge(format!(
            "Bearer realm=\"http://{}/token\",service=\"test\"{scope}{error}",
            self.address
        )))
    }

    fn token(&mut self, method: &Method, query: &str, shown: &str) -> Response {
        if method != Method::GET {
            return answer(404, &[], &json!({ "details": "no such endpoint" }));
        }
        let welcome = match &self.auth {
            Auth::Bearer { user, password } => shown == basic(user, password),
            Auth::Basic { .. } | Auth::Anonymous => shown.is_empty(),
        };
        if !welcome {
            let text = json!({ "details": "incorrect username or password" });
            return answer(401, &[], &text);
        }
        let mut granted: Vec<String> = parameters(query, "scope")
            .iter()
            .flat_map(|scopes| scopes.split([' ', '+']))
            .flat_map(actions)
            .collect();
        if matches!(self.auth, Auth::Anonymous) {
            granted.retain(|scope| scope.ends_with(":pull"));
        }
        let token = format!("token-{}", self.tokens.len());
        self.tokens.insert(token.clone(), granted);
        answer(200, &[], &json!({ "token": token, "expires_in": 300 }))
    }
}

fn basic(user: &str, password: &str) -> String {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

fn challenge(text: String) -> Response {
    let error = json!({ "code": "UNAUTHORIZED", "message": "authentication required" });
    let headers = [("www-authenticate", text.as_str())];
    answer(401, &headers, &json!({ "errors": [error] }))
}

fn answer(status: u16, headers: &[(&str, &str)], body: &serde_json::Value) -> Response {
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let body = Body::from(body.to_string());
    response.body(body).expect("a valid answer")
}

/// Every value of a parameter, decoded.
fn parameters(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
        .collect()
}

/// `repository:a:pull,push` as one scope for each action.
fn actions(scope: &str) -> Vec<String> {
    match scope.rsplit_once(':') {
        Some((what, actions)) => actions
            .split(',')
            .map(|action| format!("{what}:{action}"))
            .collect(),
        None => Vec::new(),
    }
}

/// Scopes of one action each, as a challenge names them.
fn joined(scopes: &[String]) -> String {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for scope in scopes {
        let Some((what, action)) = scope.rsplit_once(':') else {
            continue;
        };
        match all.iter_mut().find(|(known, _)| known == what) {
            Some((_, actions)) => actions.push(action),
            None => all.push((what.to_owned(), vec![action])),
        }
    }
    let scopes: Vec<String> = all
        .iter()
        .map(|(what, actions)| format!("{what}:{}", actions.join(",")))
        .collect();
    scopes.join(" ")
}

/// What a request needs, as docker/distribution has it.
fn needed(method: &Method, path: &str, query: &str) -> Vec<String> {
    if path == "/v2/_catalog" {
        return vec!["registry:catalog:*".to_owned()];
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return Vec::new();
    };
    let families = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
    let Some(end) = families
        .iter()
        .filter_map(|family| rest.rfind(family))
        .min()
    else {
        return Vec::new();
    };
    let name = &rest[..end];
    let actions: &[&str] = match *method {
        Method::GET | Method::HEAD => &["pull"],
        Method::DELETE if !rest.contains("/uploads/") => &["delete"],
        _ => &["pull", "push"],
    };
    let mut needed: Vec<String> = actions
        .iter()
        .map(|action| format!("repository:{name}:{action}"))
        .collect();
    for from in parameters(query, "from") {
        needed.push(format!("repository:{from}:pull"));
    }
    needed
}

#[cfg(test)]
mod tests {
    use reqwest::RequestBuilder;

    use crate::support::{Auth, TestRegistry, client};

    async fn status(request: RequestBuilder) -> u16 {
        request.send().await.unwrap().status().as_u16()
    }

    async fn token(request: RequestBuilder) -> String {
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn basic_credentials_are_asked_for() {
        let registry = TestRegistry::start().await;
        let (user, password) = ("u".to_owned(), "p".to_owned());
        registry.require_auth(Auth::Basic { user, password });
        let base = format!("http://{}/v2/", registry.address());
        assert_eq!(status(client().get(&base)).await, 401);
        assert_eq!(
            status(client().get(&base).basic_auth("u", Some("x"))).await,
            401
        );
        assert_eq!(
            status(client().get(&base).basic_auth("u", Some("p"))).await,
            200
        );
    }

    #[tokio::test]
    async fn a_token_is_good_for_its_scopes_only() {
        let registry = TestRegistry::start().await;
        let (user, password) = ("u".to_owned(), "p".to_owned());
        registry.require_auth(Auth::Bearer { user, password });
        let address = registry.address();
        let upload = format!("http://{address}/v2/a/blobs/uploads/");

        let refused = client().post(&upload).send().await.unwrap();
        assert_eq!(
            refused.headers()["www-authenticate"],
            format!(
                "Bearer realm=\"http://{address}/token\",service=\"test\",\
                 scope=\"repository:a:pull,push\""
            )
        );
        let realm = format!("http://{address}/token?service=test&scope=repository:a:pull");
        assert_eq!(status(client().get(&realm)).await, 401);
        let reader = token(client().get(&realm).basic_auth("u", Some("p"))).await;
        let writer = format!("{realm},push");
        let writer = token(client().get(&writer).basic_auth("u", Some("p"))).await;

        let refused = client()
            .post(&upload)
            .bearer_auth(&reader)
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status().as_u16(), 401);
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
        assert_eq!(
            status(client().post(&upload).bearer_auth(&writer)).await,
            202
        );
        let mount = format!("{upload}?mount=sha256:{}&from=b", "a".repeat(64));
        assert_eq!(status(client().post(mount).bearer_auth(&writer)).await, 401);
    }

    #[tokio::test]
    async fn anybody_may_pull_and_no_more() {
        let registry = TestRegistry::start().await;
        registry.require_auth(Auth::Anonymous);
        let address = registry.address();
        let realm = format!("http://{address}/token?scope=repository%3Aa%3Apull%2Cpush");
        let token = token(client().get(realm)).await;
        let tags = client().get(format!("http://{address}/v2/a/tags/list"));
        assert_eq!(status(tags.bearer_auth(&token)).await, 404);
        let push = client().post(format!("http://{address}/v2/a/blobs/uploads/"));
        assert_eq!(status(push.bearer_auth(&token)).await, 401);
    }
}
