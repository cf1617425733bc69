//! What is mirrored: images made by skopeo from a small file system, an index
//! of two of them, and something that refers to it.

use std::fs;
use std::path::Path;
use std::process::Command;

use regmirror::oci::{Descriptor, Digest, Draft, Manifest, MediaType, fallback_tag};
use reqwest::{Method, StatusCode, Url};

use super::programs::{Server, skopeo, skopeo_copy, skopeo_raw};
use crate::support::client;
use crate::support::program::printed;

/// Which of the two families of media types an image is typed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Oci,
    Docker,
}

/// An index for two platforms, and an artifact that refers to it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) index: Manifest,
    pub(super) referrer: Manifest,
    /// The only layer of the referrer.
    pub(super) document: Vec<u8>,
}

/// Makes an image with one file, by skopeo alone: manifest, config and the
/// compressed layer are its own.
pub(super) fn image(content: &str, family: Family, destination: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, tar) = (dir.path().join("root"), dir.path().join("root.tar"));
    fs::create_dir_all(root.join("etc")).expect("a directory");
    fs::write(root.join("etc/motd"), content).expect("a file");
    printed(
        Command::new("tar")
            .args(["--create", "--owner=0", "--group=0", "--file"])
            .arg(&tar)
            .arg("--directory")
            .arg(&root)
            .arg("."),
    );
    let format = match family {
        Family::Oci => "--format=oci",
        Family::Docker => "--format=v2s2",
    };
    let source = format!("tarball:{}", tar.display());
    skopeo(&[
        "copy",
        format,
        "--dest-tls-verify=false",
        &source,
        destination,
    ]);
}

