//! Planning: what a job would do, found by reading only.

mod incomplete;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::time::sleep;

use super::admission::{admitted, pause};
use super::created::created;
use super::digest_tags::DigestTags;
use super::job::{Job, Policy, Readers, Scope, target_repository};
use super::platforms::{Choice, Manifests, choose};
use super::step::{Decision, Exclusion, Failure, Step, Why, image_name, repository_name};
use super::transfer::End;
use super::watch::Watch;
use crate::oci::{Digest, Repository, Tag, TagOrDigest, is_about_image, is_fallback_tag};
use crate::select::{Filter, Latest, Reason, Selection, Sort, newest};
use crate::store::{ErrorKind, Listing, StoreError};

/// How many tags are looked up at once. The stores bound their requests
/// themselves; this only keeps them busy.
const LOOKUPS: usize = 16;

/// How often one tag is looked up before it counts as failed.
const LOOKS: u32 = 3;

/// What planning yields.
#[derive(Debug)]
pub enum Planned {
    /// A tag, and what should happen to it.
    Step(Step),
    /// A repository that a rule leaves out, as people write it.
    LeftOut {
        /// The repository.
        repository: String,
        /// The rule.
        exclusion: Exclusion,
    },
    /// What could not be planned.
    Failed(Failure),
}

impl From<Result<Step, Failure>> for Planned {
    fn from(found: Result<Step, Failure>) -> Self {
        match found {
            Ok(step) => Self::Step(step),
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// A tag that was looked at.
type Looked = Result<Step, Failure>;

/// What planning has learnt of a source, for one run of a job and those who copy
/// what was planned.
#[derive(Debug)]
pub struct Memory {
    pub(super) manifests: Arc<Manifests>,
    pub(super) digest_tags: DigestTags,
    listed: AtomicU64,
    /// Is told of those who wait for a store.
    pub(super) watch: Arc<dyn Watch>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with(Arc::default(), Arc::new(Vec::new()))
    }
}

impl Memory {
    /// A memory that begins with the manifests of earlier runs. `watch` is told of
    /// whoever waits for a store.
    pub fn with(manifests: Arc<Manifests>, watch: Arc<dyn Watch>) -> Self {
        Self {
            manifests,
            digest_tags: DigestTags::default(),
            listed: AtomicU64::new(0),
            watch,
        }
    }

    /// How many tags were listed since this was asked last.
    pub(super) fn newly_listed(&self) -> u64 {
        self.listed.swap(0, Ordering::Relaxed)
    }
}

/// The steps of `job`, as they are found.
///
/// Reads only, and yields the first steps before the listing is complete, unless
/// the newest tags are wanted. A tag that cannot be looked up is a [`Failure`]
/// and does not end the stream.
pub fn plan<'a>(job: &'a Job, stores: Readers<'a>, memory: &'a Memory) -> BoxStream<'a, Planned> {
    let planner = Planner {
        job,
        policy: &job.policy,
        stores,
        memory,
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
            memory.listed.fetch_add(1, Ordering::Relaxed);
            stream::once(async move { planner.decide(wanted).await.into() }).boxed()
        }
        Scope::Repository {
            source: from,
            target: to,
            tags,
        } => planner
            .repository(from.repository.clone(), to.repository.clone(), tags)
            .map(Planned::from)
            .boxed(),
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
    job: &'a Job,
    policy: &'a Policy,
    stores: Readers<'a>,
    memory: &'a Memory,
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
        tags: &'a Selection,
    ) -> BoxStream<'a, Planned> {
        let subject = self.stores.source.name().to_owned();
        names(self.stores.source.repositories(), subject)
            .flat_map(move |found| {
                let found = match found {
                    Ok(found) => found,
                    Err(failure) => return stream::iter([Planned::Failed(failure)]).boxed(),
                };
                let repository = || repository_name(self.stores.source.name(), &found);
                if let Some(reason) = repositories.judge(found.as_str()).reason() {
                    let left_out = Planned::LeftOut {
                        repository: repository(),
                        exclusion: Exclusion::NotSelected(reason),
                    };
                    return stream::iter([left_out]).boxed();
                }
                match target_repository(prefix, &found) {
                    Ok(target) => self
                        .repository(found, target, tags)
                        .map(Planned::from)
                        .boxed(),
                    Err(error) => {
                        let subject = repository();
                        let error = StoreError::new(ErrorKind::Refused, "name", "its target")
                            .because(error);
                        stream::iter([Planned::Failed(Failure { subject, error })]).boxed()
                    }
                }
            })
            .boxed()
    }

    fn repository(
        self,
        source: Repository,
        target: Repository,
        selection: &'a Selection,
    ) -> BoxStream<'a, Looked> {
        let subject = repository_name(self.stores.source.name(), &source);
        let memory = self.memory;
        let pages = self.stores.source.tags(&source).inspect_ok(move |page| {
            let count = page.names.len() as u64;
            memory.listed.fetch_add(count, Ordering::Relaxed);
        });
        let listed = names(pages.boxed(), subject).map(move |tag| {
            tag.map(|tag| Wanted {
                source: source.clone(),
                from: tag.clone().into(),
                target: target.clone(),
                to: Some(tag),
            })
        });
        if let Some(latest) = selection.latest {
            let steps = async move { self.newest(listed.boxed(), selection, latest).await };
            return stream::once(steps).flatten().boxed();
        }
        listed
            .map(move |wanted| async move {
                let wanted = wanted?;
                match self.excluded(&wanted, selection) {
                    Some(why) => Ok(wanted.step(Decision::Excluded(why))),
                    None => self.decide(wanted).await,
                }
            })
            .buffered(LOOKUPS)
            .boxed()
    }

    /// The steps of a repository of which the newest tags are wanted. Unless all
    /// of them are known, none is taken: others would pass for the newest.
    async fn newest(
        self,
        listed: BoxStream<'a, Result<Wanted, Failure>>,
        selection: &'a Selection,
        latest: Latest,
    ) -> BoxStream<'a, Looked> {
        let listed: Vec<Wanted> = match listed.try_collect().await {
            Ok(listed) => listed,
            Err(failure) => return stream::iter([Err(failure)]).boxed(),
        };
        let mut taken = Vec::new();
        let mut steps = Vec::new();
        for wanted in listed {
            // Signatures must not take the places of images.
            let about = wanted.to.as_ref().is_some_and(is_about_image);
            let about = about.then_some(Exclusion::AboutImage);
            match self.excluded(&wanted, selection).or(about) {
                Some(why) => steps.push(Ok(wanted.step(Decision::Excluded(why)))),
                None => taken.push(wanted),
            }
        }
        let needed = latest.sort == Sort::Created && taken.len() > latest.count.get();
        let dated: Result<Vec<(Wanted, Option<i64>)>, Failure> = match needed {
            true => {
                let dates = taken.into_iter().map(|wanted| async move {
                    let date = self.patiently(&wanted, || self.created(&wanted)).await?;
                    Ok((wanted, date))
                });
                stream::iter(dates).buffered(LOOKUPS).try_collect().await
            }
            false => Ok(taken.into_iter().map(|wanted| (wanted, None)).collect()),
        };
        let dated = match dated {
            Ok(dated) => dated,
            Err(failure) => return stream::iter([Err(failure)]).boxed(),
        };
        let name = |(wanted, _): &(Wanted, Option<i64>)| wanted.from.as_str().to_owned();
        let (taken, older) = newest(latest, dated, name, |(_, date)| *date);
        let reason = Exclusion::NotSelected(Reason::Older(latest.count));
        steps.extend(
            older
                .into_iter()
                .map(|(wanted, _)| Ok(wanted.step(Decision::Excluded(reason.clone())))),
        );
        let decided = stream::iter(taken)
            .map(move |(wanted, _)| self.decide(wanted))
            .buffered(LOOKUPS);
        stream::iter(steps).chain(decided).boxed()
    }

    /// The rule that leaves a listed tag out without a look at the target.
    fn excluded(&self, wanted: &Wanted, selection: &Selection) -> Option<Exclusion> {
        let tag = wanted.to.as_ref()?;
        if let Some(reason) = selection.excludes(tag.as_str()) {
            return Some(Exclusion::NotSelected(reason));
        }
        let listed = self.policy.referrers.is_some() && is_fallback_tag(tag);
        listed.then_some(Exclusion::ReferrersTag)
    }

    /// Waits until both stores want an image to be read.
    async fn admitted(&self, wanted: &Wanted) -> Option<Digest> {
        let Readers { source, target, .. } = self.stores;
        let image = (&wanted.source, &wanted.from);
        admitted(image, self.job, source, target, &*self.memory.watch).await
    }

    /// When a tag's image was created. To read it is a pull.
    async fn created(&self, wanted: &Wanted) -> Result<Option<i64>, StoreError> {
        let Readers { source, .. } = self.stores;
        self.admitted(wanted).await;
        let source = End {
            store: source,
            repo: &wanted.source,
        };
        created(source, &wanted.from, &self.memory.manifests).await
    }

    async fn decide(self, wanted: Wanted) -> Looked {
        let decision = self.patiently(&wanted, || self.decision(&wanted)).await?;
        Ok(wanted.step(decision))
    }

    /// Looks at a tag, and again when one of the stores only wants to be left
    /// alone for a while.
    async fn patiently<T, F: Future<Output = Result<T, StoreError>> + Send>(
        &self,
        wanted: &Wanted,
        ask: impl Fn() -> F + Send + Sync,
    ) -> Result<T, Failure> {
        let mut look = 1;
        loop {
            let error = match ask().await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let Readers { source, target, .. } = self.stores;
            let (source, target) = (source.allowance(), target.allowance());
            match pause(&error, source, target, self.policy.rate_limit) {
                Some(wait) if look < LOOKS => {
                    look += 1;
                    sleep(wait).await;
                }
                _ => {
                    return Err(Failure {
                        subject: image_name(
                            self.stores.source.name(),
                            &wanted.source,
                            &wanted.from,
                        ),
                        error,
                    });
                }
            }
        }
    }

    async fn decision(&self, wanted: &Wanted) -> Result<Decision, StoreError> {
        let (tagged, current) = if self.policy.missing_only {
            // The target first: a tag that is there costs the source nothing.
            let current = self.at_target(wanted).await?;
            if current.is_some() {
                return Ok(Decision::Excluded(Exclusion::Present));
            }
            (self.at_source(wanted).await?, None)
        } else {
            let both = futures::future::join(self.at_source(wanted), self.at_target(wanted));
            let (tagged, current) = both.await;
            (tagged?, current?)
        };
        let choice = self.choice(wanted, tagged, current.as_ref()).await?;
        let why = match current {
            None => Why::Missing,
            Some(current) if current != choice.to => Why::Changed { from: current },
            Some(_) if self.policy.force_recursive => Why::Forced,
            Some(_) if self.policy.fast_check => {
                return Ok(Decision::Unchanged { digest: choice.to });
            }
            Some(_) => match self.incomplete(wanted, &choice).await? {
                None => return Ok(Decision::Unchanged { digest: choice.to }),
                Some(why) => why,
            },
        };
        Ok(Decision::Copy { choice, why })
    }

    /// Which part of what the tag points at is wanted. Where that takes a look
    /// into it, which is a pull, one has to be left.
    async fn choice(
        &self,
        wanted: &Wanted,
        tagged: Digest,
        current: Option<&Digest>,
    ) -> Result<Choice, StoreError> {
        if self.policy.platforms.takes_tags_as_they_are() {
            return Ok(Choice::whole(tagged));
        }
        let Readers { source, target, .. } = self.stores;
        let mut tagged = tagged;
        // What the target has as well costs no pull there.
        if current == Some(&tagged) {
            let there = End {
                store: target,
                repo: &wanted.target,
            };
            if self.memory.manifests.read(there, &tagged).await.is_err() {
                tracing::debug!(digest = %tagged, "the target's manifest cannot be read");
            }
        }
        if self.memory.manifests.get(&tagged).is_none() {
            let found = self.admitted(wanted).await;
            tagged = found.unwrap_or(tagged);
        }
        let source = End {
            store: source,
            repo: &wanted.source,
        };
        choose(self.policy, source, &tagged, &self.memory.manifests).await
    }

    async fn at_source(&self, wanted: &Wanted) -> Result<Digest, StoreError> {
        if let TagOrDigest::Digest(digest) = &wanted.from {
            return Ok(digest.clone());
        }
        let found = self
            .stores
            .source
            .find(&wanted.source, &wanted.from)
            .await?;
        found.ok_or_else(|| {
            let subject = image_name(self.stores.source.name(), &wanted.source, &wanted.from);
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
        Box::pin(async move {
            let target = self.stores.target;
            target.resolve(&wanted.target, &reference).await
        })
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
