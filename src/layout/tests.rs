//! What a store in memory cannot get wrong: crashes, other programs, planted
//! files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;

mod referrers;
mod repositories;

use super::LayoutStore;
use crate::oci::{Descriptor, Digest, Manifest, MediaType, Repository, Tag, TagOrDigest};
use crate::store::{Blob, ErrorKind, Hosted, Sink, Source, StoreError};

const SOUND: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

fn empty() -> (TempDir, LayoutStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path().to_owned());
    (directory, store)
}

/// A layout with one image, tagged `t`.
async fn sound() -> (TempDir, LayoutStore, Manifest) {
    let (directory, store) = empty();
    let manifest = image("image", None);
    put(&store, &manifest, Some("t")).await.unwrap();
    (directory, store, manifest)
}

fn root() -> Repository {
    Repository::unnamed()
}

fn image(text: &str, subject: Option<&Manifest>) -> Manifest {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": Descriptor::empty(),
        "layers": [],
        "annotations": {"text": text},
        "subject": subject.map(Manifest::descriptor),
    });
    Manifest::parse(document.to_string().into(), None).unwrap()
}

async fn put(
    store: &LayoutStore,
    manifest: &Manifest,
    tag: Option<&str>,
) -> Result<(), StoreError> {
    let tag: Option<Tag> = tag.map(|tag| tag.parse().unwrap());
    store.put_manifest(&root(), manifest, tag.as_ref()).await
}

async fn put_text(store: &LayoutStore, text: &str) -> Result<(), StoreError> {
    let blob = Blob::from_bytes(MediaType::OCTET_STREAM, text.to_owned());
    store.put_blob(&root(), blob).await
}

fn tag(text: &str) -> TagOrDigest {
    TagOrDigest::Tag(text.parse().unwrap())
}

fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs")
        .join(digest.algorithm().name())
        .join(digest.hex())
}

