//! Where a registry's credential comes from. It is asked for whenever it is
//! needed: files change, and what helpers answer expires.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::helper::server_of;
use super::{Credential, DockerConfig, HelperName, Helpers};
use crate::oci::{Host, Repository};
use crate::registry::failure::Failure;
use crate::store::ErrorKind;

/// Where a registry's credential comes from.
#[derive(Debug, Clone)]
pub enum Keychain {
    /// It is always this one.
    Fixed(Credential),
    /// Docker's and podman's files.
    Docker(Arc<DockerConfig>),
    /// A helper program.
    Helper {
        /// Runs it.
        helpers: Arc<Helpers>,
        /// Which one.
        name: HelperName,
        /// What to ask it for, instead of the registry.
        server: Option<String>,
        /// How long its answer is kept.
        kept: Duration,
    },
}

impl From<Credential> for Keychain {
    fn from(credential: Credential) -> Self {
        Self::Fixed(credential)
    }
}

impl Keychain {
    /// The credential for a repository of `host`, and where it comes from, if
    /// there is one. What was learnt up to `after` does not count.
    pub(super) async fn credential(
        &self,
        host: &Host,
        repo: Option<&Repository>,
        after: Option<Instant>,
    ) -> Result<(Credential, Option<String>), Failure> {
        match self {
            Self::Fixed(Credential::Anonymous) => Ok((Credential::Anonymous, None)),
            Self::Fixed(credential) => {
                Ok((credential.clone(), Some("the configuration".to_owned())))
            }
            Self::Docker(config) => {
                let found = config.credential(host, repo, after).await;
                found.map_err(|error| Failure::new(ErrorKind::Denied, error))
            }
            Self::Helper {
                helpers,
                name,
                server,
                kept,
            } => {
                let server = server.as_deref().unwrap_or_else(|| server_of(host));
                let found = helpers.ask(name, server, *kept, after).await;
                let found = found.map_err(|error| Failure::new(ErrorKind::Denied, error))?;
                let origin = found.is_some().then(|| name.to_string());
                Ok((found.unwrap_or_default(), origin))
            }
        }
    }
}
