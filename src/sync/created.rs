//! When an image was created.

use chrono::DateTime;
use serde::Deserialize;

use super::platforms::Manifests;
use super::transfer::End;
use crate::oci::{Content, Manifest, TagOrDigest};
use crate::store::{Source, StoreError};

/// The annotation that says it without a look at the configuration.
const ANNOTATION: &str = "org.opencontainers.image.created";

/// How large a configuration is read, in bytes.
const MAX_CONFIG: u64 = 4 << 20;

#[derive(Deserialize)]
struct Config {
    created: Option<String>,
}

/// The seconds since 1970 at which an image was created, or the first image of
/// an index; `None` when it does not say. Source: OCI image-spec 1.1,
/// `config.md#properties`.
///
/// # Errors
///
/// When it cannot be read.
pub(super) async fn created(
    source: End<'_, dyn Source>,
    image: &TagOrDigest,
    manifests: &Manifests,
) -> Result<Option<i64>, StoreError> {
    let Some(digest) = source.store.resolve(source.repo, image).await? else {
        return Ok(None);
    };
    let manifest = manifests.read(source, &digest).await?;
    if let Some(seconds) = manifest.annotation(ANNOTATION).and_then(seconds) {
        return Ok(Some(seconds));
    }
    let image = match first_image(&manifest) {
        Some(child) => manifests.read(source, child).await?,
        None => manifest,
    };
    if let Some(seconds) = image.annotation(ANNOTATION).and_then(seconds) {
        return Ok(Some(seconds));
    }
    let Content::Image { config, .. } = image.content() else {
        return Ok(None);
    };
    if config.size > MAX_CONFIG {
        return Ok(None);
    }
    let config = source.store.blob(source.repo, config).await?;
    let config = config.into_bytes().await?;
    let config = serde_json::from_slice::<Config>(&config).ok();
    Ok(config.and_then(|config| seconds(&config.created?)))
}

fn first_image(manifest: &Manifest) -> Option<&crate::oci::Digest> {
    let mut children = manifest.children().iter();
    let image = children.find(|child| child.media_type.is_image())?;
    Some(&image.digest)
}

fn seconds(text: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp())
}