/// Every file below `root` with its bytes; a link with what it points at.
fn snapshot(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.push((path, target.into_os_string().into_encoded_bytes()));
        } else if path.is_dir() {
            found.extend(snapshot(&path));
            found.push((path, Vec::new()));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

fn temporary_files(root: &Path) -> usize {
    let files = snapshot(root);
    files
        .iter()
        .filter(|(path, _)| path.to_string_lossy().contains(".regmirror-"))
        .count()
}

fn index(root: &Path) -> Value {
    serde_json::from_slice(&fs::read(root.join("index.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn a_tag_whose_manifest_is_gone_is_no_tag_and_can_be_put_again() {
    let (directory, store, manifest) = sound().await;
    fs::remove_file(blob_path(directory.path(), manifest.digest())).unwrap();
    assert_eq!(store.resolve(&root(), &tag("t")).await.unwrap(), None);
    put(&store, &manifest, Some("t")).await.unwrap();
    let found = store.resolve(&root(), &tag("t")).await.unwrap();
    assert_eq!(found.as_ref(), Some(manifest.digest()));
}

#[tokio::test]
async fn i1_a_damaged_layout_is_an_error_and_stays_as_it_is() {
    let no_version = r#"{"imageLayoutVersion":"2.0.0"}"#;
    for (file, content) in [
        ("oci-layout", Some("")),
        ("oci-layout", Some("{")),
        ("oci-layout", Some("{}")),
        ("oci-layout", Some(no_version)),
        ("oci-layout", None),
        ("index.json", Some("")),
        ("index.json", Some("\0\0\0\0")),
        ("index.json", Some("{}")),
        ("index.json", Some(r#"{"schemaVersion":2,"mani"#)),
        ("index.json", None),
    ] {
        let (directory, store, manifest) = sound().await;
        let path = directory.path().join(file);
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let before = snapshot(directory.path());
        let outcomes = [
            store.resolve(&root(), &tag("t")).await.err(),
            store.tags(&root()).next().await.unwrap().err(),
            store.referrers(&root(), manifest.digest()).await.err(),
            put(&store, &image("new", None), Some("new")).await.err(),
            put(&store, &image("new", None), None).await.err(),
            put_text(&store, "new").await.err(),
            store.begin_upload(&root()).await.err(),
            store.delete_manifest(&root(), &tag("t")).await.err(),
            store
                .delete_blob(&root(), &Descriptor::empty().digest)
                .await
                .err(),
        ];
        for (i, error) in outcomes.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("{file} {content:?}: {i} succeeded"));
            let line = error.one_line();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{line}");
            assert!(line.contains(file), "{line}");
            assert!(
                line.contains(&*directory.path().to_string_lossy()),
                "{line}"
            );
        }
        assert_eq!(snapshot(directory.path()), before, "{file} {content:?}");
    }
}

#[tokio::test]
async fn i1_a_directory_of_something_else_is_refused() {
    for file in ["notes.txt", "sub/notes.txt", "blobs/sha256/x"] {
        let (directory, store) = empty();
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let before = snapshot(directory.path());
        let error = put_text(&store, "new").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(
            error.one_line().contains("it has no oci-layout file"),
            "{}",
            error.one_line()
        );
        assert_eq!(snapshot(directory.path()), before);
    }
}

#[tokio::test]
async fn i2_a_crash_while_a_layout_is_made_leaves_a_free_directory() {
    let (directory, store) = empty();
    put_text(&store, "text").await.unwrap();
    let made = fs::read(directory.path().join("index.json")).unwrap();
    // Each state that initialising passes through, one after the other.
    let (directory, store) = empty();
    let path = directory.path();
    fs::create_dir(path.join("lost+found")).unwrap();
    for step in [".lock", ".regmirror-abc.tmp", "blobs", "index.json"] {
        match step {
            "blobs" => fs::create_dir(path.join(step)).unwrap(),
            "index.json" => fs::write(path.join(step), &made).unwrap(),
            _ => fs::write(path.join(step), "").unwrap(),
        }
        assert_eq!(
            store.resolve(&root(), &tag("t")).await.unwrap(),
            None,
            "{step}"
        );
    }
    put(&store, &image("a", None), Some("t")).await.unwrap();
    assert!(store.resolve(&root(), &tag("t")).await.unwrap().is_some());
    assert_eq!(fs::read_to_string(path.join("oci-layout")).unwrap(), SOUND);
}

#[tokio::test]
async fn i4_what_is_not_understood_survives_every_write() {
    let (directory, store, manifest) = sound().await;
    let path = directory.path();
    let mut document = index(path);
    document["x"] = json!({"own": [1, 2]});
    document["annotations"] = json!({"a": "b"});
    let foreign = [
        json!({"mediaType": "a/b", "digest": "blake3:00", "size": 1, "y": {"z": null}}),
        json!({"mediaType": "a/b", "digest": Digest::sha256(b"absent"), "size": 1,
            "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/a:1"}}),
    ];
    let entries = document["manifests"].as_array_mut().unwrap();
    entries.insert(0, foreign[0].clone());
    entries.push(foreign[1].clone());
    fs::write(path.join("index.json"), document.to_string()).unwrap();
    fs::write(path.join("README"), "mine").unwrap();
    fs::write(path.join("blobs/sha256/odd"), "odd").unwrap();

    put(&store, &image("new", None), Some("t")).await.unwrap();
    put(&store, &image("sbom", Some(&manifest)), Some("u"))
        .await
        .unwrap();
    store.delete_manifest(&root(), &tag("u")).await.unwrap();
    store
        .delete_manifest(&root(), &manifest.digest().clone().into())
        .await
        .unwrap();

    let after = index(path);
    for member in ["x", "annotations", "schemaVersion"] {
        assert_eq!(after[member], document[member]);
    }
    assert_eq!(after["manifests"][0], foreign[0]);
    assert_eq!(after["manifests"][2], foreign[1]);
    assert_eq!(fs::read(path.join("README")).unwrap(), b"mine");
    assert_eq!(fs::read(path.join("blobs/sha256/odd")).unwrap(), b"odd");
    let page = store.tags(&root()).next().await.unwrap().unwrap();
    assert_eq!(page.refused, ["docker.io/library/a:1"]);
}

#[tokio::test]
async fn i2_an_interrupted_blob_leaves_no_file() {
    let (directory, store, _) = sound().await;
    let before = snapshot(directory.path());
    let content = vec![1; 3 << 20];
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &content);
    let cut = || {
        let first = Bytes::copy_from_slice(&content[..2 << 20]);
        stream::iter([Ok(first)])
    };
    let failing = cut().chain(stream::iter([Err(StoreError::new(
        ErrorKind::Unavailable,
        "x",
        "y",
    ))]));
    let blob = Blob::verified(&descriptor, "a", failing.boxed());
    let error = store.put_blob(&root(), blob).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    wait_until(|| snapshot(directory.path()) == before).await;

    // One whose future is dropped half-way.
    let stalled = Blob::verified(&descriptor, "a", cut().chain(stream::pending()).boxed());
    let repo = root();
    let put = store.put_blob(&repo, stalled);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), put)
            .await
            .is_err()
    );
    wait_until(|| snapshot(directory.path()) == before).await;

    let mut upload = store.begin_upload(&root()).await.unwrap();
    upload.write(content.into()).await.unwrap();
    assert_eq!(temporary_files(directory.path()), 1);
    drop(upload);
    wait_until(|| snapshot(directory.path()) == before).await;
}

