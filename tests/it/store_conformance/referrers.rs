//! What refers to a manifest.

use regmirror::oci::{Descriptor, Digest, Manifest, MediaType, Repository};
use regmirror::store::Sink;

use super::{artifact, backends, image, repo, tag, tagged};

backends! {
    memory layout registry older_registry;
    a_referrer_is_listed_with_its_type_and_annotations
    the_subject_may_be_missing
    referrers_are_listed_each_once
    a_tagged_referrer_is_listed_once
    a_deleted_referrer_is_listed_no_more
    a_referrer_of_a_referrer_is_not_the_subject_s
}

async fn put(store: &dyn Sink, repo: &Repository, manifest: &Manifest) {
    store.put_manifest(repo, manifest, None).await.unwrap();
}

async fn listed(store: &dyn Sink, repo: &Repository, subject: &Digest) -> Vec<Digest> {
    let found = store.referrers(repo, subject).await.unwrap();
    let mut found: Vec<Digest> = found.into_iter().map(|entry| entry.digest).collect();
    found.sort();
    found
}

fn sorted(manifests: &[&Manifest]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = manifests.iter().map(|it| it.digest().clone()).collect();
    digests.sort();
    digests
}

async fn a_referrer_is_listed_with_its_type_and_annotations(store: &dyn Sink) {
    let repo = repo("team/app");
    let subject = image(store, &repo, "subject").await;
    store
        .put_manifest(&repo, &subject, Some(&tag("t")))
        .await
        .unwrap();
    assert!(
        store
            .referrers(&repo, subject.digest())
            .await
            .unwrap()
            .is_empty()
    );
    let sbom = artifact(store, &repo, &subject.descriptor(), "sbom").await;
    put(store, &repo, &sbom).await;
    let found = store.referrers(&repo, subject.digest()).await.unwrap();
    assert_eq!(found, [sbom.referrer_descriptor()]);
    assert_eq!(store.manifest(&repo, sbom.digest()).await.unwrap(), sbom);
}

async fn the_subject_may_be_missing(store: &dyn Sink) {
    let repo = repo("team/app");
    let subject = Descriptor::of(MediaType::OCI_MANIFEST, b"comes later");
    let early = artifact(store, &repo, &subject, "early").await;
    put(store, &repo, &early).await;
    assert_eq!(
        listed(store, &repo, &subject.digest).await,
        sorted(&[&early])
    );
}

async fn referrers_are_listed_each_once(store: &dyn Sink) {
    let repo = repo("team/app");
    let subject = image(store, &repo, "subject").await;
    put(store, &repo, &subject).await;
    let sbom = artifact(store, &repo, &subject.descriptor(), "sbom").await;
    let signature = artifact(store, &repo, &subject.descriptor(), "signature").await;
    for manifest in [&sbom, &signature, &sbom, &signature] {
        put(store, &repo, manifest).await;
    }
    assert_eq!(
        listed(store, &repo, subject.digest()).await,
        sorted(&[&sbom, &signature])
    );
    assert!(listed(store, &repo, sbom.digest()).await.is_empty());
}

async fn a_tagged_referrer_is_listed_once(store: &dyn Sink) {
    let repo = repo("team/app");
    let subject = image(store, &repo, "subject").await;
    put(store, &repo, &subject).await;
    let sbom = artifact(store, &repo, &subject.descriptor(), "sbom").await;
    store
        .put_manifest(&repo, &sbom, Some(&tag("sbom")))
        .await
        .unwrap();
    assert_eq!(
        listed(store, &repo, subject.digest()).await,
        sorted(&[&sbom])
    );
    let found = store.resolve(&repo, &tagged("sbom")).await.unwrap();
    assert_eq!(found.as_ref(), Some(sbom.digest()));
}

async fn a_deleted_referrer_is_listed_no_more(store: &dyn Sink) {
    let repo = repo("team/app");
    let subject = image(store, &repo, "subject").await;
    put(store, &repo, &subject).await;
    let sbom = artifact(store, &repo, &subject.descriptor(), "sbom").await;
    let signature = artifact(store, &repo, &subject.descriptor(), "signature").await;
    put(store, &repo, &sbom).await;
    put(store, &repo, &signature).await;
    store
        .delete_manifest(&repo, &sbom.digest().clone().into())
        .await
        .unwrap();
    assert_eq!(
        listed(store, &repo, subject.digest()).await,
        sorted(&[&signature])
    );
    store
        .delete_manifest(&repo, &signature.digest().clone().into())
        .await
        .unwrap();
    assert!(listed(store, &repo, subject.digest()).await.is_empty());
    assert_eq!(
        store.manifest(&repo, subject.digest()).await.unwrap(),
        subject
    );
}

async fn a_referrer_of_a_referrer_is_not_the_subject_s(store: &dyn Sink) {
    let repo = repo("team/app");
    let subject = image(store, &repo, "subject").await;
    put(store, &repo, &subject).await;
    let sbom = artifact(store, &repo, &subject.descriptor(), "sbom").await;
    put(store, &repo, &sbom).await;
    let signature = artifact(store, &repo, &sbom.descriptor(), "signature").await;
    put(store, &repo, &signature).await;
    assert_eq!(
        listed(store, &repo, subject.digest()).await,
        sorted(&[&sbom])
    );
    assert_eq!(
        listed(store, &repo, sbom.digest()).await,
        sorted(&[&signature])
    );
}