/// Pushes a two-platform index to `repository:tag`, and an artifact with the
/// index as its subject.
pub(super) async fn publish(to: &Server, repository: &str, tag: &str, family: Family) -> Published {
    let mut children = Vec::new();
    for platform in ["amd64", "arm64"] {
        let name = format!("{repository}:{tag}-{platform}");
        image(&format!("{tag} {platform}\n"), family, &to.docker(&name));
        let child = manifest(skopeo_raw(&to.docker(&name)));
        children.push(Descriptor {
            platform: Some(format!("linux/{platform}").parse().expect("a platform")),
            ..child.descriptor()
        });
    }
    let index = match family {
        Family::Oci => Draft::index(&children).build(),
        Family::Docker => Draft::index(&children).docker().build(),
    };
    put_manifest(to, repository, tag, &index).await;

    let document = format!(r#"{{"what":"an SBOM of {}"}}"#, index.digest()).into_bytes();
    let blob = put_blob(to, repository, "application/spdx+json", &document).await;
    put_blob(to, repository, "application/vnd.oci.empty.v1+json", b"{}").await;
    let referrer = Draft::artifact("application/spdx+json", &[blob])
        .subject(&index)
        .build();
    put_manifest(to, repository, referrer.digest().as_str(), &referrer).await;
    // docker-registry has no referrers API, so whoever pushes keeps the list.
    // Distribution-spec 1.1, "Pushing Manifests with Subject".
    let list = Draft::index(&[referrer.referrer_descriptor()]).build();
    let list_tag = fallback_tag(index.digest());
    put_manifest(to, repository, list_tag.as_str(), &list).await;
    Published {
        index,
        referrer,
        document,
    }
}

/// Checks that `image`, as skopeo names it, is `expected` to the byte, and
/// that skopeo can pull all of it: it verifies every digest on the way.
pub(super) fn assert_pulls(image: &str, expected: &Manifest) {
    let raw = skopeo_raw(image);
    assert_eq!(raw, expected.bytes()[..], "{image} has other bytes");
    let dir = tempfile::tempdir().expect("a directory");
    skopeo_copy(image, &format!("dir:{}", dir.path().display()));
    let saved = |name: &str| fs::read(dir.path().join(name)).expect("skopeo saved it");
    assert_eq!(saved("manifest.json"), expected.bytes()[..]);
    for child in expected.children() {
        let child = manifest(saved(&format!("{}.manifest.json", child.digest.hex())));
        for blob in child.blobs() {
            assert!(blob.digest.matches(&saved(blob.digest.hex())));
        }
    }
}

/// Checks that a layout has `expected`, whole, under `tag`.
pub(super) fn assert_in_layout(layout: &Path, tag: &str, expected: &Manifest) {
    // skopeo 1.9 passes over entries of a layout that are not of OCI's types,
    // so Docker's are looked up by hand.
    let media_type = expected.media_type();
    if [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST].contains(media_type) {
        return assert_pulls(&format!("oci:{}:{tag}", layout.display()), expected);
    }
    let index = fs::read(layout.join("index.json")).expect("an index.json");
    let index = manifest(index);
    let named =
        |entry: &&Descriptor| entry.annotation("org.opencontainers.image.ref.name") == Some(tag);
    let entry = index.children().iter().find(named).expect("the tag");
    assert_eq!(
        (&entry.digest, entry.size),
        (expected.digest(), expected.size())
    );
    assert_eq!(&entry.media_type, media_type);
    let mut todo = vec![entry.clone()];
    while let Some(next) = todo.pop() {
        let path = layout.join("blobs/sha256").join(next.digest.hex());
        let content = fs::read(path).expect("the blob is there");
        assert!(next.digest.matches(&content), "{next:?} is damaged");
        if next.media_type.is_manifest() {
            let found = manifest(content);
            todo.extend(found.children().iter().chain(found.blobs()).cloned());
        }
    }
}

/// Checks that a registry has the referrer, and lists it under the fallback
/// tag.
pub(super) async fn assert_referrer(at: &Server, repository: &str, published: &Published) {
    let Published {
        index,
        referrer,
        document,
    } = published;
    let tag = fallback_tag(index.digest());
    let list = manifest(skopeo_raw(&at.docker(&format!("{repository}:{tag}"))));
    assert_lists(&list, referrer);
    let name = format!("{repository}@{}", referrer.digest());
    assert_eq!(skopeo_raw(&at.docker(&name)), referrer.bytes()[..]);
    let digest = Digest::sha256(document);
    assert_eq!(
        get(at, &format!("{repository}/blobs/{digest}")).await,
        *document
    );
}

/// Checks that a layout has the referrer, and lists it under the fallback tag.
pub(super) fn assert_referrer_in_layout(layout: &Path, published: &Published) {
    let Published {
        index,
        referrer,
        document,
    } = published;
    let tag = fallback_tag(index.digest());
    let list = manifest(skopeo_raw(&format!("oci:{}:{tag}", layout.display())));
    assert_lists(&list, referrer);
    for content in [&referrer.bytes()[..], document] {
        let path = layout
            .join("blobs/sha256")
            .join(Digest::sha256(content).hex());
        assert_eq!(fs::read(path).expect("the blob is there"), content);
    }
}

/// Checks that a list of referrers has this one, and no other.
pub(super) fn assert_lists(list: &Manifest, referrer: &Manifest) {
    assert_eq!(list.children(), [referrer.referrer_descriptor()]);
}

/// Parses a manifest that may not say its own type: skopeo's OCI ones do not.
pub(super) fn manifest(bytes: Vec<u8>) -> Manifest {
    Manifest::parse(bytes.into(), None).expect("a manifest")
}

/// The body at a path below `/v2/`.
pub(super) async fn get(from: &Server, path: &str) -> Vec<u8> {
    let url = format!("http://{}/v2/{path}", from.address);
    let response = client().get(url).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK, "GET {path}");
    response.bytes().await.expect("a body").to_vec()
}

async fn put_manifest(to: &Server, repository: &str, reference: &str, manifest: &Manifest) {
    let url = format!(
        "http://{}/v2/{repository}/manifests/{reference}",
        to.address
    );
    let url: Url = url.parse().expect("a URL");
    let media_type = manifest.media_type().as_str();
    send(Method::PUT, url, media_type, manifest.bytes().to_vec()).await;
}

async fn put_blob(to: &Server, repository: &str, media_type: &str, content: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(MediaType::new(media_type), content);
    let url = format!("http://{}/v2/{repository}/blobs/uploads/", to.address);
    let url: Url = url.parse().expect("a URL");
    let bytes = "application/octet-stream";
    let begun = send(Method::POST, url.clone(), bytes, Vec::new()).await;
    let location = begun.headers()["location"].to_str().expect("a location");
    let mut upload = url.join(location).expect("a location");
    upload
        .query_pairs_mut()
        .append_pair("digest", descriptor.digest.as_str());
    send(Method::PUT, upload, bytes, content.to_vec()).await;
    descriptor
}

async fn send(method: Method, url: Url, media_type: &str, body: Vec<u8>) -> reqwest::Response {
    let request = client().request(method.clone(), url.clone());
    let request = request.header("content-type", media_type).body(body);
    let response = request.send().await.expect("an answer");
    assert!(
        response.status().is_success(),
        "{method} {url}: {}",
        response.status()
    );
    response
}
