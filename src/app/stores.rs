//! Locations to stores.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::metered::Meters;
use crate::config::{Config, Login};
use crate::http::{Chunks, HostOptions, HttpClient, HttpError, RetryPolicy};
use crate::layout::LayoutStore;
use crate::oci::{Host, Location};
use crate::registry::{
    CacheLimits, Credential, DockerConfig, DockerConfigError, HelperNameError, Helpers, Keychain,
    Mirrored, Options, Registry, default_address,
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
    cache: CacheLimits,
    blob_limit: u64,
    meters: Meters,
    /// Those that are open. Clones share all that was learnt.
    open: Mutex<HashMap<Host, Registry>>,
    layouts: Mutex<HashMap<PathBuf, Arc<LayoutStore>>>,
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
        let listed = listed.map(|(host, settings)| options(host, settings, config.blob_limit));
        let user_agent = config.user_agent.as_deref().unwrap_or(Config::USER_AGENT);
        Ok(Self {
            registries: config.registries.clone(),
            docker,
            helpers,
            client: HttpClient::with_hosts(user_agent, listed)?,
            retry,
            cache: config
                .cache
                .map_or_else(CacheLimits::default, |(count, time)| CacheLimits {
                    count,
                    time,
                }),
            blob_limit: config.blob_limit,
            meters: Meters::default(),
            open: Mutex::default(),
            layouts: Mutex::default(),
        })
    }

    /// The same, with their requests counted.
    pub(super) fn metered(self, meters: Meters) -> Self {
        Self { meters, ..self }
    }

    /// The registries that are open.
    pub(super) fn registries(&self) -> Vec<Registry> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }

    /// These stores, with those of `before` that are reached in the same way: what
    /// was learnt of them (tokens, limits, what they cannot do) stays known.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let same = self.docker.is_some() == before.docker.is_some()
            && self.cache == before.cache
            && self.blob_limit == before.blob_limit;
        if same {
            let known = before.open.lock().unwrap_or_else(PoisonError::into_inner);
            let known = known
                .iter()
                .filter(|(host, _)| self.registries.get(*host) == before.registries.get(*host))
                .map(|(host, registry)| (host.clone(), registry.clone()));
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.extend(known);
        }
        self
    }

    /// The stores that a job works on.
    ///
    /// # Errors
    ///
    /// When one of them cannot be opened, such as for want of a credential.
    pub fn of(self: &Arc<Self>, job: &Job) -> Result<Stores, StoreError> {
        let source = self.reader(job.scope.source())?;
        let target = self.open(job.scope.target())?;
        let referrers = job.policy.referrers.as_ref();
        let referrer_source = referrers.and_then(|wanted| wanted.source.as_ref());
        let referrer_source = referrer_source.map(|place| self.reader(&place.location));
        let referrer_target = referrers.and_then(|wanted| wanted.target.as_ref());
        let referrer_target = referrer_target.map(|place| self.open(&place.location));
        Ok(Stores {
            referrer_source: referrer_source.unwrap_or_else(|| Ok(Arc::clone(&source)))?,
            referrer_target: referrer_target.unwrap_or_else(|| Ok(Arc::clone(&target)))?,
            others: Arc::clone(self) as Arc<dyn Open>,
            source,
            target,
        })
    }

    /// What registries wanted people to be told so far, by their names.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let told = open.iter().flat_map(|(host, registry)| {
            let texts = registry.warnings().into_iter();
            texts.map(|text| (host.to_string(), text))
        });
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    }

    /// The store at `location` to read from, through its mirrors if it has any.
    fn reader(&self, location: &Location) -> Result<Arc<dyn Source>, StoreError> {
        if let Location::Registry(host) = location
            && let Some(known) = self.registries.get(host)
            && !known.readers.is_empty()
        {
            let readers = known.readers.iter().map(|host| self.registry(host));
            let readers = readers.collect::<Result<_, _>>()?;
            return Ok(Arc::new(Mirrored::new(self.registry(host)?, readers)));
        }
        let store: Arc<dyn Source> = self.open(location)?;
        Ok(store)
    }

    pub(super) fn registry(&self, host: &Host) -> Result<Registry, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = open.get(host) {
            return Ok(registry.clone());
        }
        let registry = self.connect(host)?;
        open.insert(host.clone(), registry.clone());
        Ok(registry)
    }

    fn connect(&self, host: &Host) -> Result<Registry, StoreError> {
        let settings = self.registries.get(host).cloned().unwrap_or_default();
        let options = options(host, &settings, self.blob_limit);
        let keychain = match settings.login {
            Some(login) => self.keychain(host, login)?,
            None => match &self.docker {
                Some(docker) => Keychain::Docker(Arc::clone(docker)),
                None => Credential::Anonymous.into(),
            },
        };
        let special = Options {
            prefix: settings.path_prefix,
            without_head: settings.without_head,
            one_repository_a_token: settings.repo_auth,
            cache: self.cache,
        };
        Registry::special(
            host.clone(),
            &options,
            special,
            keychain,
            &self.client,
            self.retry.clone(),
            self.meters.of(host.as_str()),
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
        Ok(match location {
            Location::Registry(host) => Arc::new(self.registry(host)?),
            Location::Layout(path) => {
                let mut open = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
                let store = open.entry(path.clone());
                Arc::clone(store.or_insert_with(|| Arc::new(LayoutStore::new(path.clone())))) as _
            }
        })
    }
}

/// How `host` is reached.
fn options(host: &Host, settings: &crate::config::Registry, blob_limit: u64) -> HostOptions {
    let address = settings.hostname.clone();
    HostOptions {
        address: address.unwrap_or_else(|| default_address(host)),
        tls: settings.tls,
        ca: settings.ca.clone(),
        identity: settings.identity.clone(),
        concurrent: settings.concurrent.unwrap_or(HostOptions::CONCURRENT),
        spacing: settings.spacing,
        chunks: Chunks {
            largest_least: blob_limit,
            ..settings.chunks
        },
        idle: settings.idle.unwrap_or(HostOptions::IDLE),
    }
}
