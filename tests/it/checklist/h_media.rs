//! Media types. More of H6 is in `sync_jobs.rs`, of H7 in `src/oci`.

use std::time::Duration;

use regmirror::app::RetryPolicy;
use regmirror::layout::LayoutStore;
use regmirror::oci::{
    Annotations, Descriptor, Digest, Draft, Manifest, MediaType, Platform, Repository,
};
use regmirror::store::{Blob, Sink, Source};
use serde_json::{Value, json};

use crate::support::Fault;
use crate::support::bench::{Bench, failures};
use crate::support::images::{complete, push, push_blob, push_image, push_index, repo, tagged};

const IMAGE: &str = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";

fn app() -> Repository {
    repo("app")
}

/// A blob of the source, as a descriptor of this type.
async fn blob(bench: &Bench, media_type: &str, content: &[u8]) -> Descriptor {
    let descriptor = push_blob(bench.source.store(), &app(), content).await;
    Descriptor {
        media_type: MediaType::new(media_type),
        ..descriptor
    }
}

/// Puts a document at the source as it is, tagged `1`.
async fn put(bench: &Bench, document: &str) -> Manifest {
    let manifest = Manifest::parse(document.to_owned().into(), None).expect("a manifest");
    push(bench.source.store(), &app(), Some("1"), &manifest).await;
    manifest
}

/// Copies the tag, and checks that the target has the same bytes and all that
/// they point at.
async fn arrives(bench: &Bench, manifest: &Manifest) {
    arrives_by(bench, manifest, IMAGE).await;
}

async fn arrives_by(bench: &Bench, manifest: &Manifest, job: &str) {
    let summary = bench.run(&[job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let target = bench.target.store();
    let found = tagged(target, &app(), "1").await;
    assert_eq!(found.as_ref(), Some(manifest.digest()));
    let arrived = target.manifest(&app(), manifest.digest()).await.unwrap();
    assert_eq!(arrived.bytes(), manifest.bytes());
    assert_eq!(arrived.media_type(), manifest.media_type());
    complete(target, &app(), manifest.digest()).await.unwrap();
}

/// The one failure of a run.
async fn fails(bench: &Bench) -> String {
    let summary = bench.run(&[IMAGE]).await;
    let mut said = failures(&summary);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(tagged(bench.target.store(), &app(), "1").await, None);
    said.remove(0)
}

#[tokio::test]
async fn h1_types_that_nobody_knows_are_copied() {
    let bench = Bench::new().await;
    let config = blob(&bench, "application/vnd.acme.model.config.v9+cbor", b"\x80").await;
    let layers = [
        blob(&bench, "application/vnd.acme.weights", b"\0\x01\x02").await,
        blob(&bench, "text/markdown", b"# read me").await,
    ];
    let image = put(
        &bench,
        &json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": "application/vnd.acme.model",
            "config": config,
            "layers": layers,
            "x-acme": {"members": ["of", "its", "own"]},
        })
        .to_string(),
    )
    .await;
    arrives(&bench, &image).await;

    // A manifest of an unknown type in an index is a blob to a registry.
    let bench = Bench::new().await;
    let odd = blob(&bench, "application/vnd.acme.manifest.v1+json", b"{}").await;
    let index = put(&bench, &Draft::index(&[odd]).build_text()).await;
    arrives(&bench, &index).await;
}

/// What a draft says.
trait BuildText {
    fn build_text(self) -> String;
}

impl BuildText for Draft {
    fn build_text(self) -> String {
        String::from_utf8(self.build().bytes().to_vec()).expect("JSON is UTF-8")
    }
}

#[tokio::test]
async fn h2_bytes_are_not_encoded_anew() {
    let bench = Bench::new().await;
    let config = blob(&bench, MediaType::OCI_CONFIG.as_str(), b"{}").await;
    let layer = blob(&bench, MediaType::OCI_LAYER_GZIP.as_str(), b"x").await;
    // Unusual order, spaces, escapes, numbers and a line at the end.
    let text = format!(
        "\n{{ \"layers\" : [\t{} ],\r\n \"annotations\":{{\"b\":\"\\u0041\\/\",\"a\":\"\"}},\n \
         \"x\": 1.0e2, \"config\":{}, \"schemaVersion\": 2 }}\n\n",
        json!(layer),
        json!(config)
    );
    let image = put(&bench, &text).await;
    assert_eq!(image.bytes(), text.as_bytes());
    arrives(&bench, &image).await;
    assert_eq!(image.digest(), &Digest::sha256(text.as_bytes()));
}

