//! Who may do what: challenges, credentials, tokens.

mod authorizer;
mod challenge;
mod credential;
mod docker_config;
mod scopes;
mod token;

pub(super) use authorizer::Authorizer;
pub(super) use challenge::Challenge;
pub use credential::Credential;
pub use docker_config::{DockerConfig, DockerConfigError};
pub(super) use scopes::Scopes;