/// The last write of a dropped upload may still be under way.
async fn wait_until(mut done: impl FnMut() -> bool) {
    for _ in 0..100 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen within two seconds");
}

#[tokio::test]
async fn i5_planted_links_are_not_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let text = Descriptor::of(MediaType::OCTET_STREAM, b"text");
    for planted in ["blobs", "blobs/sha256"] {
        let (directory, store, _) = sound().await;
        let path = directory.path().join(planted);
        fs::remove_dir_all(&path).unwrap();
        symlink(elsewhere.path(), &path).unwrap();
        fs::create_dir_all(elsewhere.path().join("sha256")).unwrap();
        for outcome in [
            put_text(&store, "text").await.err(),
            put(&store, &image("new", None), Some("t")).await.err(),
            store.delete_blob(&root(), &text.digest).await.err(),
            store.has_blob(&root(), &text).await.err(),
        ] {
            let line = outcome.expect("an error").one_line();
            assert!(line.contains("symbolic link"), "{line}");
            assert!(line.contains(&*path.to_string_lossy()), "{line}");
        }
        let found = snapshot(elsewhere.path());
        assert_eq!(found.len(), 1, "nothing was written there: {found:?}");
    }
    let (directory, store, _) = sound().await;
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "text").unwrap();
    for name in ["index.json", "oci-layout", ".lock"] {
        let path = directory.path().join(name);
        let own = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&secret, &path).unwrap();
        let outcome = put(&store, &image("new", None), Some("t")).await;
        assert!(outcome.is_err(), "{name}");
        assert_eq!(fs::read(&secret).unwrap(), b"text");
        fs::remove_file(&path).unwrap();
        fs::write(&path, own).unwrap();
    }
    symlink(&secret, blob_path(directory.path(), &text.digest)).unwrap();
    assert!(store.blob(&root(), &text).await.is_err());
    symlink(elsewhere.path(), directory.path().join("team")).unwrap();
    let blob = Blob::from_bytes(MediaType::OCTET_STREAM, "text");
    let error = store
        .put_blob(&"team/app".parse().unwrap(), blob)
        .await
        .unwrap_err();
    assert!(
        error.one_line().contains("symbolic link"),
        "{}",
        error.one_line()
    );
}

#[tokio::test]
async fn i2_a_file_that_was_cut_off_is_replaced() {
    let (directory, store, manifest) = sound().await;
    put_text(&store, "the whole text").await.unwrap();
    let text = Descriptor::of(MediaType::OCTET_STREAM, b"the whole text");
    for (digest, damage) in [(&text.digest, "the wh"), (manifest.digest(), "{\"sch")] {
        fs::write(blob_path(directory.path(), digest), damage).unwrap();
    }
    assert!(!store.has_blob(&root(), &text).await.unwrap());
    let by_digest = manifest.digest().clone().into();
    assert_eq!(store.resolve(&root(), &by_digest).await.unwrap(), None);
    let error = store
        .manifest(&root(), manifest.digest())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.one_line());
    put_text(&store, "the whole text").await.unwrap();
    put(&store, &manifest, Some("t")).await.unwrap();
    assert!(store.has_blob(&root(), &text).await.unwrap());
    assert_eq!(
        store.manifest(&root(), manifest.digest()).await.unwrap(),
        manifest
    );
}