#[tokio::test]
async fn h3_only_what_may_not_be_passed_on_is_left_out() {
    let bench = Bench::new().await;
    let urls = Some(vec!["https://example.invalid/layer".to_owned()]);
    let mut layers = Vec::new();
    for (kind, there) in [
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            false,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            false,
        ),
        ("application/vnd.oci.image.layer.v1.tar+gzip", true),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
    ] {
        let layer = match there {
            true => blob(&bench, kind, kind.as_bytes()).await,
            // The registry it comes from need not have it either.
            false => Descriptor::of(MediaType::new(kind), kind.as_bytes()),
        };
        let urls = urls.clone();
        layers.push(Descriptor { urls, ..layer });
    }
    let config = blob(&bench, MediaType::OCI_CONFIG.as_str(), b"{}").await;
    put(&bench, &Draft::image(&config, &layers).build_text()).await;
    let summary = bench.run(&[IMAGE]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let totals = &summary.totals;
    assert_eq!((totals.blobs_withheld, totals.blobs_copied), (2, 3));
    for (number, layer) in layers.iter().enumerate() {
        let target = bench.target.store();
        let there = target.has_blob(&app(), layer).await.unwrap();
        assert_eq!(there, number >= 2, "{}", layer.media_type);
        if number < 2 {
            for side in [&bench.source, &bench.target] {
                let asked = side.seen();
                let asked = asked.iter().any(|it| it.path.contains(layer.digest.hex()));
                assert!(!asked, "{}", layer.media_type);
            }
        }
    }
}

#[tokio::test]
async fn h4_attestations_go_with_the_images_they_attest() {
    let bench = Bench::new().await;
    let source = bench.source.store();
    let image = push_image(source, &app(), None, &[b"layer"]).await;
    let statement = blob(&bench, "application/vnd.in-toto+json", b"{}").await;
    let attestation = Draft::image(&statement, std::slice::from_ref(&statement)).build();
    push(source, &app(), None, &attestation).await;
    let annotations: Annotations = [
        ("vnd.docker.reference.type", "attestation-manifest"),
        ("vnd.docker.reference.digest", image.digest().as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let platform = |text: &str| text.parse::<Platform>().ok();
    let children = [
        Descriptor {
            platform: platform("linux/amd64"),
            ..image.descriptor()
        },
        Descriptor {
            platform: platform("unknown/unknown"),
            annotations: Some(annotations),
            ..attestation.descriptor()
        },
    ];
    let index = put(&bench, &Draft::index(&children).build_text()).await;
    arrives(&bench, &index).await;
    let target = bench.target.store();
    let there = target.manifest(&app(), attestation.digest()).await;
    assert_eq!(there.unwrap().bytes(), attestation.bytes());
}

#[tokio::test]
async fn h5_a_source_that_lacks_a_part_of_its_index_is_told_which() {
    let bench = Bench::new().await;
    let (source, target) = (bench.source.store(), bench.target.store());
    let index = push_index(source, &app(), "1").await;
    let child = index.children()[1].digest.clone();
    source
        .delete_manifest(&app(), &child.clone().into())
        .await
        .unwrap();
    let said = fails(&bench).await;
    let words = format!(
        "could not copy {}/app@{child}: not found: the index {} lists it, but the source does \
         not have it",
        bench.source.address(),
        index.digest()
    );
    assert!(said.contains(&words), "{words}: {said}");

    // One that the target has already is not missed.
    let rescued = push_index(target, &app(), "1").await;
    assert_eq!(rescued.digest(), index.digest());
    let again = IMAGE.replace("TARGET/app:1", "TARGET/app:2");
    let summary = bench.run(&[&again]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    complete(target, &app(), index.digest()).await.unwrap();
}

#[tokio::test]
async fn h5_a_target_that_misses_a_part_of_an_index_is_quoted() {
    let bench = Bench::new().await;
    let index = push_index(bench.source.store(), &app(), "1").await;
    let child = &index.children()[1].digest;
    let body = json!({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN",
        "message": "blob unknown to registry", "detail": {"digest": child}}]});
    let reply = Fault::reply(400, &[], body.to_string());
    bench.target.on("PUT", "/manifests/1", 9, reply);
    let said = fails(&bench).await;
    assert!(said.contains("content is missing there"), "{said}");
    assert!(said.contains(child.as_str()), "{said}");
    assert!(said.contains("/app:1"), "{said}");
}

/// Eight levels, each of which lists the one below fifty times: 50⁸ ways down.
#[tokio::test]
async fn h6_an_image_that_is_listed_many_times_is_copied_once() {
    let bench = Bench::new().await;
    let source = bench.source.store();
    let mut manifest = push_image(source, &app(), None, &[b"x"]).await;
    for _ in 0..8 {
        let entries = vec![manifest.descriptor(); 50];
        manifest = Draft::index(&entries).build();
        push(source, &app(), Some("1"), &manifest).await;
    }
    let arrives = arrives(&bench, &manifest);
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, arrives).await.expect("an end");
    assert_eq!(bench.source.count("GET /v2/app/manifests/"), 9);
    assert_eq!(bench.target.count("PUT /v2/app/manifests/"), 9);
}

