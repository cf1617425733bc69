//! What goes with an image: chosen referrers, and digest tags.

use regmirror::oci::{Digest, Draft, Manifest, Repository, fallback_tag};
use regmirror::store::{Sink as _, Source as _};

use crate::support::bench::{Bench, failures};
use crate::support::images::{
    complete, push, push_blob, push_image, push_index, push_referrer, repo, tagged,
};
use crate::support::{Fault, TestRegistry};

const JOB: &str = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";

/// The types of an image's referrers.
async fn kinds(registry: &TestRegistry, of: &Repository, subject: &Manifest) -> Vec<String> {
    let listed = registry
        .store()
        .referrers(of, subject.digest())
        .await
        .unwrap();
    let mut kinds: Vec<String> = listed
        .into_iter()
        .filter_map(|found| found.artifact_type)
        .collect();
    kinds.sort();
    kinds
}

async fn push_annotated(bench: &Bench, subject: &Manifest, kind: &str, signer: &str) -> Manifest {
    let (store, app) = (bench.source.store(), repo("app"));
    let blob = push_blob(store, &app, format!("{kind} by {signer}").as_bytes()).await;
    push_blob(store, &app, b"{}").await;
    let referrer = Draft::artifact(kind, &[blob])
        .subject(subject)
        .annotation("signer", signer)
        .build();
    push(store, &app, None, &referrer).await;
    referrer
}

