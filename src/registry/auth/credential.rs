//! What proves who we are.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::http::Secret;

/// What proves to a registry who we are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Credential {
    /// Nothing: what everybody may read.
    #[default]
    Anonymous,
    /// A user and a password, which may be an access token.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth refresh token, exchanged for access tokens at the realm.
    IdentityToken(Secret),
    /// A ready bearer token for the registry itself.
    RegistryToken(Secret),
}

impl Credential {
    /// What docker's files and helpers mean by a user and a secret: the user
    /// `<token>` is none, and its secret an identity token.
    pub(super) fn of_user(user: String, secret: Secret) -> Self {
        match user.as_str() {
            "<token>" => Self::IdentityToken(secret),
            _ => Self::Basic {
                user,
                password: secret,
            },
        }
    }
}

/// Who this is, for messages.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("nobody (there are no credentials for it)"),
            Self::Basic { user, .. } => write!(f, "user {user:?}"),
            Self::IdentityToken(_) => f.write_str("the identity token"),
            Self::RegistryToken(_) => f.write_str("the registry token"),
        }
    }
}

/// The value of an `Authorization` header, which debug output does not show.
pub(super) fn basic(user: &str, password: &Secret) -> HeaderValue {
    let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
    let mut value =
        HeaderValue::try_from(format!("Basic {pair}")).expect("base64 may stand in a header");
    value.set_sensitive(true);
    value
}

/// As [`basic`]; `None` when the token cannot stand in a header.
pub(super) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
