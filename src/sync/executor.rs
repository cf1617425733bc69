//! The executor: takes the steps of all jobs through one bounded pool.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::admission;
use super::backup::{self, Backup, BackupFailure};
use super::copy::{Copier, Parts};
use super::cost::Cost;
use super::hooks::Hook;
use super::job::{Job, Platforms, Stores};
use super::plan::{Memory, plan};
use super::platforms::{Choice, Manifests, choose};
use super::pool::{Pool, PoolStatus};
use super::report::{Outcome, RunReport, Tally};
use super::run_id::RunId;
use super::step::{Decision, Exclusion, Step, Why, image_name};
use super::transfer::{End, Shared, Transfers};
use super::watch::{Audience, Event};
use crate::oci::{Digest, Tag};
use crate::store::{ErrorKind, Sink, Source, StoreError};

/// How often a tag that others move is looked at before it counts as failed.
const KEEPS: usize = 4;

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Images that are copied at once, over all jobs; see [`Executor::resize`].
    pub images: usize,
    /// Blobs of one image that are copied at once.
    pub blobs: usize,
    /// How often an image is begun when a store wants to be left alone.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            images: 4,
            blobs: 4,
            attempts: 3,
        }
    }
}

/// One run of a job.
#[derive(Clone, Copy)]
struct Run<'a> {
    job: &'a Job,
    stores: &'a Stores,
    stop: &'a CancellationToken,
    tally: &'a Tally,
    memory: &'a Memory,
}

/// Runs jobs. All runs of one executor share its pool and its transfers.
#[derive(Debug)]
pub struct Executor {
    limits: Limits,
    audience: Audience,
    pool: Pool,
    transfers: Transfers,
    manifests: Arc<Manifests>,
}

