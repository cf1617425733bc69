//! Several repositories below one root.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use futures::stream::TryStreamExt;

use super::{SOUND, blob_path, empty, put_text, root, snapshot, sound, temporary_files};
use crate::oci::{Descriptor, MediaType, Repository};
use crate::store::{Blob, ErrorKind, Sink, Source};

#[tokio::test]
async fn names_that_are_a_layout_s_own_are_refused() {
    let (directory, store) = empty();
    for name in ["blobs", "a/blobs/b", "index.json", "a/oci-layout"] {
        let blob = Blob::from_bytes(MediaType::OCTET_STREAM, "text");
        let error = store
            .put_blob(&name.parse().unwrap(), blob)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.one_line());
    }
    assert!(snapshot(directory.path()).is_empty());
}

#[tokio::test]
async fn only_directories_with_a_valid_name_are_repositories() {
    let (directory, store, _) = sound().await;
    for name in ["a", "a/b", "Team/app", "a/-x", "blobs/inner", "lost+found"] {
        let path = directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("oci-layout"), SOUND).unwrap();
    }
    symlink(directory.path().join("a"), directory.path().join("link")).unwrap();
    symlink(".", directory.path().join("loop")).unwrap();
    let pages: Vec<_> = store.repositories().try_collect().await.unwrap();
    let [page] = pages.as_slice() else {
        panic!("{pages:?}")
    };
    let names: Vec<&str> = page.names.iter().map(Repository::as_str).collect();
    assert_eq!(names, ["", "a", "a/b"]);
    assert_eq!(page.refused, ["Team/app", "a/-x"]);
}

#[tokio::test]
async fn a_mounted_blob_takes_no_space() {
    let (directory, store) = empty();
    put_text(&store, "text").await.unwrap();
    let text = Descriptor::of(MediaType::OCTET_STREAM, b"text");
    let other: Repository = "a/b".parse().unwrap();
    assert!(store.mount_blob(&other, &text, &root()).await.unwrap());
    let inode = |root: &Path| fs::metadata(blob_path(root, &text.digest)).unwrap().ino();
    assert_eq!(
        inode(directory.path()),
        inode(&directory.path().join("a/b"))
    );
    assert_eq!(temporary_files(directory.path()), 0);
}
