//! Who may do what: challenges, credentials, tokens.
//!
//! A [`Keychain`] is where a credential comes from; the `Authorizer` of a
//! registry asks it, and keeps the tokens that come of it; a `SignIn` is one
//! request's way in.

mod authorizer;
mod challenge;
mod credential;
mod docker_config;
mod docker_file;
mod helper;
mod keychain;
mod scopes;
mod sign_in;
mod token;

pub(super) use authorizer::Authorizer;
pub(super) use challenge::Challenge;
pub use credential::Credential;
pub use docker_config::{DockerConfig, DockerConfigError};
pub use helper::{HelperError, HelperName, HelperNameError, Helpers};
pub use keychain::Keychain;
pub(super) use scopes::Scopes;