#[tokio::test]
async fn filters_choose_referrers_by_type_and_annotation_at_every_level() {
    for (filters, expected) in [
        ("[]", vec!["sbom", "sig", "sig"]),
        ("[{artifactType: sbom}]", vec!["sbom"]),
        (
            "[{artifactType: sig, annotations: {signer: me}}]",
            vec!["sig"],
        ),
        ("[{annotations: {signer: ''}}]", vec!["sig", "sig"]),
        (
            "[{artifactType: sbom}, {annotations: {signer: you}}]",
            vec!["sbom", "sig"],
        ),
        ("[{artifactType: none}]", vec![]),
    ] {
        let bench = Bench::new().await;
        let (store, app) = (bench.source.store(), repo("app"));
        let image = push_image(store, &app, Some("1"), &[b"x"]).await;
        let sbom = push_referrer(store, &app, &image, "sbom").await;
        push_annotated(&bench, &image, "sig", "me").await;
        push_annotated(&bench, &image, "sig", "you").await;
        push_annotated(&bench, &sbom, "sig", "me").await;
        let job = format!("{JOB}, referrers: true, referrerFilters: {filters}");
        let summary = bench.run(&[&job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_eq!(
            kinds(&bench.target, &app, &image).await,
            expected,
            "{filters}"
        );
        // The filter holds for what refers to referrers as well.
        let deeper = if filters == "[]" { vec!["sig"] } else { vec![] };
        assert_eq!(kinds(&bench.target, &app, &sbom).await, deeper, "{filters}");

        bench.clear_logs();
        let again = bench.run(&[&job]).await;
        assert_eq!(
            (again.totals.unchanged, again.totals.referrers),
            (1, 0),
            "{filters}"
        );
        for side in [&bench.source, &bench.target] {
            assert_eq!(side.log().len(), 2, "a HEAD and a list: {:?}", side.log());
        }
    }
}

#[tokio::test]
async fn referrer_slow_reads_what_a_listing_does_not_show() {
    for (slow, expected) in [(false, vec![]), (true, vec!["sig"])] {
        let bench = Bench::new().await;
        let app = repo("app");
        let image = push_image(bench.source.store(), &app, Some("1"), &[b"x"]).await;
        let signature = push_annotated(&bench, &image, "sig", "me").await;
        let mut bare = signature.referrer_descriptor();
        bare.annotations = None;
        let list = String::from_utf8(regmirror::oci::referrers_index(&[bare]).to_vec()).unwrap();
        let kind = ("Content-Type", "application/vnd.oci.image.index.v1+json");
        bench.source.on(
            "GET",
            "/referrers/",
            usize::MAX,
            Fault::reply(200, &[kind], list),
        );
        let filters = "referrerFilters: [{annotations: {signer: me}}]";
        let job = format!("{JOB}, referrers: true, {filters}, referrerSlow: {slow}");
        // The list says this of every subject: only the image's own counts.
        let summary = bench.run(&[&job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_eq!(
            kinds(&bench.target, &app, &image).await,
            expected,
            "slow: {slow}"
        );
    }
}

#[tokio::test]
async fn referrers_may_be_kept_in_other_repositories() {
    let bench = Bench::new().await;
    let (store, app) = (bench.source.store(), repo("app"));
    let image = push_image(store, &app, Some("1"), &[b"x"]).await;
    push_referrer(store, &repo("signatures"), &image, "sig").await;
    let job = format!(
        "{JOB}, referrers: true, referrerSource: SOURCE/signatures, referrerTarget: TARGET/kept"
    )
    .replace("SOURCE", bench.source.address())
    .replace("TARGET", bench.target.address());
    for copied in [1, 0] {
        let summary = bench.run(&[&job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_eq!(summary.totals.copied, copied);
    }
    assert_eq!(kinds(&bench.target, &repo("kept"), &image).await, ["sig"]);
    assert_eq!(
        kinds(&bench.target, &app, &image).await,
        Vec::<String>::new()
    );
    // One that is added later is found where they are.
    push_referrer(store, &repo("signatures"), &image, "sbom").await;
    assert_eq!(bench.run(&[&job]).await.totals.referrers, 1);
    assert_eq!(
        kinds(&bench.target, &repo("kept"), &image).await,
        ["sbom", "sig"]
    );
}

/// Pushes a tag about `subject`.
async fn push_digest_tag(bench: &Bench, subject: &Manifest, ending: &str) -> Digest {
    let name = format!("{}{ending}", fallback_tag(subject.digest()));
    let content = format!("{ending} of {}", subject.digest());
    let image = push_image(
        bench.source.store(),
        &repo("app"),
        Some(&name),
        &[content.as_bytes()],
    )
    .await;
    image.digest().clone()
}

#[tokio::test]
async fn e11_digest_tags_go_with_their_image_and_before_its_tag() {
    let bench = Bench::new().await;
    let app = repo("app");
    let index = push_index(bench.source.store(), &app, "1").await;
    let child = index.children()[0].digest.clone();
    let child = bench.source.store().manifest(&app, &child).await.unwrap();
    let other = push_image(bench.source.store(), &app, None, &[b"other"]).await;
    let mut expected = Vec::new();
    for (subject, ending) in [(&index, ".sig"), (&index, ".att"), (&child, ".sbom")] {
        let digest = push_digest_tag(&bench, subject, ending).await;
        expected.push((
            format!("{}{ending}", fallback_tag(subject.digest())),
            digest,
        ));
    }
    push_digest_tag(&bench, &other, ".sig").await;

    let job = format!("{JOB}, digestTags: true");
    let summary = bench.run(&[&job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let target = bench.target.store();
    for (name, digest) in &expected {
        assert_eq!(
            tagged(target, &app, name).await.as_ref(),
            Some(digest),
            "{name}"
        );
        complete(target, &app, digest).await.unwrap();
    }
    let strange = format!("{}.sig", fallback_tag(other.digest()));
    assert_eq!(tagged(target, &app, &strange).await, None);
    let put: Vec<String> = bench
        .target
        .log()
        .into_iter()
        .filter(|line| line.starts_with("PUT /v2/app/manifests/"))
        .collect();
    assert!(put.last().unwrap().contains("/manifests/1 "), "{put:?}");

    bench.clear_logs();
    let again = bench.run(&[&job]).await;
    assert_eq!((again.totals.unchanged, again.totals.copied), (1, 0));
    assert_eq!(
        bench.source.count("GET"),
        1,
        "the list of tags: {:?}",
        bench.source.log()
    );
    assert_eq!(bench.target.count("PUT"), 0);

    // A signature that comes later, and one that is replaced.
    let late = push_digest_tag(&bench, &index, ".late").await;
    let name = format!("{}.sig", fallback_tag(index.digest()));
    let moved = push_image(bench.source.store(), &app, Some(&name), &[b"signed again"]).await;
    let summary = bench.run(&[&job]).await;
    assert_eq!((summary.totals.copied, summary.totals.referrers), (1, 2));
    assert_eq!(
        tagged(target, &app, &name).await.as_ref(),
        Some(moved.digest())
    );
    let name = format!("{}.late", fallback_tag(index.digest()));
    assert_eq!(tagged(target, &app, &name).await, Some(late));
}

#[tokio::test]
async fn a_list_of_tags_that_failed_is_not_no_signatures() {
    for status in [401, 403, 429, 500] {
        let bench = Bench::new().await;
        push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
        bench.source.on(
            "GET",
            "/tags/list",
            usize::MAX,
            Fault::reply(status, &[], ""),
        );
        let summary = bench.run(&[&format!("{JOB}, digestTags: true")]).await;
        assert_eq!(
            (summary.totals.failed, summary.totals.copied),
            (1, 0),
            "{status}"
        );
        assert_eq!(
            tagged(bench.target.store(), &repo("app"), "1").await,
            None,
            "{status}"
        );
    }
}

#[tokio::test]
async fn digest_tags_that_lead_in_circles_end() {
    let bench = Bench::new().await;
    let (store, app) = (bench.source.store(), repo("app"));
    let one = push_image(store, &app, Some("1"), &[b"one"]).await;
    let two = push_image(store, &app, Some("2"), &[b"two"]).await;
    for (subject, points_at) in [(&one, &two), (&two, &one), (&one, &one)] {
        let name = format!(
            "{}.x{}",
            fallback_tag(subject.digest()),
            points_at.digest().short().len()
        );
        push(store, &app, Some(&name), points_at).await;
        let own = format!("{}.own", fallback_tag(subject.digest()));
        push(store, &app, Some(&own), subject).await;
    }
    let all = "source: SOURCE/app, target: TARGET/app, type: repository, digestTags: true";
    let summary = bench.run(&[all]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    for name in ["1", "2"] {
        assert!(tagged(bench.target.store(), &app, name).await.is_some());
    }
    assert_eq!(bench.run(&[all]).await.totals.copied, 0);
}

#[tokio::test]
async fn the_fallback_tag_goes_as_a_tag_or_as_referrers() {
    for (more, as_tag) in [
        ("digestTags: true", true),
        ("digestTags: true, referrers: true", false),
    ] {
        let bench = Bench {
            source: TestRegistry::without_referrers().await,
            target: TestRegistry::start().await,
        };
        let (store, app) = (bench.source.store(), repo("app"));
        let image = push_image(store, &app, Some("1"), &[b"x"]).await;
        let signature = push_referrer(store, &app, &image, "sig").await;
        let list = regmirror::oci::referrers_index(&[signature.referrer_descriptor()]);
        let list = Manifest::parse(list, None).unwrap();
        store
            .put_manifest(&app, &list, Some(&fallback_tag(image.digest())))
            .await
            .unwrap();
        let summary = bench.run(&[&format!("{JOB}, {more}")]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        let name = fallback_tag(image.digest());
        let found = tagged(bench.target.store(), &app, name.as_str()).await;
        assert_eq!(found.is_some(), as_tag, "{more}");
        assert_eq!(kinds(&bench.target, &app, &image).await, ["sig"], "{more}");
    }
}

#[tokio::test]
async fn fast_check_looks_at_the_digest_alone() {
    let bench = Bench::new().await;
    let (store, app) = (bench.source.store(), repo("app"));
    let image = push_image(store, &app, Some("1"), &[b"x"]).await;
    let job = format!("{JOB}, referrers: true, digestTags: true");
    bench.run(&[&job]).await;
    push_referrer(store, &app, &image, "sig").await;
    push_digest_tag(&bench, &image, ".sig").await;
    for (key, copied) in [
        ("fastCheck: true", 0),
        ("fastCopy: true", 0),
        ("fastCheck: false", 1),
    ] {
        bench.clear_logs();
        let summary = bench.run(&[&format!("{job}, {key}")]).await;
        assert_eq!(summary.totals.copied, copied, "{key}");
        if copied == 0 {
            for side in [&bench.source, &bench.target] {
                assert_eq!(side.log().len(), 1, "{:?}", side.log());
            }
        }
    }
}
