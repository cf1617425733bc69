//! Blobs: whole or not at all, in the repository they were put in.

use bytes::Bytes;
use futures::TryStreamExt;
use regmirror::oci::{Algorithm, Descriptor, Digest, MediaType};
use regmirror::store::{ErrorKind, Sink};

use super::{arriving, backends, put_text, repo};

backends! {
    memory layout registry older_registry;
    what_was_put_is_read_back
    a_blob_is_read_again_from_any_place
    a_sha512_blob_is_read_back
    wrong_content_is_refused_and_leaves_nothing
    a_wrong_blob_can_be_put_right
    a_blob_put_twice_is_there_once
    a_missing_blob_is_not_found
    a_mounted_blob_is_there
    what_is_missing_cannot_be_mounted
    a_deleted_blob_is_gone_from_its_repository_only
}

async fn what_was_put_is_read_back(store: &dyn Sink) {
    let repo = repo("team/app");
    for size in [0, 1, 4096, (3 << 20) + 1] {
        let content: Vec<u8> = (0..size)
            .map(|i: u32| i.to_le_bytes()[i as usize % 3])
            .collect();
        let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, &content);
        assert!(!store.has_blob(&repo, &descriptor).await.unwrap());
        let pieces: Vec<&[u8]> = content.chunks(10_000).collect();
        store
            .put_blob(&repo, arriving(&descriptor, &pieces))
            .await
            .unwrap();
        assert!(store.has_blob(&repo, &descriptor).await.unwrap());
        let read = store.blob(&repo, &descriptor).await.unwrap();
        assert_eq!(read.descriptor().digest, descriptor.digest);
        assert!(read.into_bytes().await.unwrap() == content, "{size} bytes");
    }
}

/// As a receiver does that was cut off, and goes on with what it has not got.
async fn a_blob_is_read_again_from_any_place(store: &dyn Sink) {
    let repo = repo("team/app");
    // Longer than what is read again at most.
    let content: Vec<u8> = (0..9_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, &content);
    let pieces: Vec<&[u8]> = content.chunks(100_000).collect();
    store
        .put_blob(&repo, arriving(&descriptor, &pieces))
        .await
        .unwrap();
    let mut blob = store.blob(&repo, &descriptor).await.unwrap();
    for offset in [5, 0, (8 << 20) + 7, 8 << 20, 1, content.len()] {
        let body = blob.stream_from(offset as u64).await.unwrap();
        let rest: Vec<Bytes> = body.try_collect().await.unwrap();
        assert!(rest.concat() == content[offset..], "from {offset} on");
    }
}

async fn a_sha512_blob_is_read_back(store: &dyn Sink) {
    let repo = repo("team/app");
    let digest = Digest::of(Algorithm::Sha512, b"content");
    let descriptor = Descriptor::new(MediaType::OCTET_STREAM, digest, 7);
    store
        .put_blob(&repo, arriving(&descriptor, &[b"con", b"tent"]))
        .await
        .unwrap();
    assert!(store.has_blob(&repo, &descriptor).await.unwrap());
    let read = store.blob(&repo, &descriptor).await.unwrap();
    assert_eq!(read.into_bytes().await.unwrap(), "content");
}

async fn wrong_content_is_refused_and_leaves_nothing(store: &dyn Sink) {
    let repo = repo("team/app");
    let promised = Descriptor::of(MediaType::OCTET_STREAM, b"promised");
    for pieces in [
        &[&b"PROMISED"[..]][..],
        &[b"promise"],
        &[b"promised", b"more"],
        &[],
    ] {
        let error = store
            .put_blob(&repo, arriving(&promised, pieces))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.one_line());
        assert!(
            !store.has_blob(&repo, &promised).await.unwrap(),
            "{pieces:?}"
        );
    }
}

async fn a_wrong_blob_can_be_put_right(store: &dyn Sink) {
    let repo = repo("team/app");
    let promised = Descriptor::of(MediaType::OCTET_STREAM, b"promised");
    store
        .put_blob(&repo, arriving(&promised, &[b"promise"]))
        .await
        .unwrap_err();
    store
        .put_blob(&repo, arriving(&promised, &[b"promised"]))
        .await
        .unwrap();
    let read = store.blob(&repo, &promised).await.unwrap();
    assert_eq!(read.into_bytes().await.unwrap(), "promised");
}

async fn a_blob_put_twice_is_there_once(store: &dyn Sink) {
    let repo = repo("team/app");
    let first = put_text(store, &repo, MediaType::OCTET_STREAM, "same").await;
    let second = put_text(store, &repo, MediaType::OCTET_STREAM, "same").await;
    assert_eq!(first, second);
    store.delete_blob(&repo, &first.digest).await.unwrap();
    assert!(!store.has_blob(&repo, &first).await.unwrap());
}

async fn a_missing_blob_is_not_found(store: &dyn Sink) {
    let here = repo("team/app");
    put_text(store, &here, MediaType::OCTET_STREAM, "another").await;
    let missing = Descriptor::of(MediaType::OCTET_STREAM, b"missing");
    for repo in [here, repo("team/none")] {
        assert!(!store.has_blob(&repo, &missing).await.unwrap());
        let read = match store.blob(&repo, &missing).await {
            Ok(blob) => blob.into_bytes().await,
            Err(error) => Err(error),
        };
        assert_eq!(read.unwrap_err().kind(), ErrorKind::NotFound);
        let error = store.delete_blob(&repo, &missing.digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

async fn a_mounted_blob_is_there(store: &dyn Sink) {
    let (from, to) = (repo("team/from"), repo("team/to"));
    let blob = put_text(store, &from, MediaType::OCTET_STREAM, "shared").await;
    assert!(!store.has_blob(&to, &blob).await.unwrap());
    assert!(store.mount_blob(&to, &blob, &from).await.unwrap());
    assert!(store.mount_blob(&to, &blob, &from).await.unwrap(), "again");
    assert!(store.has_blob(&to, &blob).await.unwrap());
    let read = store.blob(&to, &blob).await.unwrap();
    assert_eq!(read.into_bytes().await.unwrap(), "shared");
}

async fn what_is_missing_cannot_be_mounted(store: &dyn Sink) {
    let (from, to) = (repo("team/from"), repo("team/to"));
    let missing = Descriptor::of(MediaType::OCTET_STREAM, b"missing");
    assert!(!store.mount_blob(&to, &missing, &from).await.unwrap());
    put_text(store, &from, MediaType::OCTET_STREAM, "another").await;
    assert!(!store.mount_blob(&to, &missing, &from).await.unwrap());
    assert!(!store.has_blob(&to, &missing).await.unwrap());
}

async fn a_deleted_blob_is_gone_from_its_repository_only(store: &dyn Sink) {
    let (here, there) = (repo("team/here"), repo("team/there"));
    let blob = put_text(store, &here, MediaType::OCTET_STREAM, "shared").await;
    assert!(store.mount_blob(&there, &blob, &here).await.unwrap());
    store.delete_blob(&here, &blob.digest).await.unwrap();
    assert!(!store.has_blob(&here, &blob).await.unwrap());
    let read = store.blob(&there, &blob).await.unwrap();
    assert_eq!(read.into_bytes().await.unwrap(), "shared");
}
