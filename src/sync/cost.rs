//! What it would take to copy an image, as far as manifests tell.

use std::collections::HashSet;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::admission::is_open;
use super::check::Checker;
use super::copy::{MAX_DEPTH, MAX_MANIFESTS, too_deep, too_many};
use super::job::{Job, Platforms, Readers};
use super::plan::Memory;
use super::platforms::{Choice, kept};
use super::referrers::{Fit, Referrers};
use super::step::{Decision, Exclusion, Step, Why, repository_name};
use super::transfer::End;
use crate::oci::{Descriptor, Digest, Manifest, TagOrDigest, is_fallback_tag};
use crate::store::{Source, StoreError};

/// What copying takes. Blobs that the target could take over from repositories
/// that the run does not touch count as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Manifests to send.
    pub manifests: u64,
    /// Blobs to send.
    pub blobs: u64,
    /// The bytes of those blobs.
    pub bytes: u64,
    /// Images that were not looked into, since the source counts that as a pull.
    pub unread: u64,
}

impl Cost {
    /// Adds another cost.
    pub fn add(&mut self, other: &Self) {
        let Self {
            manifests,
            blobs,
            bytes,
            unread,
        } = other;
        self.manifests += manifests;
        self.blobs += blobs;
        self.bytes += bytes;
        self.unread += unread;
    }
}

/// What there is to say of an image that would be copied.
pub(super) enum Looked {
    Cost(Cost),
    Excluded(Exclusion),
}

/// One look into an image.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) checker: &'a Checker,
    pub(super) job: &'a Job,
    pub(super) stores: Readers<'a>,
    pub(super) step: &'a Step,
    pub(super) memory: &'a Memory,
}

/// What was met so far of one image.
#[derive(Default)]
struct Tour {
    cost: Cost,
    /// The manifests: each is looked into once, for indexes may list whatever
    /// they like as often as they like.
    visited: HashSet<Digest>,
}

/// From where to where.
type Ends<'a> = (End<'a, dyn Source>, End<'a, dyn Source>);

