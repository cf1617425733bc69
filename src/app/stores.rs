//! Locations to stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::config::{Config, Login};
use crate::http::{HostOptions, HttpClient, HttpError, RetryPolicy};
use crate::layout::LayoutStore;
use crate::oci::{Host, Location};
use crate::registry::{Credential, DockerConfig, DockerConfigError, Registry, default_address};
use crate::store::{ErrorKind, Sink, StoreError};
use crate::sync::{Backup, Job, Stores};

/// The stores of a configuration, each opened once: what one job learns of a
/// registry (tokens, limits, what it cannot do) serves all.
#[derive(Debug)]
pub struct OpenStores {
    registries: std::collections::BTreeMap<Host, crate::config::Registry>,
    docker: Option<DockerConfig>,
    client: HttpClient,
    retry: RetryPolicy,
    open: Mutex<HashMap<Location, Arc<dyn Sink>>>,
}

/// Stores cannot be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Docker's configuration is broken.
    #[error(transparent)]
    Docker(#[from] DockerConfigError),
    /// No HTTP client can be set up.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl OpenStores {
    /// Prepares to open what `config` names. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// When docker's configuration cannot be read, or no client set up.
    pub fn new(config: &Config, retry: RetryPolicy) -> Result<Self, OpenError> {
        let usual = concat!("regmirror/", env!("CARGO_PKG_VERSION"));
        let docker = match config.docker_config {
            true => Some(DockerConfig::load()?),
            false => None,
        };
        Ok(Self {
            registries: config.registries.clone(),
            docker,
            client: HttpClient::new(config.user_agent.as_deref().unwrap_or(usual))?,
            retry,
            open: Mutex::default(),
        })
    }

    /// The stores that a job works on.
    ///
    /// # Errors
    ///
    /// When one of them cannot be opened, such as for want of a credential.
    pub fn of(&self, job: &Job) -> Result<Stores, StoreError> {
        let target = self.open(job.scope.target())?;
        let backup = match &job.policy.backup {
            Some(Backup::Reference(reference)) => self.open(&reference.location)?,
            Some(Backup::Tag(_)) | None => Arc::clone(&target),
        };
        Ok(Stores {
            source: self.open(job.scope.source())?,
            target,
            backup,
        })
    }

    fn open(&self, location: &Location) -> Result<Arc<dyn Sink>, StoreError> {
        let mut open = self
            .open
            .lock()
            .expect("nothing panics while it holds the lock");
        if let Some(store) = open.get(location) {
            return Ok(Arc::clone(store));
        }
        let store: Arc<dyn Sink> = match location {
            Location::Layout(path) => Arc::new(LayoutStore::new(path.clone())),
            Location::Registry(host) => Arc::new(self.registry(host)?),
        };
        open.insert(location.clone(), Arc::clone(&store));
        Ok(store)
    }

    fn registry(&self, host: &Host) -> Result<Registry, StoreError> {
        let settings = self.registries.get(host).cloned().unwrap_or_default();
        let address = settings.hostname.unwrap_or_else(|| default_address(host));
        let mut options = HostOptions::new(address).with_tls(settings.tls);
        options.concurrent = settings.concurrent.unwrap_or(options.concurrent);
        options.chunks = settings.chunks;
        let credential = match (settings.login, &self.docker) {
            (Some(Login::Password { user, password }), _) => Credential::Basic { user, password },
            (Some(Login::Token(token)), _) => Credential::IdentityToken(token),
            (None, Some(docker)) => docker.credential(host).map_err(|error| {
                StoreError::new(ErrorKind::Denied, "find a credential for", host.as_str())
                    .because(error)
            })?,
            (None, None) => Credential::Anonymous,
        };
        Registry::new(
            host.clone(),
            &options,
            credential,
            &self.client,
            self.retry.clone(),
        )
    }
}
