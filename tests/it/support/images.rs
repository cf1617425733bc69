//! Images to mirror, and the check that a mirror is complete.

use std::collections::BTreeSet;

use regmirror::oci::{
    Descriptor, Digest, Draft, Manifest, MediaType, Platform, Repository, Tag, TagOrDigest,
};
use regmirror::store::{Blob, Sink, Source};

use super::TestRegistry;

/// Waits until a tag is at the target, with all that it leads to.
pub(crate) async fn arrives(target: &TestRegistry, of: &str, name: &str) {
    let line = format!("PUT /v2/{of}/manifests/{name} 201");
    target.until(|target| target.log().contains(&line)).await;
    let digest = tagged(target.store(), &repo(of), name).await;
    let digest = digest.expect("it was pushed");
    let all = complete(target.store(), &repo(of), &digest).await;
    all.expect("nothing is missing");
}

/// A repository's name.
pub(crate) fn repo(name: &str) -> Repository {
    match name {
        "" => Repository::unnamed(),
        name => name.parse().expect("a repository"),
    }
}

/// A tag.
pub(crate) fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

/// Puts a blob.
pub(crate) async fn push_blob(store: &dyn Sink, to: &Repository, content: &[u8]) -> Descriptor {
    let blob = Blob::from_bytes(MediaType::OCI_LAYER_GZIP, content.to_vec());
    let descriptor = blob.descriptor().clone();
    store.put_blob(to, blob).await.expect("the blob is taken");
    descriptor
}

/// Puts an image of these layers, and a config that names them.
pub(crate) async fn push_image(
    store: &dyn Sink,
    to: &Repository,
    name: Option<&str>,
    layers: &[&[u8]],
) -> Manifest {
    let mut descriptors = Vec::new();
    for layer in layers {
        descriptors.push(push_blob(store, to, layer).await);
    }
    let mut config = push_blob(store, to, format!("{descriptors:?}").as_bytes()).await;
    config.media_type = MediaType::OCI_CONFIG;
    let manifest = Draft::image(&config, &descriptors).build();
    push(store, to, name, &manifest).await;
    manifest
}

/// Puts an index of a `linux/amd64` and a `linux/arm64` image, which share
/// their lowest layer.
pub(crate) async fn push_index(store: &dyn Sink, to: &Repository, name: &str) -> Manifest {
    let mut children = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let own = format!("{name} {platform}");
        let image = push_image(store, to, None, &[b"shared base", own.as_bytes()]).await;
        let platform: Platform = platform.parse().expect("a platform");
        children.push(Descriptor {
            platform: Some(platform),
            ..image.descriptor()
        });
    }
    let index = Draft::index(&children).build();
    push(store, to, Some(name), &index).await;
    index
}

/// Puts an artifact that refers to `subject`.
pub(crate) async fn push_referrer(
    store: &dyn Sink,
    to: &Repository,
    subject: &Manifest,
    artifact_type: &str,
) -> Manifest {
    let content = format!("{artifact_type} of {}", subject.digest());
    let blob = push_blob(store, to, content.as_bytes()).await;
    let empty = Blob::from_bytes(MediaType::OCI_EMPTY, b"{}".to_vec());
    store.put_blob(to, empty).await.expect("the blob is taken");
    let manifest = Draft::artifact(artifact_type, &[blob])
        .subject(subject)
        .build();
    push(store, to, None, &manifest).await;
    manifest
}

/// Puts a manifest.
pub(crate) async fn push(
    store: &dyn Sink,
    to: &Repository,
    name: Option<&str>,
    manifest: &Manifest,
) {
    let name = name.map(tag);
    let put = store.put_manifest(to, manifest, name.as_ref()).await;
    put.expect("the manifest is taken");
}

/// What `name` points at.
pub(crate) async fn tagged(store: &dyn Source, of: &Repository, name: &str) -> Option<Digest> {
    let reference = TagOrDigest::Tag(tag(name));
    store
        .resolve(of, &reference)
        .await
        .expect("the store answers")
}

/// Reads everything that `digest` points at, children and blobs, and re-computes
/// every digest. Returns the digests seen, or what is missing or wrong.
pub(crate) async fn complete(
    store: &dyn Source,
    of: &Repository,
    digest: &Digest,
) -> Result<BTreeSet<Digest>, String> {
    let mut seen = BTreeSet::new();
    let mut blobs = Vec::new();
    let mut todo = vec![digest.clone()];
    while let Some(digest) = todo.pop() {
        if !seen.insert(digest.clone()) {
            continue;
        }
        let manifest = store.manifest(of, &digest).await;
        let manifest = manifest.map_err(|error| error.one_line())?;
        for child in manifest.children() {
            match child.media_type.is_manifest() {
                true => todo.push(child.digest.clone()),
                false => blobs.push(child.clone()),
            }
        }
        blobs.extend(manifest.blobs().cloned());
    }
    for blob in blobs {
        let content = store
            .blob(of, &blob)
            .await
            .map_err(|error| error.one_line())?;
        content
            .into_bytes()
            .await
            .map_err(|error| error.one_line())?;
        seen.insert(blob.digest);
    }
    Ok(seen)
}
