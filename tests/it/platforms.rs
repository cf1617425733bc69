//! `platform`, `platforms` and `platformIndex`: a part of an index.

use std::collections::BTreeMap;

use proptest::prelude::*;
use regmirror::oci::{Descriptor, Digest, Draft, Manifest, MediaType, Platform, with_children};
use regmirror::store::Source as _;

use crate::support::Fault;
use crate::support::bench::{Bench, failures};
use crate::support::images::{complete, push, push_image, repo, tagged};

const JOB: &str = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";

/// An index of images for three platforms, each with an attestation.
struct Seeded {
    index: Manifest,
    images: BTreeMap<&'static str, Digest>,
    attestations: BTreeMap<&'static str, Digest>,
}

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/arm/v7"];

async fn seeded(bench: &Bench) -> Seeded {
    let (store, app) = (bench.source.store(), repo("app"));
    let (mut images, mut attestations) = (BTreeMap::new(), BTreeMap::new());
    let (mut children, mut about) = (Vec::new(), Vec::new());
    for name in PLATFORMS {
        let image = push_image(store, &app, None, &[b"base", name.as_bytes()]).await;
        let platform: Platform = name.parse().unwrap();
        children.push(Descriptor {
            platform: Some(platform),
            ..image.descriptor()
        });
        let statement = format!("attestation of {name}");
        let attestation = push_image(store, &app, None, &[statement.as_bytes()]).await;
        about.push(Descriptor {
            platform: Some("unknown/unknown".parse().unwrap()),
            annotations: Some(
                [
                    ("vnd.docker.reference.type", "attestation-manifest"),
                    ("vnd.docker.reference.digest", image.digest().as_str()),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ),
            ..attestation.descriptor()
        });
        images.insert(name, image.digest().clone());
        attestations.insert(name, attestation.digest().clone());
    }
    children.extend(about);
    let index = Draft::index(&children).annotation("kept", "yes").build();
    push(store, &app, Some("1"), &index).await;
    Seeded {
        index,
        images,
        attestations,
    }
}

async fn has(bench: &Bench, digest: &Digest) -> bool {
    let found = bench
        .target
        .store()
        .resolve(&repo("app"), &digest.clone().into())
        .await;
    found.unwrap().is_some()
}

#[tokio::test]
async fn h4_platform_makes_the_tag_one_image_and_is_recognised_without_a_copy() {
    let bench = Bench::new().await;
    let seeded = seeded(&bench).await;
    let job = format!("{JOB}, platform: linux/aarch64");
    let summary = bench.run(&[&job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let image = &seeded.images["linux/arm64"];
    let target = bench.target.store();
    assert_eq!(
        tagged(target, &repo("app"), "1").await.as_ref(),
        Some(image)
    );
    complete(target, &repo("app"), image).await.unwrap();
    assert!(!has(&bench, &seeded.images["linux/amd64"]).await);

    bench.clear_logs();
    let again = bench.run(&[&job]).await;
    assert_eq!((again.totals.unchanged, again.totals.copied), (1, 0));
    assert_eq!(
        bench.source.count("GET"),
        1,
        "the index, and no child: {:?}",
        bench.source.log()
    );
    assert_eq!(bench.target.count("PUT"), 0);
}

#[tokio::test]
async fn h4_an_image_without_an_index_is_copied_as_it_is() {
    let bench = Bench::new().await;
    let image = push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    for more in [
        "platform: linux/arm64",
        "platforms: [linux/arm64], platformIndex: rewrite",
    ] {
        let summary = bench.run(&[&format!("{JOB}, {more}")]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        let found = tagged(bench.target.store(), &repo("app"), "1").await;
        assert_eq!(found.as_ref(), Some(image.digest()));
        // That it is none is seen at the target, where it is no pull.
        bench.clear_logs();
        assert_eq!(
            bench
                .run(&[&format!("{JOB}, {more}")])
                .await
                .totals
                .unchanged,
            1
        );
        assert_eq!(bench.source.count("GET"), 0, "{:?}", bench.source.log());
    }
}

#[tokio::test]
async fn a_target_with_the_whole_index_gets_the_platform_s_image() {
    let bench = Bench::new().await;
    let seeded = seeded(&bench).await;
    bench.run(&[JOB]).await;
    let summary = bench.run(&[&format!("{JOB}, platform: linux/amd64")]).await;
    assert_eq!((failures(&summary), summary.totals.copied), (Vec::new(), 1));
    let found = tagged(bench.target.store(), &repo("app"), "1").await;
    assert_eq!(found.as_ref(), Some(&seeded.images["linux/amd64"]));
}

#[tokio::test]
async fn h4_a_platform_that_is_not_there_fails_and_tells_what_is() {
    let bench = Bench::new().await;
    seeded(&bench).await;
    for more in [
        "platform: linux/s390x",
        "platforms: [linux/s390x, windows/amd64]",
        "platforms: [linux/s390x], platformIndex: rewrite",
    ] {
        let summary = bench.run(&[&format!("{JOB}, {more}")]).await;
        let said = failures(&summary);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("linux/s390x") && said[0].contains("linux/arm/v7"),
            "{said:?}"
        );
        assert!(!said[0].contains("unknown/unknown"), "{said:?}");
        assert_eq!(bench.target.count("PUT"), 0);
    }
}

#[tokio::test]
async fn h5_platforms_leave_the_index_as_it_is_and_bring_what_is_wanted_of_it() {
    let bench = Bench::new().await;
    let seeded = seeded(&bench).await;
    // A registry that looks whether an index is whole refuses it.
    bench.target.on(
        "PUT",
        "/manifests/1",
        1,
        Fault::reply(
            201,
            &[("Docker-Content-Digest", seeded.index.digest().as_str())],
            "",
        ),
    );
    let job = format!("{JOB}, platforms: [linux/amd64, linux/arm/v7]");
    let summary = bench.run(&[&job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let put = bench.target.seen();
    let put = put
        .iter()
        .find(|seen| seen.method == "PUT" && seen.path.ends_with("/manifests/1"));
    assert!(put.is_some(), "{:?}", bench.target.log());
    for name in PLATFORMS {
        let wanted = name != "linux/arm64";
        assert_eq!(has(&bench, &seeded.images[name]).await, wanted, "{name}");
        assert_eq!(
            has(&bench, &seeded.attestations[name]).await,
            wanted,
            "{name}'s attestation"
        );
    }
}

#[tokio::test]
async fn h5_a_target_that_wants_the_whole_index_says_what_to_set() {
    let bench = Bench::new().await;
    seeded(&bench).await;
    let refusal = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"manifest unknown"}]}"#;
    bench.target.on(
        "PUT",
        "/manifests/1",
        usize::MAX,
        Fault::reply(404, &[], refusal),
    );
    let job = format!("{JOB}, platforms: [linux/amd64]");
    let said = failures(&bench.run(&[&job]).await);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("platformIndex: rewrite"), "{said:?}");
    assert_eq!(
        bench.target.count("PUT /v2/app/manifests/1"),
        2,
        "it is tried once more"
    );
}

#[tokio::test]
async fn h5_a_rewritten_index_lists_what_was_copied_and_is_recognised() {
    let bench = Bench::new().await;
    let seeded = seeded(&bench).await;
    let (target, app) = (bench.target.store(), repo("app"));
    let job = format!("{JOB}, platforms: [linux/amd64, linux/arm64], platformIndex: rewrite");
    let summary = bench.run(&[&job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let digest = tagged(target, &app, "1").await.unwrap();
    let index = target.manifest(&app, &digest).await.unwrap();
    let listed: Vec<&Digest> = index.children().iter().map(|child| &child.digest).collect();
    let (images, about) = (&seeded.images, &seeded.attestations);
    let expected = ["linux/amd64", "linux/arm64"];
    let expected: Vec<&Digest> = expected
        .iter()
        .map(|name| &images[name])
        .chain(expected.iter().map(|name| &about[name]))
        .collect();
    assert_eq!(listed, expected, "in the order of the source");
    assert_eq!(index.annotation("kept"), Some("yes"));
    complete(target, &app, &digest).await.unwrap();

    bench.clear_logs();
    let again = bench.run(&[&job]).await;
    assert_eq!((again.totals.unchanged, again.totals.copied), (1, 0));
    assert_eq!(
        bench.source.log().len(),
        2,
        "a HEAD and the index: {:?}",
        bench.source.log()
    );
    assert_eq!(
        bench.target.log().len(),
        1,
        "a HEAD: {:?}",
        bench.target.log()
    );

    // Another choice is another index.
    let fewer = format!("{JOB}, platforms: [linux/arm64], platformIndex: rewrite");
    let summary = bench.run(&[&fewer]).await;
    assert_eq!(summary.totals.copied, 1);
    // All of them are the index as it was.
    let all =
        format!("{JOB}, platforms: [linux/arm64, linux/amd64, linux/arm], platformIndex: rewrite");
    bench.run(&[&all]).await;
    let whole = tagged(target, &app, "1").await;
    assert_eq!(whole.as_ref(), Some(seeded.index.digest()));
}

#[tokio::test]
async fn a_rewritten_index_keeps_the_backup_s_rules() {
    let bench = Bench::new().await;
    seeded(&bench).await;
    let job = format!("{JOB}, platforms: [linux/amd64], platformIndex: rewrite, backup: old");
    for copied in [1, 0] {
        let summary = bench.run(&[&job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_eq!((summary.totals.copied, summary.totals.backups), (copied, 0));
    }
}

proptest! {
    #[test]
    fn what_is_kept_of_an_index_stays_in_order_and_whole(
        picks in prop::collection::vec(any::<bool>(), 1..12),
    ) {
        let children: Vec<Descriptor> = (0..picks.len())
            .map(|number| Descriptor::of(MediaType::OCI_MANIFEST, &number.to_le_bytes()))
            .collect();
        let index = Draft::index(&children).annotation("a", "b").build();
        let kept: Vec<&Descriptor> = children.iter().zip(&picks).filter(|(_, pick)| **pick).map(|(child, _)| child).collect();
        let keep = |digest: &Digest| kept.iter().any(|child| child.digest == *digest);
        let bytes = with_children(&index, keep).unwrap();
        let rewritten = Manifest::parse(bytes.clone(), Some(index.media_type())).unwrap();
        prop_assert_eq!(rewritten.children().iter().collect::<Vec<_>>(), kept.clone());
        prop_assert_eq!(rewritten.annotation("a"), Some("b"));
        prop_assert_eq!(with_children(&rewritten, keep).unwrap(), bytes, "again it is the same");
    }
}
