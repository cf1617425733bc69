//! What may be done at the registries of a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;

use super::stores::OpenStores;
use crate::config::Config;
use crate::oci::{Host, Location, Reference, Repository, TagOrDigest};
use crate::registry::Registry;
use crate::report::{Action, RegistryAccess, RepositoryAccess};
use crate::store::{ErrorKind, Source as _, StoreError};
use crate::sync::{Job, Scope, image_name, repository_name};

/// How many registries, and how many repositories of each, are asked at once.
const AT_ONCE: usize = 4;

/// What jobs need of a registry: of its list or of a repository, and where it is
/// to be read, perhaps a tag or a digest that is there.
type Needs = BTreeMap<(Option<Repository>, Action), Option<TagOrDigest>>;

/// One of them, and where.
type Need<'a> = (
    &'a Location,
    Option<&'a Repository>,
    Action,
    Option<TagOrDigest>,
);

/// Finds out what the jobs of `config` may do, at each registry that it names, by
/// its name. Nothing is written: an upload is begun and given up. Layouts are not
/// looked at.
pub async fn access(config: &Config, stores: &Arc<OpenStores>) -> Vec<RegistryAccess> {
    let mut needs: BTreeMap<Host, Needs> = BTreeMap::new();
    for (host, registry) in &config.registries {
        needs.entry(host.clone()).or_default();
        for reader in &registry.readers {
            needs.entry(reader.clone()).or_default();
        }
    }
    for job in &config.jobs {
        for (location, repository, action, image) in needs_of(job) {
            if let Location::Registry(host) = location {
                let needs = needs.entry(host.clone()).or_default();
                let known = needs.entry((repository.cloned(), action)).or_default();
                *known = known.take().or(image);
            }
        }
        // Which repositories it writes to, only a listing says.
        if let (Scope::Registry { .. }, Location::Registry(host)) = (&job.scope, job.scope.target())
        {
            needs.entry(host.clone()).or_default();
        }
    }
    stream::iter(needs)
        .map(|(host, needs)| async move {
            match stores.registry(&host) {
                Ok(registry) => look(&host, &registry, needs).await,
                Err(error) => RegistryAccess {
                    error: Some(error.one_line()),
                    ..unknown(&host)
                },
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

fn needs_of(job: &Job) -> Vec<Need<'_>> {
    fn of<'a>(place: &'a Reference, action: Action, image: Option<TagOrDigest>) -> Need<'a> {
        (&place.location, Some(&place.repository), action, image)
    }
    let mut needs = match &job.scope {
        Scope::Image { source, target } => vec![
            of(source, Action::Pull, Some(source.tag_or_digest())),
            of(target, Action::Push, None),
        ],
        Scope::Repository { source, target, .. } => vec![
            of(source, Action::Pull, None),
            of(target, Action::Push, None),
        ],
        Scope::Registry { source, .. } => vec![(source, None, Action::List, None)],
    };
    if let Some(referrers) = &job.policy.referrers {
        let source = referrers.source.as_ref();
        needs.extend(source.map(|place| of(place, Action::Pull, None)));
        let target = referrers.target.as_ref();
        needs.extend(target.map(|place| of(place, Action::Push, None)));
    }
    needs
}

fn unknown(host: &Host) -> RegistryAccess {
    RegistryAccess {
        registry: host.to_string(),
        reachable: false,
        error: None,
        credential: None,
        credential_from: None,
        pulls_left: None,
        pulls_allowed: None,
        repositories: Vec::new(),
    }
}

async fn look(host: &Host, registry: &Registry, needs: Needs) -> RegistryAccess {
    let mut found = unknown(host);
    // Where a file has credentials for some repositories only, any of them.
    let repository = needs.keys().find_map(|(repository, _)| repository.as_ref());
    match registry.identity(repository).await {
        Ok((credential, origin)) => {
            found.credential = Some(credential);
            found.credential_from = origin;
        }
        Err(error) => found.error = Some(error.one_line()),
    }
    if let Err(error) = registry.ping().await {
        let answered = matches!(
            error.kind(),
            ErrorKind::Denied | ErrorKind::RateLimited(_) | ErrorKind::Refused
        );
        found.error.get_or_insert(error.one_line());
        if !answered {
            return found;
        }
    }
    found.reachable = true;
    found.repositories = stream::iter(needs)
        .map(|((repository, action), image)| try_out(host, registry, repository, action, image))
        .buffered(AT_ONCE)
        .collect()
        .await;
    if let Some(pulls) = registry.allowance().pulls {
        found.pulls_left = Some(pulls.remaining);
        found.pulls_allowed = pulls.limit;
    }
    found
}

async fn try_out(
    host: &Host,
    registry: &Registry,
    repository: Option<Repository>,
    action: Action,
    image: Option<TagOrDigest>,
) -> RepositoryAccess {
    let tried = match &repository {
        None => registry.repositories().next().await.transpose().map(drop),
        Some(repository) if action == Action::Push => registry.may_push(repository).await,
        Some(repository) => pull(registry, repository, image).await,
    };
    RepositoryAccess {
        repository: repository.map_or_else(
            || host.to_string(),
            |repository| repository_name(host.as_str(), &repository),
        ),
        action,
        allowed: tried.is_ok(),
        error: tried.err().map(|error| error.one_line()),
    }
}

/// Looks at an image, or the first one that is listed. That is no pull, and its
/// answer says how many are left.
async fn pull(
    registry: &Registry,
    repository: &Repository,
    image: Option<TagOrDigest>,
) -> Result<(), StoreError> {
    let reference = match image {
        Some(image) => image,
        None => {
            let first = registry.tags(repository).next().await.transpose()?;
            match first.and_then(|page| page.names.into_iter().next()) {
                Some(tag) => tag.into(),
                None => return Ok(()),
            }
        }
    };
    match registry.find(repository, &reference).await? {
        Some(_) => Ok(()),
        None => {
            let subject = image_name(registry.name(), repository, &reference);
            Err(StoreError::new(ErrorKind::NotFound, "find", subject))
        }
    }
}
