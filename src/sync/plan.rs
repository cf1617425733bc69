//! Planning: what a job would do, found by reading only.

use std::collections::HashSet;

use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::sleep;

use super::admission::pause;
use super::job::{Job, Policy, Scope, target_repository};
use super::step::{Decision, Exclusion, Failure, Step, Why, image_name, repository_name};
use crate::oci::{Digest, Repository, Tag, TagOrDigest, is_fallback_tag};
use crate::select::{Filter, Verdict};
use crate::store::{ErrorKind, Listing, Source, StoreError};

/// How many tags are looked up at once. The stores bound their requests
/// themselves; this only keeps them busy.
const LOOKUPS: usize = 16;

/// How often one tag is looked up before it counts as failed.
const LOOKS: u32 = 3;

/// What planning yields: a step, or what could not be planned.
pub type Planned = Result<Step, Failure>;

/// The steps of `job`, as they are found.
///
/// Reads only, and yields the first steps before the listing is complete. A
/// tag that cannot be looked up is a [`Failure`] and does not end the stream.
pub fn plan<'a>(
    job: &'a Job,
    source: &'a dyn Source,
    target: &'a dyn Source,
) -> BoxStream<'a, Planned> {
    let planner = Planner {
        policy: &job.policy,
        source,
        target,
    };
    match &job.scope {
        Scope::Image {
            source: from,
            target: to,
        } => {
            let wanted = Wanted {
                source: from.repository.clone(),
                from: from.tag_or_digest(),
                target: to.repository.clone(),
                to: to.tag_to_write(),
            };
            stream::once(async move { planner.decide(wanted).await }).boxed()
        }
        Scope::Repository {
            source: from,
            target: to,
            tags,
        } => planner.repository(from.repository.clone(), to.repository.clone(), tags),
        Scope::Registry {
            prefix,
            repositories,
            tags,
            ..
        } => planner.registry(prefix, repositories, tags),
    }
}

#[derive(Debug, Clone, Copy)]
struct Planner<'a> {
    policy: &'a Policy,
    source: &'a dyn Source,
    target: &'a dyn Source,
}

/// A tag to look up.
struct Wanted {
    source: Repository,
    from: TagOrDigest,
    target: Repository,
    to: Option<Tag>,
}

