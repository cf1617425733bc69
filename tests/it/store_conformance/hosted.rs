//! What the embedded registry needs on top: ranges, uploads, a catalog.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use regmirror::oci::{Algorithm, Digest, MediaType};
use regmirror::store::{ErrorKind, Hosted};

use super::{backends, image, put_text, repo, tag};

backends! {
    memory layout;
    parts_of_a_blob_are_read
    a_range_beyond_the_end_is_refused
    an_upload_becomes_a_blob
    an_upload_of_other_content_is_refused
    a_dropped_upload_leaves_nothing
    repositories_are_listed_sorted
}

async fn parts_of_a_blob_are_read(store: &dyn Hosted) {
    let repo = repo("team/app");
    let text: String = ('a'..='z').cycle().take(200_000).collect();
    let blob = put_text(store, &repo, MediaType::OCTET_STREAM, &text).await;
    let size = store.blob_size(&repo, &blob.digest).await.unwrap();
    assert_eq!(size, Some(200_000));
    for (start, end) in [
        (0, 200_000),
        (0, 1),
        (199_999, 200_000),
        (5, 70_000),
        (3, 3),
        (200_000, 200_000),
    ] {
        let part = store
            .read_blob(&repo, &blob.digest, start..end)
            .await
            .unwrap();
        let part: Vec<Bytes> = part.try_collect().await.unwrap();
        let (start, end) = (
            usize::try_from(start).unwrap(),
            usize::try_from(end).unwrap(),
        );
        assert!(
            part.concat() == text.as_bytes()[start..end],
            "{start}..{end}"
        );
    }
}

async fn a_range_beyond_the_end_is_refused(store: &dyn Hosted) {
    let repo = repo("team/app");
    let blob = put_text(store, &repo, MediaType::OCTET_STREAM, "text").await;
    for range in [0..5, 5..5, 4..9] {
        let read = store.read_blob(&repo, &blob.digest, range.clone()).await;
        assert_eq!(
            read.err().map(|error| error.kind()),
            Some(ErrorKind::Refused),
            "{range:?}"
        );
    }
    let missing = Digest::sha256(b"missing");
    assert_eq!(store.blob_size(&repo, &missing).await.unwrap(), None);
    let read = store.read_blob(&repo, &missing, 0..0).await;
    assert_eq!(
        read.err().map(|error| error.kind()),
        Some(ErrorKind::NotFound)
    );
}

async fn an_upload_becomes_a_blob(store: &dyn Hosted) {
    let repo = repo("team/app");
    let content = vec![7_u8; 1_500_000];
    for (algorithm, piece) in [(Algorithm::Sha256, 1_000), (Algorithm::Sha512, 600_000)] {
        let digest = Digest::of(algorithm, &content);
        let mut upload = store.begin_upload(&repo).await.unwrap();
        for piece in content.chunks(piece) {
            upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(upload.received(), 1_500_000);
        assert_eq!(
            store.blob_size(&repo, &digest).await.unwrap(),
            None,
            "not visible yet"
        );
        upload.finish(&digest).await.unwrap();
        assert_eq!(
            store.blob_size(&repo, &digest).await.unwrap(),
            Some(1_500_000)
        );
    }
    let upload = store.begin_upload(&repo).await.unwrap();
    upload.finish(&Digest::sha256(b"")).await.unwrap();
    assert_eq!(
        store.blob_size(&repo, &Digest::sha256(b"")).await.unwrap(),
        Some(0)
    );
}

async fn an_upload_of_other_content_is_refused(store: &dyn Hosted) {
    let repo = repo("team/app");
    for algorithm in Algorithm::ALL {
        let promised = Digest::of(algorithm, b"promised");
        let mut upload = store.begin_upload(&repo).await.unwrap();
        upload.write(Bytes::from_static(b"other")).await.unwrap();
        let error = upload.finish(&promised).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.one_line());
        for digest in [&promised, &Digest::of(algorithm, b"other")] {
            assert_eq!(store.blob_size(&repo, digest).await.unwrap(), None);
        }
    }
}

async fn a_dropped_upload_leaves_nothing(store: &dyn Hosted) {
    let repo = repo("team/app");
    let mut upload = store.begin_upload(&repo).await.unwrap();
    upload.write(Bytes::from_static(b"content")).await.unwrap();
    drop(upload);
    let size = store
        .blob_size(&repo, &Digest::sha256(b"content"))
        .await
        .unwrap();
    assert_eq!(size, None);
    let mut pages = store.repositories();
    while let Some(page) = pages.next().await {
        assert!(page.unwrap().names.is_empty(), "nothing was put");
    }
}

async fn repositories_are_listed_sorted(store: &dyn Hosted) {
    let names = ["b", "team/app", "team", "team/app/deep", "a-b/c"];
    for name in names {
        let repo = repo(name);
        let manifest = image(store, &repo, name).await;
        store
            .put_manifest(&repo, &manifest, Some(&tag("t")))
            .await
            .unwrap();
    }
    let pages: Vec<_> = store.repositories().try_collect().await.unwrap();
    let found: Vec<String> = pages
        .into_iter()
        .flat_map(|page| page.names)
        .map(String::from)
        .collect();
    assert_eq!(found, ["a-b/c", "b", "team", "team/app", "team/app/deep"]);
}
