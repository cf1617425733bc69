//! Backups: the image behind a target tag is kept before the tag is moved.

use super::copy::Copier;
use super::job::{Backup, Stores};
use super::transfer::{End, Shared};
use crate::oci::{Digest, Repository};
use crate::store::{Source, StoreError};

/// Keeps the image `old` of the target's repository where `backup` says.
///
/// # Errors
///
/// Whatever the copy fails with; the tag must not be moved then.
pub(super) async fn keep(
    old: &Digest,
    target: &Repository,
    backup: &Backup,
    stores: &Stores,
    shared: Shared<'_>,
) -> Result<(), StoreError> {
    let repo = backup.repository(target);
    let tag = backup.tag();
    if let Some(tag) = &tag {
        let kept = stores.backup.resolve(repo, &tag.clone().into()).await?;
        if kept.as_ref() == Some(old) {
            return Ok(());
        }
    }
    let from: End<'_, dyn Source> = End {
        store: &*stores.target,
        repo: target,
    };
    let to = End {
        store: &*stores.backup,
        repo,
    };
    let copier = Copier::new(from, to, false, shared);
    let (manifest, _turn) = copier.bring(old).await?;
    copier.put(&manifest, tag.as_ref()).await?;
    shared.tally.count(|totals| totals.backups += 1);
    Ok(())
}
