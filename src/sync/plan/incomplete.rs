//! What a target lacks of what goes with an image that it has: referrers and
//! digest tags.

use std::collections::HashSet;

use super::{Planner, Wanted};
use crate::oci::{Digest, TagOrDigest, is_fallback_tag};
use crate::store::StoreError;
use crate::sync::job::Readers;
use crate::sync::platforms::Choice;
use crate::sync::referrers::Fit;
use crate::sync::step::Why;
use crate::sync::transfer::End;

impl Planner<'_> {
    /// What the target lacks of what goes with an image that it has.
    pub(super) async fn incomplete(
        &self,
        wanted: &Wanted,
        choice: &Choice,
    ) -> Result<Option<Why>, StoreError> {
        if let missing @ 1.. = self.missing_referrers(wanted, &choice.from).await? {
            return Ok(Some(Why::Referrers { missing }));
        }
        match self.missing_digest_tags(wanted, &choice.from).await? {
            0 => Ok(None),
            missing => Ok(Some(Why::DigestTags { missing })),
        }
    }

    /// How many of an image's referrers the target lacks.
    async fn missing_referrers(
        &self,
        wanted: &Wanted,
        digest: &Digest,
    ) -> Result<usize, StoreError> {
        let Some(referrers) = &self.policy.referrers else {
            return Ok(0);
        };
        let Readers {
            referrer_source,
            referrer_target,
            ..
        } = self.stores;
        let from = referrers.source_repository(&wanted.source);
        let to = referrers.target_repository(&wanted.target);
        let (source, target) = futures::future::join(
            referrer_source.referrers(from, digest),
            referrer_target.referrers(to, digest),
        )
        .await;
        let present: HashSet<Digest> = target?.into_iter().map(|found| found.digest).collect();
        let mut missing = 0;
        for found in source?
            .iter()
            .filter(|found| !present.contains(&found.digest))
        {
            let fit = match referrers.judge(found) {
                Fit::Perhaps => {
                    let manifest = referrer_source.manifest(from, &found.digest).await?;
                    referrers.judge(&manifest.referrer_descriptor())
                }
                fit => fit,
            };
            missing += usize::from(fit == Fit::Yes);
        }
        Ok(missing)
    }

    /// How many of the tags about an image the target lacks, or has otherwise.
    async fn missing_digest_tags(
        &self,
        wanted: &Wanted,
        digest: &Digest,
    ) -> Result<usize, StoreError> {
        if !self.policy.digest_tags {
            return Ok(0);
        }
        let Readers { source, target, .. } = self.stores;
        let end = End {
            store: source,
            repo: &wanted.source,
        };
        let tags = self.memory.digest_tags.of(end, digest).await?;
        let mut missing = 0;
        for tag in tags {
            if is_fallback_tag(&tag) && self.policy.referrers.is_some() {
                continue;
            }
            let name = TagOrDigest::from(tag);
            let (found, known) = futures::future::try_join(
                source.resolve(&wanted.source, &name),
                target.resolve(&wanted.target, &name),
            )
            .await?;
            missing += usize::from(found.is_some() && found != known);
        }
        Ok(missing)
    }
}
