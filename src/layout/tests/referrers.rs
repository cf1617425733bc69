//! Referrers in a layout: the list under the fallback tag, and what stands in
//! `index.json` by itself.

use std::fs;

use serde_json::json;

use super::{blob_path, image, index, put, root, sound};
use crate::oci::fallback_tag;
use crate::store::{ErrorKind, Sink, Source};

#[tokio::test]
async fn referrers_are_found_the_way_regclient_and_oras_list_them() {
    let (directory, store, subject) = sound().await;
    let (listed, plain) = (
        image("regclient", Some(&subject)),
        image("oras", Some(&subject)),
    );
    put(&store, &listed, None).await.unwrap();
    let fallback = fallback_tag(subject.digest());
    let list = store
        .resolve(&root(), &fallback.clone().into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store.manifest(&root(), &list).await.unwrap().children(),
        [listed.referrer_descriptor()]
    );
    // ORAS lists a referrer in index.json itself; one may be in both places.
    let path = directory.path();
    fs::write(blob_path(path, plain.digest()), plain.bytes()).unwrap();
    let mut document = index(path);
    let entries = document["manifests"].as_array_mut().unwrap();
    entries.extend([json!(plain.descriptor()), json!(listed.descriptor())]);
    fs::write(path.join("index.json"), document.to_string()).unwrap();
    for _ in 0..2 {
        let found = store.referrers(&root(), subject.digest()).await.unwrap();
        assert_eq!(
            found,
            [listed.referrer_descriptor(), plain.referrer_descriptor()]
        );
    }
    for manifest in [&listed, &plain] {
        let digest = manifest.digest().clone().into();
        store.delete_manifest(&root(), &digest).await.unwrap();
    }
    assert!(
        store
            .referrers(&root(), subject.digest())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.resolve(&root(), &fallback.into()).await.unwrap(),
        None,
        "an empty list goes"
    );
}

#[tokio::test]
async fn a_list_of_referrers_that_cannot_be_read_is_no_empty_list() {
    let (directory, store, subject) = sound().await;
    put(&store, &image("sbom", Some(&subject)), None)
        .await
        .unwrap();
    let fallback = fallback_tag(subject.digest());
    let list = store
        .resolve(&root(), &fallback.into())
        .await
        .unwrap()
        .unwrap();
    for damage in [Some("{}"), None] {
        match damage {
            Some(bytes) => fs::write(blob_path(directory.path(), &list), bytes).unwrap(),
            None => fs::remove_file(blob_path(directory.path(), &list)).unwrap(),
        }
        assert!(store.referrers(&root(), subject.digest()).await.is_err());
        let second = put(&store, &image("second", Some(&subject)), None).await;
        assert!(second.is_err(), "a new list would lose the first referrer");
    }
}

#[tokio::test]
async fn a_damaged_manifest_may_be_a_referrer() {
    let (directory, store, subject) = sound().await;
    let other = image("other", None);
    put(&store, &other, Some("other")).await.unwrap();
    fs::write(blob_path(directory.path(), other.digest()), "{}").unwrap();
    let error = store
        .referrers(&root(), subject.digest())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.one_line());
    // One that is not there at all is allowed by the image-spec.
    fs::remove_file(blob_path(directory.path(), other.digest())).unwrap();
    assert!(
        store
            .referrers(&root(), subject.digest())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_image_under_a_fallback_tag_is_no_list() {
    let (_directory, store, subject) = sound().await;
    let fallback = fallback_tag(subject.digest());
    put(&store, &image("odd", None), Some(fallback.as_str()))
        .await
        .unwrap();
    assert!(
        store
            .referrers(&root(), subject.digest())
            .await
            .unwrap()
            .is_empty()
    );
    let error = put(&store, &image("sbom", Some(&subject)), None)
        .await
        .unwrap_err();
    assert!(
        error.one_line().contains("no list of referrers"),
        "{}",
        error.one_line()
    );
}
