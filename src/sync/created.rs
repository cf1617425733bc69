//! When an image was created.

use chrono::DateTime;
use serde::Deserialize;

use super::platforms::Manifests;
use super::transfer::End;
use crate::oci::{Content, Descriptor, Manifest, MediaType, TagOrDigest};
use crate::store::{ErrorKind, Source, StoreError};

/// The annotation that says it without a look at the configuration.
const ANNOTATION: &str = "org.opencontainers.image.created";

/// How large a configuration is read, in bytes.
const MAX_CONFIG: u64 = 4 << 20;

#[derive(Deserialize)]
struct Config {
    created: Option<String>,
}

/// The seconds since 1970 at which an image was created, or the first image of
/// an index; `None` when it does not say, or what says it is not there. Source:
/// OCI image-spec 1.1, `config.md#properties`.
///
/// # Errors
///
/// When it cannot be read: others would pass for newer.
pub(super) async fn created(
    source: End<'_, dyn Source>,
    image: &TagOrDigest,
    manifests: &Manifests,
) -> Result<Option<i64>, StoreError> {
    let Some(digest) = source.store.find(source.repo, image).await? else {
        return Ok(None);
    };
    let Some(manifest) = there(manifests.read(source, &digest).await)? else {
        return Ok(None);
    };
    if let Some(seconds) = annotated(&manifest) {
        return Ok(Some(seconds));
    }
    if !manifest.media_type().is_index() {
        return configured(source, &manifest).await;
    }
    for child in manifest.children().iter().filter(|child| is_image(child)) {
        // A sparse index has not all of them.
        if let Some(image) = there(manifests.read(source, &child.digest).await)? {
            return match annotated(&image) {
                Some(seconds) => Ok(Some(seconds)),
                None => configured(source, &image).await,
            };
        }
    }
    Ok(None)
}

/// What an image's configuration says.
async fn configured(
    source: End<'_, dyn Source>,
    image: &Manifest,
) -> Result<Option<i64>, StoreError> {
    let Content::Image { config, .. } = image.content() else {
        return Ok(None);
    };
    let known = [MediaType::OCI_CONFIG, MediaType::DOCKER_CONFIG];
    if !known.contains(&config.media_type) || config.size > MAX_CONFIG {
        return Ok(None);
    }
    let Some(blob) = there(source.store.blob(source.repo, config).await)? else {
        return Ok(None);
    };
    let config = serde_json::from_slice::<Config>(&blob.into_bytes().await?).ok();
    Ok(config.and_then(|config| seconds(&config.created?)))
}

/// What is not there, or cannot be copied anyway, has no date.
fn there<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Schema1) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an index lists an image here, and not an attestation about one.
fn is_image(child: &Descriptor) -> bool {
    let attestation = child.annotation("vnd.docker.reference.type").is_some();
    child.media_type.is_image() && !attestation
}

fn annotated(manifest: &Manifest) -> Option<i64> {
    manifest.annotation(ANNOTATION).and_then(seconds)
}

fn seconds(text: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp())
}