impl Executor {
    /// An executor with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            audience: Audience::default(),
            pool: Pool::new(limits.images),
            transfers: Transfers::default(),
            manifests: Arc::default(),
        }
    }

    /// The same executor, that tells `audience` what it does.
    #[must_use]
    pub fn telling(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// Runs a job once: plans it, and does what the plan says.
    ///
    /// A tag that fails does not stop the others. When `stop` is cancelled,
    /// copies under way are finished and no other is begun.
    pub async fn run(&self, job: &Job, stores: &Stores, stop: &CancellationToken) -> RunReport {
        self.run_as(RunId::new(), job, stores, stop).await
    }

    /// As [`run`](Self::run), by a name that was given before.
    pub async fn run_as(
        &self,
        id: RunId,
        job: &Job,
        stores: &Stores,
        stop: &CancellationToken,
    ) -> RunReport {
        let tally = Tally::begin(&job.name, id, &self.audience);
        let memory = Memory::with(Arc::clone(&self.manifests), Arc::clone(tally.watch()));
        let run = Run {
            job,
            stores,
            stop,
            tally: &tally,
            memory: &memory,
        };
        let planned = plan(job, stores.readers(), &memory);
        let seen_all = tally
            .follow(planned, &memory, stop, self.pool.status().places, |step| {
                self.take(step, run)
            })
            .await;
        let interrupted = !seen_all || tally.totals().pending > 0;
        tally.end(interrupted)
    }

    /// Copies so many images at once from now on. Those under way go on.
    pub fn resize(&self, images: usize) {
        self.pool.resize(images);
    }

    /// How the pool stands.
    pub fn pool(&self) -> PoolStatus {
        self.pool.status()
    }

    async fn take(&self, step: Step, run: Run<'_>) {
        let Run { stores, tally, .. } = run;
        let (choice, why) = match &step.decision {
            Decision::Copy { choice, why } => (choice, why),
            Decision::Unchanged { digest } => {
                tracing::debug!(tag = %step.from, "unchanged");
                return self.unchanged(&step, digest, run).await;
            }
            Decision::Excluded(exclusion) => {
                tracing::debug!(tag = %step.from, %exclusion, "left out");
                let outcome = Outcome::Excluded(exclusion.clone());
                return tally.tag(step.report(outcome, stores.readers()));
            }
        };
        let (digest, done) = match self.attempt(&step, choice, why, run).await {
            Some((digest, done)) => (digest, done),
            // Told to stop before it was begun.
            None => (choice.to.clone(), Done::Pending),
        };
        let (why, pending) = (why.clone(), digest.clone());
        let outcome = match done {
            Done::Copied => Outcome::Copied {
                digest: pending,
                why,
            },
            Done::Pending => Outcome::Pending {
                digest: pending,
                why,
                cost: Cost::default(),
            },
            Done::Nothing => return self.unchanged(&step, &digest, run).await,
            Done::Excluded(exclusion) => {
                let image = image_name(stores.source.name(), &step.source, &step.from);
                tracing::info!(image, %exclusion, "left out");
                Outcome::Excluded(exclusion)
            }
            Done::Failed(outcome) => outcome,
        };
        tally.tag(step.report(outcome, stores.readers()));
    }

    /// Counts a tag that is up to date, and runs the hook for it.
    async fn unchanged(&self, step: &Step, digest: &Digest, run: Run<'_>) {
        let hook = &run.job.policy.hooks.unchanged;
        let ran = hooked(hook.as_ref(), "unchanged", step, digest, None, run).await;
        let outcome = match ran {
            Ok(()) => Outcome::Unchanged {
                digest: digest.clone(),
            },
            Err(error) => Outcome::failed(&error),
        };
        run.tally.tag(step.report(outcome, run.stores.readers()));
    }

    /// Copies an image when the stores want it and there is a place in the
    /// pool, and again if they only wanted to be left alone. `None` when told
    /// to stop before.
    async fn attempt(
        &self,
        step: &Step,
        planned: &Choice,
        why: &Why,
        run: Run<'_>,
    ) -> Option<(Digest, Done)> {
        let Run {
            job, stores, stop, ..
        } = run;
        let (source, target) = (&*stores.source, &*stores.target);
        let mut choice = planned.clone();
        // What the tag points at by now, if somebody looked again.
        let mut now = None;
        let mut attempt = 1;
        loop {
            let image = (&step.source, &step.from);
            let watch = &**run.tally.watch();
            let admitted = admission::admitted(image, job, source, target, watch);
            now = stop.run_until_cancelled(admitted).await?.or(now);
            let place = self.pool.place().await;
            run.tally.watch().see(Event::Placed(place.waited));
            if stop.is_cancelled() {
                return None;
            }
            // Those who had their place before may have used up the pulls.
            if !admission::is_open(&job.policy, source, target) {
                continue;
            }
            let copy = async {
                if let Some(now) = now.as_ref().filter(|now| **now != choice.tagged) {
                    let source = source_of(step, stores);
                    choice = choose(&job.policy, source, now, &run.memory.manifests).await?;
                }
                self.copy(step, &choice, why, run).await
            };
            let done = match AssertUnwindSafe(copy).catch_unwind().await {
                Ok(Ok(done)) => done,
                Ok(Err(error)) => match admission::pause(
                    &error,
                    source.allowance(),
                    target.allowance(),
                    job.policy.rate_limit,
                ) {
                    Some(pause) if attempt < self.limits.attempts => {
                        drop(place);
                        attempt += 1;
                        tracing::warn!(%error, wait_s = pause.as_secs(), "put back for later");
                        // What the stores tell of, admission waits for.
                        if admission::is_open(&job.policy, source, target) {
                            stop.run_until_cancelled(sleep(pause)).await?;
                        }
                        continue;
                    }
                    _ => Done::Failed(Outcome::failed(&error.tried(attempt))),
                },
                Err(panic) => {
                    let said = panic_text(&*panic);
                    Done::Failed(Outcome::fault(said))
                }
            };
            return Some((choice.to, done));
        }
    }

    async fn copy(
        &self,
        step: &Step,
        choice: &Choice,
        why: &Why,
        run: Run<'_>,
    ) -> Result<Done, StoreError> {
        let Run { job, stores, .. } = run;
        let policy = &job.policy;
        let target: End<'_, dyn Sink> = End {
            store: &*stores.target,
            repo: &step.target,
        };
        let parts = Parts {
            platforms: match policy.platforms {
                // Its image is what is copied.
                Platforms::One(_) => &Platforms::All,
                _ => &policy.platforms,
            },
            force: policy.force_recursive,
            external: policy.include_external,
            manifests: Some(&run.memory.manifests),
        };
        let shared = self.shared(run);
        let copier = Copier::new(source_of(step, stores), target, parts, shared);
        let (fetched, turn) = copier.begin(&choice.from).await?;
        let kind = fetched.manifest.media_type();
        if !policy.media_types.contains(kind) {
            return Ok(Done::Excluded(Exclusion::MediaType(kind.clone())));
        }
        let replaced = match why {
            Why::Changed { from } => Some(from),
            _ => None,
        };
        let moves = !matches!(
            why,
            Why::Referrers { .. } | Why::DigestTags { .. } | Why::Forced
        );
        if moves {
            let pre = policy.hooks.pre.as_ref();
            hooked(pre, "pre", step, &choice.to, replaced, run).await?;
        }
        copier.bring(&fetched).await?;
        let attached = self.attached(step, &choice.from, &copier, run).await?;
        if !moves {
            return Ok(match attached || copier.has_sent() {
                true => Done::Copied,
                false => Done::Nothing,
            });
        }
        let manifest = copier.final_manifest(&fetched.manifest)?;
        if let (Some(backup), Some(tag)) = (&policy.backup, &step.to) {
            // Keeping an image takes its turn. Two tags that change places
            // would each wait for the other's.
            drop(turn);
            self.keep(manifest.digest(), tag, backup, step, run).await?;
        }
        copier.put(&manifest, step.to.as_ref()).await?;
        let post = policy.hooks.post.as_ref();
        hooked(post, "post", step, &choice.to, replaced, run).await?;
        Ok(Done::Copied)
    }

    /// Brings what goes with an image: referrers and digest tags. Returns whether
    /// anything was sent for it.
    async fn attached(
        &self,
        step: &Step,
        image: &Digest,
        copier: &Copier<'_>,
        run: Run<'_>,
    ) -> Result<bool, StoreError> {
        let Run { job, stores, .. } = run;
        let policy = &job.policy;
        let parts = copier.parts(image);
        let mut sent = false;
        if let Some(wanted) = &policy.referrers {
            let source: End<'_, dyn Source> = End {
                store: &*stores.referrer_source,
                repo: wanted.source_repository(&step.source),
            };
            let target: End<'_, dyn Sink> = End {
                store: &*stores.referrer_target,
                repo: wanted.target_repository(&step.target),
            };
            let referrers = Copier::whole(source, target, self.shared(run));
            referrers.bring_referrers(wanted, image, &parts).await?;
            sent |= referrers.has_sent();
        }
        if policy.digest_tags {
            let with_fallback = policy.referrers.is_none();
            let lists = &run.memory.digest_tags;
            // The image's own last: planning looks at no others.
            for subject in parts.iter().chain([image]) {
                copier
                    .bring_digest_tags(lists, subject, with_fallback)
                    .await?;
            }
        }
        Ok(sent)
    }

    /// Keeps what the target's tag points at, if that is not `new`. It is looked
    /// at just before the tag is overwritten, for others may move it as well.
    async fn keep(
        &self,
        new: &Digest,
        tag: &Tag,
        backup: &Backup,
        step: &Step,
        run: Run<'_>,
    ) -> Result<(), StoreError> {
        let target = &run.stores.target;
        let place = (run.job.scope.target(), &step.target, tag);
        let mut kept: Option<Digest> = None;
        for _ in 0..KEEPS {
            let current = target.resolve(&step.target, &tag.clone().into()).await?;
            let Some(old) =
                current.filter(|current| current != new && Some(current) != kept.as_ref())
            else {
                return Ok(());
            };
            match backup::keep(&old, place, backup, run.stores, self.shared(run)).await {
                Ok(()) => {}
                Err(error) => {
                    run.tally.backup(false);
                    if backup.failure != BackupFailure::Continue {
                        return Err(error);
                    }
                    tracing::warn!(%error, "not kept, and overwritten all the same");
                }
            }
            kept = Some(old);
        }
        let subject = image_name(target.name(), &step.target, &tag.clone().into());
        let reason = "somebody else keeps moving the tag".to_owned();
        Err(StoreError::new(ErrorKind::Unavailable, "back up", subject).because(reason))
    }

    fn shared<'a>(&'a self, run: Run<'a>) -> Shared<'a> {
        Shared {
            limits: &self.limits,
            transfers: &self.transfers,
            tally: run.tally,
        }
    }
}

