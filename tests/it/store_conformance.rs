//! One suite that every store passes.
//!
//! A case is a function over `&dyn Sink`, or `&dyn Hosted` for what only those
//! offer; it begins with an empty store. A new store adds a `start` and lines
//! in `backends`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blobs;
mod hosted;
mod manifests;
mod referrers;

use std::any::Any;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use regmirror::layout::LayoutStore;
use regmirror::oci::{Descriptor, Manifest, MediaType, Repository, Tag, TagOrDigest};
use regmirror::registry::{Credential, Registry};
use regmirror::store::{Blob, MemoryStore, Sink, Source};
use serde_json::{Value, json};

use crate::support::{TestRegistry, registry_client};

/// An empty store, and what has to live as long as it.
struct Backend<S> {
    store: S,
    _alive: Box<dyn Any>,
}

async fn memory() -> Backend<MemoryStore> {
    Backend {
        store: MemoryStore::new("memory"),
        _alive: Box::new(()),
    }
}

async fn layout() -> Backend<LayoutStore> {
    let directory = tempfile::tempdir().unwrap();
    Backend {
        store: LayoutStore::new(directory.path().join("not/there/yet")),
        _alive: Box::new(directory),
    }
}

async fn registry() -> Backend<Registry> {
    let server = TestRegistry::start().await;
    Backend {
        store: registry_client(&server, Credential::Anonymous),
        _alive: Box::new(server),
    }
}

/// One whose lists of referrers the client has to keep itself.
async fn older_registry() -> Backend<Registry> {
    let server = TestRegistry::without_referrers().await;
    Backend {
        store: registry_client(&server, Credential::Anonymous),
        _alive: Box::new(server),
    }
}

/// Each case as a test of each backend: `store_conformance::blobs::layout::…`.
macro_rules! backends {
    ($($backend:ident)*; $($case:ident)*) => {
        backends!(@ [$($backend)*] [$($case)*]);
    };
    (@ [] $cases:tt) => {};
    (@ [$backend:ident $($more:ident)*] [$($case:ident)*]) => {
        mod $backend {
            $(
                #[tokio::test]
                async fn $case() {
                    let backend = crate::store_conformance::$backend().await;
                    super::$case(&backend.store).await;
                }
            )*
        }
        backends!(@ [$($more)*] [$($case)*]);
    };
}
use backends;

fn repo(text: &str) -> Repository {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn tagged(text: &str) -> TagOrDigest {
    tag(text).into()
}

/// A blob that promises `descriptor` and arrives in `pieces`.
fn arriving(descriptor: &Descriptor, pieces: &[&[u8]]) -> Blob {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|&piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Blob::verified(descriptor, "the test", stream::iter(pieces).boxed())
}

fn parse(document: &Value) -> Manifest {
    // Spaces and line breaks, which a store that re-encodes would lose.
    let bytes = serde_json::to_vec_pretty(document).unwrap();
    Manifest::parse(bytes.into(), None).unwrap()
}

/// Stores a blob of this text and tells what it is.
async fn put_text(store: &dyn Sink, repo: &Repository, kind: MediaType, text: &str) -> Descriptor {
    let blob = Blob::from_bytes(kind, text.to_owned());
    let descriptor = blob.descriptor().clone();
    store.put_blob(repo, blob).await.unwrap();
    descriptor
}

/// An image that differs from those of other texts; its blobs are stored.
async fn image(store: &dyn Sink, repo: &Repository, text: &str) -> Manifest {
    parse(&json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": put_text(store, repo, MediaType::OCI_CONFIG, &format!("{{\"for\":\"{text}\"}}")).await,
        "layers": [put_text(store, repo, MediaType::OCI_LAYER_GZIP, text).await],
    }))
}

/// An artifact attached to `subject`; its blobs are stored.
async fn artifact(
    store: &dyn Sink,
    repo: &Repository,
    subject: &Descriptor,
    text: &str,
) -> Manifest {
    parse(&json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": "application/vnd.example.sbom",
        "config": put_text(store, repo, MediaType::OCI_EMPTY, "{}").await,
        "layers": [put_text(store, repo, MediaType::OCTET_STREAM, text).await],
        "subject": subject,
        "annotations": { "org.example.text": text },
    }))
}

async fn tags(store: &dyn Source, repo: &Repository) -> Vec<String> {
    let mut found = Vec::new();
    let mut pages = store.tags(repo);
    while let Some(page) = pages.next().await {
        found.extend(page.unwrap().names);
    }
    // A store without a referrers API keeps its lists under such tags.
    found.retain(|tag| !regmirror::oci::is_fallback_tag(tag));
    found.into_iter().map(String::from).collect()
}
