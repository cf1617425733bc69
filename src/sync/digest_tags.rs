//! Digest tags: tags about an image, named after its digest, as cosign's
//! `sha256-….sig`, `.att` and `.sbom`, and the fallback tag.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt as _;
use tokio::sync::OnceCell;

use super::transfer::End;
use crate::oci::{Digest, Repository, Tag, is_digest_tag};
use crate::store::{Source, StoreError};

type Lists = HashMap<(String, Repository), Arc<OnceCell<Vec<Tag>>>>;

/// The digest tags of repositories, each listed once a run, when the first image
/// of it asks.
#[derive(Debug, Default)]
pub(super) struct DigestTags(Mutex<Lists>);

impl DigestTags {
    /// The tags about `subject`.
    ///
    /// # Errors
    ///
    /// When they cannot be listed: that is never taken for having none.
    pub(super) async fn of(
        &self,
        source: End<'_, dyn Source>,
        subject: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let list = {
            let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (source.store.name().to_owned(), source.repo.clone());
            Arc::clone(lists.entry(key).or_default())
        };
        let tags = list.get_or_try_init(|| listed(source)).await?;
        let about = tags.iter().filter(|tag| is_digest_tag(tag, subject));
        Ok(about.cloned().collect())
    }
}

async fn listed(source: End<'_, dyn Source>) -> Result<Vec<Tag>, StoreError> {
    let mut pages = source.store.tags(source.repo);
    let mut tags = Vec::new();
    while let Some(page) = pages.try_next().await? {
        let may_be =
            |tag: &Tag| tag.as_str().starts_with("sha256-") || tag.as_str().starts_with("sha512-");
        tags.extend(page.names.into_iter().filter(may_be));
    }
    Ok(tags)
}