/// What became of an image that was to be copied.
enum Done {
    Copied,
    /// The target had all of it.
    Nothing,
    /// It was not begun.
    Pending,
    Excluded(Exclusion),
    Failed(Outcome),
}

fn source_of<'a>(step: &'a Step, stores: &'a Stores) -> End<'a, dyn Source> {
    End {
        store: &*stores.source,
        repo: &step.source,
    }
}

/// Runs a hook, if there is one, with what it may want to know.
async fn hooked(
    hook: Option<&Hook>,
    name: &str,
    step: &Step,
    digest: &Digest,
    replaced: Option<&Digest>,
    run: Run<'_>,
) -> Result<(), StoreError> {
    let Some(hook) = hook else {
        return Ok(());
    };
    let Run { job, stores, .. } = run;
    let source = image_name(stores.source.name(), &step.source, &step.from);
    let target = image_name(stores.target.name(), &step.target, &step.written(digest));
    let facts = [
        ("REGMIRROR_HOOK", name.to_owned()),
        ("REGMIRROR_JOB", job.name.clone()),
        ("REGMIRROR_SOURCE", source),
        ("REGMIRROR_TARGET", target.clone()),
        (
            "REGMIRROR_TAG",
            step.to.as_ref().map_or(String::new(), ToString::to_string),
        ),
        ("REGMIRROR_DIGEST", digest.to_string()),
        (
            "REGMIRROR_OLD_DIGEST",
            replaced.map_or(String::new(), ToString::to_string),
        ),
    ];
    hook.run(&facts).await.map_err(|reason| {
        let action = match name {
            "pre" => "run the pre hook for",
            "post" => "run the post hook for (it was copied)",
            _ => "run the unchanged hook for",
        };
        StoreError::new(ErrorKind::Refused, action, target).because(reason)
    })
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
