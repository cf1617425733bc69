//! Locations to stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::config::{Config, Login};
use crate::http::{HostOptions, HttpClient, HttpError, RetryPolicy};
use crate::layout::LayoutStore;
use crate::oci::{Host, Location, Reference};
use crate::registry::{
    Credential, DockerConfig, DockerConfigError, HelperNameError, Helpers, Keychain, Registry,
    default_address,
};
use crate::store::{ErrorKind, Sink, Source, StoreError};
use crate::sync::{Job, Open, Stores};

/// The stores of a configuration, each opened once: what one job learns of a
/// registry (tokens, limits, what it cannot do) serves all.
#[derive(Debug)]
pub struct OpenStores {
    registries: std::collections::BTreeMap<Host, crate::config::Registry>,
    /// `None` when it is not to be asked.
    docker: Option<Arc<DockerConfig>>,
    helpers: Arc<Helpers>,
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
        let helpers = Arc::<Helpers>::default();
        let docker = match config.docker_config {
            true => Some(Arc::new(DockerConfig::load(Arc::clone(&helpers))?)),
            false => None,
        };
        let listed = config.registries.iter();
        let listed = listed.map(|(host, settings)| options(host, settings));
        let user_agent = config.user_agent.as_deref().unwrap_or(Config::USER_AGENT);
        Ok(Self {
            registries: config.registries.clone(),
            docker,
            helpers,
            client: HttpClient::with_hosts(user_agent, listed)?,
            retry,
            open: Mutex::default(),
        })
    }

    /// The stores that a job works on.
    ///
    /// # Errors
    ///
    /// When one of them cannot be opened, such as for want of a credential.
    pub fn of(self: &Arc<Self>, job: &Job) -> Result<Stores, StoreError> {
        let source: Arc<dyn Source> = self.open(job.scope.source())?;
        let target = self.open(job.scope.target())?;
        let referrers = job.policy.referrers.as_ref();
        let place = |reference: &Option<Reference>| {
            let location = reference.as_ref().map(|reference| &reference.location);
            location.map(|location| self.open(location)).transpose()
        };
        let referrer_source = referrers.map_or(Ok(None), |wanted| place(&wanted.source))?;
        let referrer_target = referrers.map_or(Ok(None), |wanted| place(&wanted.target))?;
        Ok(Stores {
            referrer_source: match referrer_source {
                Some(store) => store,
                None => Arc::clone(&source),
            },
            referrer_target: referrer_target.unwrap_or_else(|| Arc::clone(&target)),
            others: Arc::clone(self) as Arc<dyn Open>,
            source,
            target,
        })
    }

    fn registry(&self, host: &Host) -> Result<Registry, StoreError> {
        let settings = self.registries.get(host).cloned().unwrap_or_default();
        let options = options(host, &settings);
        let keychain = match settings.login {
            Some(login) => self.keychain(host, login)?,
            None => match &self.docker {
                Some(docker) => Keychain::Docker(Arc::clone(docker)),
                None => Credential::Anonymous.into(),
            },
        };
        Registry::new(
            host.clone(),
            &options,
            keychain,
            &self.client,
            self.retry.clone(),
        )
    }

    fn keychain(&self, host: &Host, login: Login) -> Result<Keychain, StoreError> {
        Ok(match login {
            Login::Password { user, password } => Credential::Basic { user, password }.into(),
            Login::Token(token) => Credential::IdentityToken(token).into(),
            Login::Helper { name, server, kept } => Keychain::Helper {
                helpers: Arc::clone(&self.helpers),
                name: name.parse().map_err(|error: HelperNameError| {
                    StoreError::new(ErrorKind::Denied, "find a credential for", host.as_str())
                        .because(error)
                })?,
                server,
                kept: kept.unwrap_or(Helpers::KEPT),
            },
        })
    }
}

impl Open for OpenStores {
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
}

/// How `host` is reached.
fn options(host: &Host, settings: &crate::config::Registry) -> HostOptions {
    let address = settings.hostname.clone();
    HostOptions {
        address: address.unwrap_or_else(|| default_address(host)),
        tls: settings.tls,
        ca: settings.ca.clone(),
        identity: settings.identity.clone(),
        concurrent: settings.concurrent.unwrap_or(HostOptions::CONCURRENT),
        chunks: settings.chunks,
        idle: settings.idle.unwrap_or(HostOptions::IDLE),
    }
}