impl<'a> Planner<'a> {
    fn registry(
        self,
        prefix: &'a Repository,
        repositories: &'a Filter,
        tags: &'a Filter,
    ) -> BoxStream<'a, Planned> {
        let subject = self.source.name().to_owned();
        names(self.source.repositories(), subject)
            .flat_map(move |found| {
                let found = match found {
                    Ok(found) => found,
                    Err(failure) => return stream::iter([Err(failure)]).boxed(),
                };
                if repositories.judge(found.as_str()) != Verdict::Taken {
                    return stream::empty().boxed();
                }
                match target_repository(prefix, &found) {
                    Ok(target) => self.repository(found, target, tags),
                    Err(error) => {
                        let subject = repository_name(self.source.name(), &found);
                        let error = StoreError::new(ErrorKind::Refused, "name", "its target")
                            .because(error);
                        stream::iter([Err(Failure { subject, error })]).boxed()
                    }
                }
            })
            .boxed()
    }

    fn repository(
        self,
        source: Repository,
        target: Repository,
        filter: &'a Filter,
    ) -> BoxStream<'a, Planned> {
        let subject = repository_name(self.source.name(), &source);
        names(self.source.tags(&source), subject)
            .map(move |tag| {
                let wanted = tag.map(|tag| Wanted {
                    source: source.clone(),
                    from: tag.clone().into(),
                    target: target.clone(),
                    to: Some(tag),
                });
                async move {
                    let wanted = wanted?;
                    match self.excluded(&wanted, filter) {
                        Some(why) => Ok(wanted.step(Decision::Excluded(why))),
                        None => self.decide(wanted).await,
                    }
                }
            })
            .buffered(LOOKUPS)
            .boxed()
    }

    /// The rule that leaves a listed tag out without a look at the target.
    fn excluded(&self, wanted: &Wanted, filter: &Filter) -> Option<Exclusion> {
        let tag = wanted.to.as_ref()?;
        match filter.judge(tag.as_str()) {
            Verdict::NotAllowed => Some(Exclusion::NotAllowed),
            Verdict::Denied(pattern) => Some(Exclusion::Denied(pattern)),
            Verdict::Taken if self.policy.referrers && is_fallback_tag(tag) => {
                Some(Exclusion::ReferrersTag)
            }
            Verdict::Taken => None,
        }
    }

    /// Looks at both ends, and again when one of them only wants to be left
    /// alone for a while.
    async fn decide(self, wanted: Wanted) -> Planned {
        let mut look = 1;
        loop {
            let error = match self.decision(&wanted).await {
                Ok(decision) => return Ok(wanted.step(decision)),
                Err(error) => error,
            };
            let (source, target) = (self.source.allowance(), self.target.allowance());
            match pause(&error, source, target, self.policy.rate_limit) {
                Some(wait) if look < LOOKS => {
                    look += 1;
                    sleep(wait).await;
                }
                _ => {
                    return Err(Failure {
                        subject: image_name(self.source.name(), &wanted.source, &wanted.from),
                        error,
                    });
                }
            }
        }
    }

    async fn decision(&self, wanted: &Wanted) -> Result<Decision, StoreError> {
        let (digest, current) = if self.policy.missing_only {
            // The target first: a tag that is there costs the source nothing.
            let current = self.at_target(wanted).await?;
            if current.is_some() {
                return Ok(Decision::Excluded(Exclusion::Present));
            }
            (self.at_source(wanted).await?, None)
        } else {
            let both = futures::future::join(self.at_source(wanted), self.at_target(wanted));
            let (digest, current) = both.await;
            (digest?, current?)
        };
        let why = match current {
            None => Why::Missing,
            Some(current) if current != digest => Why::Changed { from: current },
            Some(_) => match self.missing_referrers(wanted, &digest).await? {
                0 => return Ok(Decision::Unchanged { digest }),
                missing => Why::Referrers { missing },
            },
        };
        Ok(Decision::Copy { digest, why })
    }

    async fn at_source(&self, wanted: &Wanted) -> Result<Digest, StoreError> {
        if let TagOrDigest::Digest(digest) = &wanted.from {
            return Ok(digest.clone());
        }
        let found = self.source.find(&wanted.source, &wanted.from).await?;
        found.ok_or_else(|| {
            let subject = image_name(self.source.name(), &wanted.source, &wanted.from);
            StoreError::new(ErrorKind::NotFound, "find", subject)
        })
    }

    fn at_target<'s>(
        &'s self,
        wanted: &'s Wanted,
    ) -> BoxFuture<'s, Result<Option<Digest>, StoreError>> {
        let reference = match &wanted.to {
            Some(tag) => tag.clone().into(),
            None => wanted.from.clone(),
        };
        Box::pin(async move { self.target.resolve(&wanted.target, &reference).await })
    }

    /// How many of an image's referrers the target lacks.
    async fn missing_referrers(
        &self,
        wanted: &Wanted,
        digest: &Digest,
    ) -> Result<usize, StoreError> {
        if !self.policy.referrers {
            return Ok(0);
        }
        let (source, target) = futures::future::join(
            self.source.referrers(&wanted.source, digest),
            self.target.referrers(&wanted.target, digest),
        )
        .await;
        let present: HashSet<Digest> = target?.into_iter().map(|found| found.digest).collect();
        let missing = source?.into_iter();
        Ok(missing
            .filter(|found| !present.contains(&found.digest))
            .count())
    }
}

impl Wanted {
    fn step(self, decision: Decision) -> Step {
        Step {
            source: self.source,
            from: self.from,
            target: self.target,
            to: self.to,
            decision,
        }
    }
}

/// The names of a listing one by one. Names that are none are reported, and
/// the rest goes on.
fn names<'a, T: Send + 'a>(
    pages: Listing<'a, T>,
    subject: String,
) -> impl Stream<Item = Result<T, Failure>> + Send + 'a {
    pages.flat_map(move |page| {
        let found = match page {
            Ok(page) => {
                if let Some(example) = page.refused.first() {
                    tracing::warn!(
                        listing = %subject,
                        count = page.refused.len(),
                        example = ?example,
                        "names that are not valid were left out"
                    );
                }
                page.names.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(Failure {
                subject: subject.clone(),
                error,
            })],
        };
        stream::iter(found)
    })
}
