//! The registry client against scripted registries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod blobs;
mod faults;
mod listing;
mod manifests;

use regmirror::oci::{Descriptor, Manifest, MediaType, Repository, TagOrDigest};
use regmirror::registry::{Credential, Registry};
use regmirror::store::{Blob, Sink};
use serde_json::json;

use crate::support::{Fault, TestRegistry, registry_client};

pub(crate) fn repo(text: &str) -> Repository {
    text.parse().unwrap()
}

pub(crate) fn tag(text: &str) -> TagOrDigest {
    TagOrDigest::Tag(text.parse().unwrap())
}

/// A registry, and an anonymous client for it.
pub(crate) async fn started() -> (TestRegistry, Registry) {
    let server = TestRegistry::start().await;
    let client = registry_client(&server, Credential::Anonymous);
    (server, client)
}

pub(crate) fn manifest(text: &str) -> Manifest {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": Descriptor::empty(),
        "layers": [],
        "annotations": {"text": text},
    });
    Manifest::parse(document.to_string().into(), None).unwrap()
}

/// A manifest attached to `subject`.
pub(crate) fn attached(subject: &Manifest, text: &str) -> Manifest {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": "application/vnd.example",
        "config": Descriptor::empty(),
        "layers": [],
        "subject": subject.descriptor(),
        "annotations": {"text": text},
    });
    Manifest::parse(document.to_string().into(), None).unwrap()
}

pub(crate) fn blob(text: &str) -> Blob {
    Blob::from_bytes(MediaType::OCTET_STREAM, text.to_owned())
}

/// Puts a tagged manifest and its config behind the server's back.
pub(crate) async fn stored(server: &TestRegistry, name: &str, tag: &str) -> Manifest {
    let manifest = manifest(tag);
    let (store, repo) = (server.store(), repo(name));
    store.put_blob(&repo, blob("{}")).await.unwrap();
    let tag = tag.parse().unwrap();
    store
        .put_manifest(&repo, &manifest, Some(&tag))
        .await
        .unwrap();
    manifest
}
