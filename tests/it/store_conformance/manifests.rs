//! Manifests and tags.

use futures::StreamExt;
use regmirror::oci::{Descriptor, Digest, Manifest, MediaType};
use regmirror::store::{ErrorKind, Sink};
use serde_json::json;

use super::{backends, image, parse, put_text, repo, tag, tagged, tags};

backends! {
    memory layout registry older_registry;
    manifests_of_all_kinds_are_read_back_byte_for_byte
    a_manifest_without_tag_is_found_by_digest
    a_tag_moves
    tags_are_listed_sorted_and_each_once
    several_tags_may_name_one_manifest
    what_is_missing_is_none_or_not_found
    a_deleted_tag_leaves_its_manifest
    a_deleted_manifest_takes_its_tags
}

async fn manifests_of_all_kinds_are_read_back_byte_for_byte(store: &dyn Sink) {
    let repo = repo("team/app");
    let oci = image(store, &repo, "oci").await;
    store.put_manifest(&repo, &oci, None).await.unwrap();
    let docker = parse(&json!({
        "schemaVersion": 2,
        "mediaType": MediaType::DOCKER_MANIFEST,
        "config": put_text(store, &repo, MediaType::DOCKER_CONFIG, "{ }").await,
        "layers": [put_text(store, &repo, MediaType::DOCKER_LAYER_GZIP, "docker").await],
    }));
    store.put_manifest(&repo, &docker, None).await.unwrap();
    let list = index(&MediaType::DOCKER_LIST, &[&docker]);
    let inner = index(&MediaType::OCI_INDEX, &[&oci, &docker]);
    store.put_manifest(&repo, &inner, None).await.unwrap();
    let outer = index(&MediaType::OCI_INDEX, &[&inner]);
    for (name, manifest) in [
        ("oci", &oci),
        ("docker", &docker),
        ("list", &list),
        ("outer", &outer),
    ] {
        store
            .put_manifest(&repo, manifest, Some(&tag(name)))
            .await
            .unwrap();
        let found = store.resolve(&repo, &tagged(name)).await.unwrap();
        assert_eq!(found.as_ref(), Some(manifest.digest()), "{name}");
        let read = store.manifest(&repo, manifest.digest()).await.unwrap();
        assert_eq!(read, *manifest, "{name}");
    }
    assert_eq!(store.manifest(&repo, inner.digest()).await.unwrap(), inner);
}

fn index(kind: &MediaType, children: &[&Manifest]) -> Manifest {
    let children: Vec<Descriptor> = children.iter().map(|child| child.descriptor()).collect();
    parse(&json!({"schemaVersion": 2, "mediaType": kind, "manifests": children}))
}

async fn a_manifest_without_tag_is_found_by_digest(store: &dyn Sink) {
    let repo = repo("team/app");
    let manifest = image(store, &repo, "a").await;
    store.put_manifest(&repo, &manifest, None).await.unwrap();
    let digest = manifest.digest();
    let found = store.resolve(&repo, &digest.clone().into()).await.unwrap();
    assert_eq!(found.as_ref(), Some(digest));
    assert_eq!(store.manifest(&repo, digest).await.unwrap(), manifest);
    assert!(tags(store, &repo).await.is_empty());
}

async fn a_tag_moves(store: &dyn Sink) {
    let repo = repo("team/app");
    let (old, new) = (
        image(store, &repo, "old").await,
        image(store, &repo, "new").await,
    );
    for manifest in [&old, &new] {
        store
            .put_manifest(&repo, manifest, Some(&tag("t")))
            .await
            .unwrap();
        let found = store.resolve(&repo, &tagged("t")).await.unwrap();
        assert_eq!(found.as_ref(), Some(manifest.digest()));
    }
    assert_eq!(tags(store, &repo).await, ["t"]);
    assert_eq!(
        store.manifest(&repo, old.digest()).await.unwrap(),
        old,
        "still there by digest"
    );
}

async fn tags_are_listed_sorted_and_each_once(store: &dyn Sink) {
    let repo = repo("team/app");
    let manifest = image(store, &repo, "a").await;
    let mut names: Vec<String> = (0..40).map(|i| format!("v{}", i * 17 % 40)).collect();
    names.extend(["_x", "Z", "latest"].map(String::from));
    for name in names.iter().chain(["latest".to_owned()].iter()) {
        store
            .put_manifest(&repo, &manifest, Some(&tag(name)))
            .await
            .unwrap();
    }
    names.sort();
    assert_eq!(tags(store, &repo).await, names);
}

async fn several_tags_may_name_one_manifest(store: &dyn Sink) {
    let repo = repo("team/app");
    let manifest = image(store, &repo, "a").await;
    for name in ["1", "1.2", "1.2.3"] {
        store
            .put_manifest(&repo, &manifest, Some(&tag(name)))
            .await
            .unwrap();
    }
    store.delete_manifest(&repo, &tagged("1.2")).await.unwrap();
    assert_eq!(tags(store, &repo).await, ["1", "1.2.3"]);
    assert_eq!(
        store.manifest(&repo, manifest.digest()).await.unwrap(),
        manifest
    );
}

async fn what_is_missing_is_none_or_not_found(store: &dyn Sink) {
    let (here, nowhere) = (repo("team/app"), repo("team/none"));
    let manifest = image(store, &here, "a").await;
    store
        .put_manifest(&here, &manifest, Some(&tag("t")))
        .await
        .unwrap();
    let missing = Digest::sha256(b"missing");
    for (repo, digest) in [(&here, &missing), (&nowhere, manifest.digest())] {
        for reference in [tagged("missing"), digest.clone().into()] {
            assert_eq!(store.resolve(repo, &reference).await.unwrap(), None);
            let error = store.delete_manifest(repo, &reference).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.one_line());
        }
        let error = store.manifest(repo, digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.one_line());
        assert!(store.referrers(repo, digest).await.unwrap().is_empty());
    }
    let listed = store
        .tags(&nowhere)
        .next()
        .await
        .expect("one page or error");
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn a_deleted_tag_leaves_its_manifest(store: &dyn Sink) {
    let repo = repo("team/app");
    let manifest = image(store, &repo, "a").await;
    store
        .put_manifest(&repo, &manifest, Some(&tag("t")))
        .await
        .unwrap();
    store.delete_manifest(&repo, &tagged("t")).await.unwrap();
    assert_eq!(store.resolve(&repo, &tagged("t")).await.unwrap(), None);
    assert!(tags(store, &repo).await.is_empty());
    assert_eq!(
        store.manifest(&repo, manifest.digest()).await.unwrap(),
        manifest
    );
}

async fn a_deleted_manifest_takes_its_tags(store: &dyn Sink) {
    let repo = repo("team/app");
    let (gone, stays) = (
        image(store, &repo, "gone").await,
        image(store, &repo, "stays").await,
    );
    for (name, manifest) in [("a", &gone), ("b", &gone), ("c", &stays)] {
        store
            .put_manifest(&repo, manifest, Some(&tag(name)))
            .await
            .unwrap();
    }
    store
        .delete_manifest(&repo, &gone.digest().clone().into())
        .await
        .unwrap();
    assert_eq!(tags(store, &repo).await, ["c"]);
    assert_eq!(store.resolve(&repo, &tagged("a")).await.unwrap(), None);
    let error = store.manifest(&repo, gone.digest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