impl Look<'_> {
    pub(super) async fn cost(&self, choice: &Choice) -> Result<Looked, StoreError> {
        let ends: Ends<'_> = (
            End {
                store: self.stores.source,
                repo: &self.step.source,
            },
            End {
                store: self.stores.target,
                repo: &self.step.target,
            },
        );
        let policy = &self.job.policy;
        let mut tour = Tour::default();
        let present = is_present(ends.1, &choice.from).await?;
        let Some(top) = self.read(ends, &choice.from, present).await? else {
            tour.cost.unread = 1;
            return Ok(Looked::Cost(tour.cost));
        };
        if !policy.media_types.contains(top.media_type()) {
            let exclusion = Exclusion::MediaType(top.media_type().clone());
            return Ok(Looked::Excluded(exclusion));
        }
        // It is put even where the target has it: for its tag.
        let moves = !present || self.moves();
        tour.cost.manifests += u64::from(moves);
        self.below(ends, &top, present, 0, &mut tour).await?;
        let mut parts: Vec<Digest> = tour.visited.iter().cloned().collect();
        parts.push(choice.from.clone());
        if let Some(wanted) = &policy.referrers {
            let ends = (
                End {
                    store: self.stores.referrer_source,
                    repo: wanted.source_repository(&self.step.source),
                },
                End {
                    store: self.stores.referrer_target,
                    repo: wanted.target_repository(&self.step.target),
                },
            );
            for subject in &parts {
                self.referrers(ends, wanted, subject, 1, &mut tour).await?;
            }
        }
        if policy.digest_tags {
            for subject in &parts {
                self.digest_tags(ends, subject, &mut tour).await?;
            }
        }
        Ok(Looked::Cost(tour.cost))
    }

    fn moves(&self) -> bool {
        match &self.step.decision {
            Decision::Copy { why, .. } => {
                matches!(why, Why::Missing | Why::Changed { .. })
            }
            _ => false,
        }
    }

    /// The manifest, from the target if it has it. `None` if reading it is a pull
    /// that may not be spent, or is left to others.
    async fn read(
        &self,
        (source, target): Ends<'_>,
        digest: &Digest,
        present: bool,
    ) -> Result<Option<Manifest>, StoreError> {
        let known = &self.memory.manifests;
        if let Some(manifest) = known.get(digest) {
            return Ok(Some(manifest));
        }
        if present && let Ok(manifest) = known.read(target, digest).await {
            return Ok(Some(manifest));
        }
        let policy = &self.job.policy;
        let counted = source.store.allowance().pulls.is_some();
        if counted && !(self.checker.spend_pulls && is_open(policy, source.store, target.store)) {
            return Ok(None);
        }
        known.read(source, digest).await.map(Some)
    }

    /// Adds what is below a manifest.
    fn below<'s>(
        &'s self,
        ends: Ends<'s>,
        manifest: &'s Manifest,
        present: bool,
        depth: usize,
        tour: &'s mut Tour,
    ) -> BoxFuture<'s, Result<(), StoreError>> {
        Box::pin(async move {
            let policy = &self.job.policy;
            if !present || policy.force_recursive {
                for blob in manifest.blobs() {
                    self.blob(ends.1, blob, tour).await?;
                }
            }
            let chosen;
            let children = match (&policy.platforms, depth) {
                (Platforms::Some { .. }, 0) if manifest.media_type().is_index() => {
                    chosen = kept(&policy.platforms, ends.0, manifest)?;
                    chosen.as_slice()
                }
                _ => manifest.children(),
            };
            if depth == MAX_DEPTH && !children.is_empty() {
                return Err(too_deep(ends.0, manifest.digest()));
            }
            for child in children {
                if !tour.visit(ends.0, &child.digest)? {
                    continue;
                }
                if !child.media_type.is_manifest() {
                    self.blob(ends.1, child, tour).await?;
                    continue;
                }
                let present = is_present(ends.1, &child.digest).await?;
                let Some(read) = self.read(ends, &child.digest, present).await? else {
                    tour.cost.unread += 1;
                    continue;
                };
                if !present && self.is_new(ends.1, &child.digest) {
                    tour.cost.manifests += 1;
                }
                self.below(ends, &read, present, depth + 1, tour).await?;
            }
            Ok(())
        })
    }

    async fn blob(
        &self,
        target: End<'_, dyn Source>,
        blob: &Descriptor,
        tour: &mut Tour,
    ) -> Result<(), StoreError> {
        if blob.media_type.is_nondistributable() && !self.job.policy.include_external {
            return Ok(());
        }
        // A second repository of the same store mounts what the first one got.
        let store = target.store.name();
        if target.store.has_blob(target.repo, blob).await?
            || !self.checker.is_new(store, &blob.digest)
        {
            return Ok(());
        }
        tour.cost.blobs += 1;
        tour.cost.bytes += blob.size;
        Ok(())
    }

    /// Whether a manifest has not been counted for the repository yet.
    fn is_new(&self, target: End<'_, dyn Source>, digest: &Digest) -> bool {
        let repository = repository_name(target.store.name(), target.repo);
        self.checker.is_new(&repository, digest)
    }

    /// Adds the referrers of a manifest that the target lacks.
    fn referrers<'s>(
        &'s self,
        ends: Ends<'s>,
        wanted: &'s Referrers,
        subject: &'s Digest,
        depth: usize,
        tour: &'s mut Tour,
    ) -> BoxFuture<'s, Result<(), StoreError>> {
        Box::pin(async move {
            let (source, target) = ends;
            let found = source.store.referrers(source.repo, subject).await?;
            let there = target.store.referrers(target.repo, subject).await?;
            for referrer in found {
                if wanted.judge(&referrer) == Fit::No {
                    continue;
                }
                let digest = &referrer.digest;
                if !tour.visit(source, digest)? {
                    continue;
                }
                let listed = there.iter().any(|known| known.digest == *digest);
                let present = listed || is_present(target, digest).await?;
                let Some(read) = self.read(ends, digest, present).await? else {
                    tour.cost.unread += 1;
                    continue;
                };
                // A list may say anything.
                let named = read.subject().map(|named| &named.digest);
                if named != Some(subject) {
                    continue;
                }
                if wanted.judge(&referrer) == Fit::Perhaps
                    && wanted.judge(&read.referrer_descriptor()) != Fit::Yes
                {
                    continue;
                }
                if depth < MAX_DEPTH {
                    self.referrers(ends, wanted, digest, depth + 1, tour)
                        .await?;
                }
                if !listed && self.is_new(target, digest) {
                    tour.cost.manifests += 1;
                    self.below(ends, &read, present, 0, tour).await?;
                }
            }
            Ok(())
        })
    }

    /// Adds the tags about a manifest that the target lacks, or has otherwise.
    async fn digest_tags(
        &self,
        ends: Ends<'_>,
        subject: &Digest,
        tour: &mut Tour,
    ) -> Result<(), StoreError> {
        let (source, target) = ends;
        let with_fallback = self.job.policy.referrers.is_none();
        for tag in self.memory.digest_tags.of(source, subject).await? {
            if is_fallback_tag(&tag) && !with_fallback {
                continue;
            }
            let name = TagOrDigest::from(tag);
            let found = source.store.resolve(source.repo, &name).await?;
            let known = target.store.resolve(target.repo, &name).await?;
            let Some(digest) = found.filter(|found| known.as_ref() != Some(found)) else {
                continue;
            };
            let present = is_present(target, &digest).await?;
            let Some(read) = self.read(ends, &digest, present).await? else {
                tour.cost.unread += 1;
                continue;
            };
            tour.cost.manifests += 1;
            self.below(ends, &read, present, 0, tour).await?;
        }
        Ok(())
    }
}

impl Tour {
    /// Whether a manifest is met for the first time.
    fn visit(&mut self, source: End<'_, dyn Source>, digest: &Digest) -> Result<bool, StoreError> {
        let first = self.visited.insert(digest.clone());
        match self.visited.len() > MAX_MANIFESTS {
            true => Err(too_many(source, digest)),
            false => Ok(first),
        }
    }
}

async fn is_present(target: End<'_, dyn Source>, digest: &Digest) -> Result<bool, StoreError> {
    let reference = digest.clone().into();
    let found = target.store.resolve(target.repo, &reference).await?;
    Ok(found.is_some())
}