#[tokio::test]
async fn h6_an_index_with_too_many_entries_is_refused_before_it_costs_anything() {
    let bench = Bench::new().await;
    let entries: Vec<Descriptor> = (0..=10_000)
        .map(|n: u32| Descriptor::of(MediaType::OCI_MANIFEST, &n.to_be_bytes()))
        .collect();
    put(&bench, &Draft::index(&entries).build_text()).await;
    let said = fails(&bench).await;
    assert!(said.contains("more than 10000 manifests"), "{said}");
    assert_eq!(bench.source.requests(), 2, "the tag and the index");
    assert_eq!(bench.target.count("P"), 0);
}

#[tokio::test]
async fn h7_schema_1_is_a_failure_of_its_own_and_is_not_tried_again() {
    let retry = || RetryPolicy {
        base: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let old = r#"{"schemaVersion":1,"name":"app","tag":"1","fsLayers":[],"signatures":[]}"#;
    for kind in [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8",
        // Some announce it as they please.
        "application/json",
    ] {
        let bench = Bench::new().await;
        push_image(bench.source.store(), &app(), Some("2"), &[b"x"]).await;
        // Its digest is over something else than its bytes.
        let digest = Digest::sha256(b"the canonical payload").to_string();
        let headers = [
            ("docker-content-digest", digest.as_str()),
            ("content-type", kind),
        ];
        let reply = Fault::reply(200, &headers, old);
        bench.source.on("HEAD", "/manifests/1", 9, reply.clone());
        bench.source.on("GET", &digest, 9, reply);
        let good = IMAGE.replace("app:1", "app:2");
        let summary = bench.run_with(&[IMAGE, &good], retry(), false).await;
        let said = failures(&summary);
        assert_eq!((said.len(), summary.totals.copied), (1, 1), "{said:?}");
        assert!(said[0].contains("schema 1"), "{said:?}");
        assert!(said[0].contains("push the image again"), "{said:?}");
        let asked = format!("GET /v2/app/manifests/{digest}");
        assert_eq!(bench.source.count(&asked), 1, "{kind}");
        for seen in bench.source.seen() {
            let accept = seen.header("accept");
            assert!(!accept.contains("manifest.v1+prettyjws"), "{accept}");
        }
    }

    // As a part of an index.
    let bench = Bench::new().await;
    let kind = MediaType::new("application/vnd.docker.distribution.manifest.v1+json");
    let child = Descriptor::of(kind, old.as_bytes());
    put(&bench, &Draft::index(&[child]).build_text()).await;
    let said = fails(&bench).await;
    assert!(said.contains("schema 1"), "{said}");
}

#[tokio::test]
async fn h8_the_empty_descriptor_and_an_empty_blob_are_copied() {
    let bench = Bench::new().await;
    let source = bench.source.store();
    let empty = Blob::from_bytes(MediaType::OCI_EMPTY, "{}");
    source.put_blob(&app(), empty).await.unwrap();
    let nothing = blob(&bench, "application/vnd.acme.none", b"").await;
    assert_eq!(nothing.size, 0);
    let layers = [nothing.clone(), Descriptor::empty()];
    let artifact = put(
        &bench,
        &Draft::artifact("application/vnd.acme", &layers).build_text(),
    )
    .await;
    arrives(&bench, &artifact).await;

    // Into a layout, and out of it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let path = path.to_str().unwrap();
    let out = format!("source: 'SOURCE/app:1', target: 'ocidir://{path}:1', type: image");
    let back = format!("source: 'ocidir://{path}:1', target: 'TARGET/back:1', type: image");
    for job in [out, back] {
        assert_eq!(failures(&bench.run(&[&job]).await), Vec::<String>::new());
    }
    let layout = LayoutStore::new(path.into());
    let root = Repository::unnamed();
    complete(&layout, &root, artifact.digest()).await.unwrap();
    let target = bench.target.store();
    complete(target, &repo("back"), artifact.digest())
        .await
        .unwrap();
    assert!(target.has_blob(&repo("back"), &nothing).await.unwrap());
}

/// A server that sends more than nothing for a blob of no bytes.
#[tokio::test]
async fn h8_an_empty_blob_may_not_have_content() {
    let bench = Bench::new().await;
    let nothing = blob(&bench, "application/vnd.acme.none", b"").await;
    let config = blob(&bench, MediaType::OCI_CONFIG.as_str(), b"{}").await;
    let digest = nothing.digest.to_string();
    put(&bench, &Draft::image(&config, &[nothing]).build_text()).await;
    let endless = Fault::reply(200, &[], vec![b'x'; 1 << 20]);
    bench.source.on("GET", &digest, 9, endless);
    let said = fails(&bench).await;
    assert!(said.contains(&digest), "{said}");
    assert!(
        said.contains("content does not match its descriptor"),
        "{said}"
    );
}

#[tokio::test]
async fn h9_older_and_rarer_kinds_are_copied() {
    let bench = Bench::new().await;
    let sbom = blob(&bench, "application/spdx+json", b"{}").await;
    let artifact = json!({"mediaType": MediaType::OCI_ARTIFACT,
        "artifactType": "application/vnd.example.sbom", "blobs": [sbom]});
    let artifact = put(&bench, &artifact.to_string()).await;
    // Like regsync, only when it is asked for.
    let summary = bench.run(&[IMAGE]).await;
    assert_eq!((summary.totals.excluded, summary.totals.copied), (1, 0));
    let asked = format!("{IMAGE}, mediaTypes: ['{}']", MediaType::OCI_ARTIFACT);
    arrives_by(&bench, &artifact, &asked).await;

    let image = |media_type: &MediaType, config: &Descriptor, layer: &Descriptor| -> Value {
        json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]})
    };
    for (media_type, config, layer) in [
        (
            MediaType::OCI_MANIFEST,
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
        (
            MediaType::DOCKER_MANIFEST,
            "application/vnd.docker.plugin.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
    ] {
        let bench = Bench::new().await;
        let config = blob(&bench, config, b"{\"a\":1}").await;
        let layer = blob(&bench, layer, b"layer").await;
        let document = image(&media_type, &config, &layer).to_string();
        let manifest = put(&bench, &document).await;
        arrives(&bench, &manifest).await;
    }
}

fn with_data(descriptor: Descriptor, content: &[u8]) -> Descriptor {
    use base64::Engine as _;
    Descriptor {
        data: Some(base64::prelude::BASE64_STANDARD.encode(content)),
        ..descriptor
    }
}

#[tokio::test]
async fn b15_embedded_content_is_used_instead_of_a_request() {
    let bench = Bench::new().await;
    let source = bench.source.store();
    let config = with_data(blob(&bench, "a/config", b"config").await, b"config");
    let layer = with_data(blob(&bench, "a/layer", b"layer").await, b"layer");
    let child = Draft::image(&config, &[layer]).build();
    push(source, &app(), None, &child).await;
    let entry = with_data(child.descriptor(), child.bytes());
    let index = put(&bench, &Draft::index(&[entry]).build_text()).await;
    arrives(&bench, &index).await;
    let by_digest = format!("GET /v2/app/manifests/{} 200", index.digest());
    assert_eq!(
        bench.source.log(),
        ["HEAD /v2/app/manifests/1 200".to_owned(), by_digest]
    );
}

#[tokio::test]
async fn b15_embedded_content_that_is_another_fails_the_tag() {
    for (data, size, words) in [
        (&b"other"[..], 5, "another digest"),
        (b"others", 5, "has 6 bytes, while the size is 5"),
    ] {
        // As a config, and as the part of an index. Whether the target has the
        // content already makes no difference.
        for present in [false, true] {
            let bench = Bench::new().await;
            let config = blob(&bench, "a/config", b"right").await;
            if present {
                push_blob(bench.target.store(), &app(), b"right").await;
            }
            assert_eq!(config.size, size);
            let config = with_data(config, data);
            put(&bench, &Draft::image(&config, &[]).build_text()).await;
            let said = fails(&bench).await;
            assert!(said.contains(words), "{words}: {said}");
            assert_eq!(bench.target.count("P"), 0, "nothing is sent");
        }
    }
    let bench = Bench::new().await;
    let child = push_image(bench.source.store(), &app(), None, &[b"x"]).await;
    let other = vec![b' '; child.bytes().len()];
    let entry = with_data(child.descriptor(), &other);
    put(&bench, &Draft::index(&[entry]).build_text()).await;
    let said = fails(&bench).await;
    assert!(said.contains("another digest"), "{said}");
}
