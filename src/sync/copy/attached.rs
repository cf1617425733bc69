//! What goes with an image: what refers to it, and the tags about it.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use futures::FutureExt;

use super::{Copier, MANIFESTS_AT_ONCE, MAX_DEPTH, Work, all};
use crate::oci::{Descriptor, Digest, TagOrDigest, is_fallback_tag};
use crate::store::StoreError;
use crate::sync::digest_tags::DigestTags;
use crate::sync::referrers::{Fit, Referrers};
use crate::sync::transfer::Turn;

impl Copier<'_> {
    /// Brings the referrers of an image and of its parts. The image's own come
    /// last: planning looks at no others to see what is missing, so they may
    /// only be there when all the rest is.
    pub(in crate::sync) async fn bring_referrers(
        &self,
        wanted: &Referrers,
        image: &Digest,
        parts: &[Digest],
    ) -> Result<(), StoreError> {
        let work = parts
            .iter()
            .map(|part| self.bring_referrers_of(wanted, part, 1));
        all(work.collect(), MANIFESTS_AT_ONCE).await?;
        self.bring_referrers_of(wanted, image, 1).await
    }

    /// Brings what refers to `subject`, each after what refers to it in turn.
    fn bring_referrers_of<'s>(
        &'s self,
        wanted: &'s Referrers,
        subject: &'s Digest,
        depth: usize,
    ) -> Work<'s> {
        Box::pin(async move {
            let _turn = self.enter(Turn::Referrers, subject).await;
            let (found, present) = futures::future::try_join(
                self.source.store.referrers(self.source.repo, subject),
                self.target.store.referrers(self.target.repo, subject),
            )
            .await?;
            if depth > MAX_DEPTH && !found.is_empty() {
                let reason = format!("referrers refer to referrers more than {MAX_DEPTH} deep");
                return Err(self.refused(subject, reason));
            }
            let present: HashSet<Digest> = present.into_iter().map(|known| known.digest).collect();
            let work = found.iter().map(|referrer| {
                let listed = present.contains(&referrer.digest);
                async move {
                    if wanted.judge(referrer) == Fit::No {
                        return Ok(());
                    }
                    let brought = self.bring_referrer(wanted, subject, referrer, listed, depth);
                    brought.await.map_err(|error| {
                        let what =
                            format!("{}, a referrer of {subject}", self.name(&referrer.digest));
                        StoreError::new(error.kind(), "copy", what).because(error)
                    })
                }
                .boxed()
            });
            all(work.collect(), MANIFESTS_AT_ONCE).await
        })
    }

    async fn bring_referrer(
        &self,
        wanted: &Referrers,
        subject: &Digest,
        listing: &Descriptor,
        listed: bool,
        depth: usize,
    ) -> Result<(), StoreError> {
        let referrer = &listing.digest;
        let fetched = self
            .fetch(referrer, self.is_present(referrer).await?)
            .await?;
        // A list may say anything. That a referrer names its subject is what
        // makes it one, and what rules out circles.
        let named = fetched.manifest.subject();
        if named.is_none_or(|named| named.digest != *subject) {
            tracing::warn!(%referrer, %subject, "listed as a referrer, but it is none; left out");
            return Ok(());
        }
        if wanted.judge(listing) == Fit::Perhaps
            && wanted.judge(&fetched.manifest.referrer_descriptor()) != Fit::Yes
        {
            return Ok(());
        }
        if self.visit(referrer)? {
            self.bring_referrers_of(wanted, referrer, depth + 1).await?;
        }
        if listed {
            return Ok(());
        }
        self.bring_below(&fetched, 0).await?;
        // Put even if the target has it: it was not in the target's list.
        self.put(&fetched.manifest, None).await?;
        self.shared.tally.count(|totals| totals.referrers += 1);
        Ok(())
    }

    /// Brings the tags about a manifest, and whatever they point at.
    pub(in crate::sync) async fn bring_digest_tags(
        &self,
        lists: &DigestTags,
        subject: &Digest,
        with_fallback: bool,
    ) -> Result<(), StoreError> {
        for tag in lists.of(self.source, subject).await? {
            if is_fallback_tag(&tag) && !with_fallback {
                continue;
            }
            let name = TagOrDigest::from(tag.clone());
            let (found, known) = futures::future::try_join(
                self.source.store.resolve(self.source.repo, &name),
                self.target.store.resolve(self.target.repo, &name),
            )
            .await?;
            // It may be gone since it was listed.
            let Some(digest) = found.filter(|found| known.as_ref() != Some(found)) else {
                continue;
            };
            // Not as an image that others wait for: such tags can lead in
            // circles, and those who wait would never end.
            let copier = Self::whole(self.source, self.target, self.shared);
            let fetched = copier.top(&digest).await?;
            copier.bring(&fetched).await?;
            copier.put(&fetched.manifest, Some(&tag)).await?;
            self.sent.store(true, Ordering::Relaxed);
            self.shared.tally.count(|totals| totals.referrers += 1);
        }
        Ok(())
    }
}
