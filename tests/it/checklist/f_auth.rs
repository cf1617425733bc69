//! Signing in.

mod files;
mod helpers;
mod refusals;
mod tokens;

use regmirror::oci::{Manifest, TagOrDigest};
use regmirror::registry::{Credential, Registry};
use regmirror::store::{Source, StoreError};

use crate::support::images::{self, push_image, repo};
use crate::support::{Auth, Fault, TestRegistry};

/// The user that the registries know, with this password.
fn user(password: &str) -> Credential {
    Credential::Basic {
        user: "robot".to_owned(),
        password: password.into(),
    }
}

fn basic(password: &str) -> Auth {
    Auth::Basic {
        user: "robot".to_owned(),
        password: password.to_owned(),
    }
}

fn bearer(password: &str) -> Auth {
    Auth::Bearer {
        user: "robot".to_owned(),
        password: password.to_owned(),
    }
}

/// Puts an image with the tag `1` behind the server's back.
async fn stored(server: &TestRegistry, name: &str) -> Manifest {
    push_image(server.store(), &repo(name), Some("1"), &[b"layer"]).await
}

/// Whether the client finds the tag `1`: one HEAD.
async fn finds(client: &Registry, name: &str) -> Result<bool, StoreError> {
    let tag = TagOrDigest::Tag(images::tag("1"));
    let found = client.resolve(&repo(name), &tag).await?;
    Ok(found.is_some())
}

/// A 401 with this challenge.
fn challenge(text: &str) -> Fault {
    Fault::reply(401, &[("www-authenticate", text)], "")
}

/// A 401 that names this token service on `server`.
fn service(server: &TestRegistry, name: &str) -> Fault {
    let address = server.address();
    challenge(&format!(
        "Bearer realm=\"http://{address}/token\",service=\"{name}\""
    ))
}

/// What a token server gives.
fn token(body: &str) -> Fault {
    Fault::reply(200, &[("content-type", "application/json")], body)
}

/// The scopes of all requests for tokens, in that order.
fn scopes(server: &TestRegistry) -> Vec<String> {
    let seen = server.seen();
    let tokens = seen.iter().filter(|seen| seen.path.starts_with("/token"));
    tokens
        .map(|seen| {
            let pairs = seen.path.split(['?', '&']);
            let scopes: Vec<_> = pairs
                .filter_map(|pair| pair.strip_prefix("scope="))
                .map(|scope| scope.replace("%3A", ":").replace("%2C", ","))
                .collect();
            scopes.join(" ")
        })
        .collect()
}