#[tokio::test]
async fn a_manifest_that_is_missing_is_named() {
    let (directory, store, manifest) = sound().await;
    fs::remove_file(blob_path(directory.path(), manifest.digest())).unwrap();
    let error = store
        .manifest(&root(), manifest.digest())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.one_line().contains(manifest.digest().as_str()),
        "{}",
        error.one_line()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_writers_that_do_not_know_of_each_other_lose_no_tag() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/by/either");
    let stores = [LayoutStore::new(path.clone()), LayoutStore::new(path)];
    let mut writers = tokio::task::JoinSet::new();
    for (name, store) in ["a", "b"].into_iter().zip(stores.clone()) {
        for i in 0..50 {
            let store = store.clone();
            writers.spawn(async move {
                let manifest = image(&format!("image {}", i % 5), None);
                put(&store, &manifest, Some(&format!("{name}{i}"))).await
            });
        }
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    let page = stores[0].tags(&root()).next().await.unwrap().unwrap();
    assert_eq!(page.names.len(), 100);
    let blobs = directory.path().join("made/by/either/blobs/sha256");
    assert_eq!(
        fs::read_dir(blobs).unwrap().count(),
        5,
        "tags share their manifest"
    );
    assert_eq!(temporary_files(directory.path()), 0);
}

#[tokio::test]
async fn files_are_as_readable_as_any_other_program_s() {
    let (directory, store, manifest) = sound().await;
    put_text(&store, "text").await.unwrap();
    let like = directory.path().join("like");
    fs::write(&like, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    for path in [
        directory.path().join("index.json"),
        directory.path().join("oci-layout"),
        blob_path(directory.path(), manifest.digest()),
        blob_path(directory.path(), &Digest::sha256(b"text")),
    ] {
        assert_eq!(mode(&path), mode(&like), "{}", path.display());
    }
}

#[tokio::test]
async fn i2_what_killed_processes_left_goes_after_a_day() {
    let (directory, store, _) = sound().await;
    let day = Duration::from_secs(24 * 60 * 60);
    for (name, age) in [
        (".regmirror-old.tmp", 2 * day),
        (".regmirror-new.tmp", day / 2),
        ("other.tmp", 9 * day),
    ] {
        let file = fs::File::create(directory.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    put(&store, &image("new", None), Some("new")).await.unwrap();
    let there = |name| directory.path().join(name).exists();
    assert!(!there(".regmirror-old.tmp"));
    assert!(there(".regmirror-new.tmp") && there("other.tmp"));
}

#[tokio::test]
async fn an_upload_goes_on_after_a_write_that_nobody_waited_for() {
    let (_directory, store) = empty();
    let mut upload = store.begin_upload(&root()).await.unwrap();
    let piece = Bytes::from(vec![5; 700 << 10]);
    for _ in 0..8 {
        // Polled once and dropped, as when a client goes away.
        let _ = futures::poll!(Box::pin(upload.write(piece.clone())));
    }
    let digest = Digest::sha256(&piece.repeat(8));
    assert_eq!(upload.received(), 8 * piece.len() as u64);
    upload.finish(&digest).await.unwrap();
    assert!(store.blob_size(&root(), &digest).await.unwrap().is_some());
}

#[tokio::test]
async fn a_repository_above_another_becomes_a_layout_too() {
    let (_directory, store) = empty();
    for name in ["a/b", "a", "a/b/c"] {
        let blob = Blob::from_bytes(MediaType::OCTET_STREAM, "text");
        store.put_blob(&name.parse().unwrap(), blob).await.unwrap();
    }
    let none = store.tags(&root()).next().await.unwrap();
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
}
