//! Which tags and repositories a job takes.

use bytes::Bytes;
use futures::StreamExt as _;
use regmirror::app::{OpenStores, RetryPolicy};
use regmirror::config::Config;
use regmirror::oci::{Descriptor, Draft, MediaType};
use regmirror::store::{Blob, Sink as _};
use regmirror::sync::{Decision, Memory, Planned, plan};

use crate::support::Fault;
use crate::support::bench::{Bench, failures};
use crate::support::images::{push, push_image, repo, tagged};

const ALL: &str = "source: SOURCE/app, target: TARGET/app, type: repository";

async fn with_tags(tags: &[&str]) -> Bench {
    let bench = Bench::new().await;
    for tag in tags {
        push_image(
            bench.source.store(),
            &repo("app"),
            Some(tag),
            &[tag.as_bytes()],
        )
        .await;
    }
    bench
}

/// Those of the tags that the target has after a run.
async fn taken(bench: &Bench, job: &str, tags: &[&'static str]) -> Vec<&'static str> {
    let summary = bench.run(&[job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let mut taken = Vec::new();
    for tag in tags {
        if tagged(bench.target.store(), &repo("app"), tag)
            .await
            .is_some()
        {
            taken.push(*tag);
        }
    }
    taken
}

/// Why each tag is left out, in the order of the plan.
async fn reasons(bench: &Bench, job: &str) -> Vec<String> {
    let config = Config::parse(&bench.config(&[job]), "test").unwrap();
    let stores = std::sync::Arc::new(OpenStores::new(&config, RetryPolicy::none()).unwrap());
    let stores = stores.of(&config.jobs[0]).unwrap();
    let memory = Memory::default();
    let steps: Vec<_> = plan(&config.jobs[0], stores.readers(), &memory)
        .collect()
        .await;
    let excluded = steps.into_iter().filter_map(|step| {
        let Planned::Step(step) = step else {
            panic!("{step:?}")
        };
        match step.decision {
            Decision::Excluded(reason) => Some(format!("{}: {reason}", step.from)),
            _ => None,
        }
    });
    excluded.collect()
}

#[tokio::test]
async fn allow_deny_and_ranges_choose_and_tell_why() {
    const TAGS: [&str; 6] = ["3.5.0", "v3.5.2", "3.9-rc1", "4.0", "latest", "3.7-alpine"];
    let job = format!("{ALL}, tags: {{semverRange: ['>=3.5.1 <4.0', '^4'], deny: ['4.*']}}");
    let bench = with_tags(&TAGS).await;
    assert_eq!(taken(&bench, &job, &TAGS).await, ["v3.5.2"]);
    assert_eq!(
        reasons(&bench, &job).await,
        [
            "3.5.0: its version is not in >=3.5.1 <4.0 || ^4",
            "3.7-alpine: its version is not in >=3.5.1 <4.0 || ^4",
            "3.9-rc1: its version is not in >=3.5.1 <4.0 || ^4",
            "4.0: denied by 4.*",
            "latest: no version, which semverRange asks for",
        ]
    );
    let job = format!("{ALL}, tags: {{allow: ['[34].*'], deny: ['.*-rc.*']}}");
    assert_eq!(
        reasons(&bench, &job).await,
        [
            "3.9-rc1: denied by .*-rc.*",
            "latest: no allow pattern matches",
            "v3.5.2: no allow pattern matches"
        ]
    );
}

#[tokio::test]
async fn sets_of_tags_are_joined() {
    const TAGS: [&str; 5] = ["1.0", "1.1", "2.0", "edge", "other"];
    for (sets, expected) in [
        (
            "tagSets: [{semverRange: ['^1']}, {allow: [edge]}]",
            vec!["1.0", "1.1", "edge"],
        ),
        (
            "tagSets: [{semverRange: ['^1'], deny: ['1\\.0']}], tags: {allow: [other]}",
            vec!["1.1", "other"],
        ),
        ("tagSets: []", TAGS.to_vec()),
    ] {
        let bench = with_tags(&TAGS).await;
        assert_eq!(
            taken(&bench, &format!("{ALL}, {sets}"), &TAGS).await,
            expected,
            "{sets}"
        );
    }
}

#[tokio::test]
async fn the_latest_are_taken_by_version_or_name() {
    const TAGS: [&str; 5] = ["1.9", "1.10", "1.2", "latest", "zebra"];
    for (latest, expected) in [
        ("{latest: 2}", vec!["1.9", "1.10"]),
        ("{latest: 1, sort: semver, deny: ['1\\.10']}", vec!["1.9"]),
        ("{latest: 2, sort: name}", vec!["latest", "zebra"]),
        ("{latest: 9}", TAGS.to_vec()),
    ] {
        let bench = with_tags(&TAGS).await;
        assert_eq!(
            taken(&bench, &format!("{ALL}, tags: {latest}"), &TAGS).await,
            expected,
            "{latest}"
        );
    }
    let bench = with_tags(&TAGS).await;
    let job = format!("{ALL}, tags: {{latest: 3, deny: [zebra]}}");
    assert_eq!(
        reasons(&bench, &job).await,
        ["zebra: denied by zebra", "latest: not among the latest 3"]
    );
}

#[tokio::test]
async fn signatures_take_no_place_among_the_latest() {
    let bench = with_tags(&["1", "2", "3"]).await;
    let image = push_image(bench.source.store(), &repo("app"), Some("3"), &[b"3"]).await;
    let name = format!("{}.sig", regmirror::oci::fallback_tag(image.digest()));
    push_image(
        bench.source.store(),
        &repo("app"),
        Some(&name),
        &[b"signature"],
    )
    .await;
    let job = format!("{ALL}, tags: {{latest: 2, sort: name}}, digestTags: true");
    assert_eq!(taken(&bench, &job, &["1", "2", "3"]).await, ["2", "3"]);
    assert!(
        tagged(bench.target.store(), &repo("app"), &name)
            .await
            .is_some(),
        "with its image"
    );
    let told = reasons(&bench, &job).await;
    assert!(
        told.contains(&format!("{name}: about an image, and none itself")),
        "{told:?}"
    );
}

#[tokio::test]
async fn the_latest_are_taken_by_when_they_were_created() {
    let bench = Bench::new().await;
    let (store, app) = (bench.source.store(), repo("app"));
    for (tag, created) in [
        ("a", "2024-01-01T00:00:00Z"),
        ("b", "2025-01-01T00:00:00+02:00"),
        ("c", "2023-01-01T00:00:00Z"),
        ("d", ""),
    ] {
        let config = Bytes::from(format!("{{\"created\":\"{created}\",\"tag\":\"{tag}\"}}"));
        let config = Blob::from_bytes(MediaType::OCI_CONFIG, config);
        let descriptor = config.descriptor().clone();
        store.put_blob(&app, config).await.unwrap();
        let image = Draft::image(&descriptor, &[]).build();
        push(store, &app, Some(tag), &image).await;
    }
    // A configuration that is not there has no date, and does no harm.
    let lost = Bytes::from("{\"created\":\"\",\"tag\":\"d\"}");
    let lost = Descriptor::of(MediaType::OCI_CONFIG, &lost);
    let path = format!("/blobs/{}", lost.digest);
    bench
        .source
        .on("GET", &path, usize::MAX, Fault::reply(404, &[], ""));
    // A registry that wants a moment is given one.
    let wait = [("Retry-After", "0")];
    bench
        .source
        .on("GET", "/blobs/", 1, Fault::reply(429, &wait, ""));
    let newest = push_image(store, &app, None, &[b"newest"]).await;
    let index = Draft::index(&[Descriptor {
        ..newest.descriptor()
    }])
    .annotation("org.opencontainers.image.created", "2026-01-01T00:00:00Z")
    .build();
    push(store, &app, Some("e"), &index).await;
    let job = format!("{ALL}, tags: {{latest: 2, sort: created}}");
    assert_eq!(
        taken(&bench, &job, &["a", "b", "c", "d", "e"]).await,
        ["b", "e"]
    );
    // The annotation is enough: the index's image was read to copy it, once.
    assert_eq!(
        bench
            .source
            .count(&format!("GET /v2/app/manifests/{}", newest.digest())),
        1
    );

    // Others would pass for the newest if one could not be read.
    let bench_log = bench.source.log().len();
    bench
        .source
        .on("GET", "/manifests/sha256", 1, Fault::reply(500, &[], ""));
    let said = failures(&bench.run(&[&job]).await);
    assert_eq!(said.len(), 1, "{said:?} {bench_log}");
}

#[tokio::test]
async fn a_listing_that_breaks_off_gives_no_latest() {
    let bench = with_tags(&["1.0", "2.0"]).await;
    bench
        .source
        .on("GET", "/tags/list", usize::MAX, Fault::reply(500, &[], ""));
    let summary = bench.run(&[&format!("{ALL}, tags: {{latest: 1}}")]).await;
    assert_eq!((summary.totals.failed, summary.totals.copied), (1, 0));
}

#[tokio::test]
async fn repositories_are_chosen_by_pattern() {
    let bench = Bench::new().await;
    for name in ["team/a", "team/b", "other/c"] {
        push_image(bench.source.store(), &repo(name), Some("1"), &[b"x"]).await;
    }
    let job = "source: SOURCE, target: TARGET/m, type: registry, \
               repos: {allow: ['team/.*'], deny: ['.*/b']}, tags: {allow: ['1']}";
    let summary = bench.run(&[job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    for (name, there) in [
        ("m/team/a", true),
        ("m/team/b", false),
        ("m/other/c", false),
    ] {
        let found = tagged(bench.target.store(), &repo(name), "1").await;
        assert_eq!(found.is_some(), there, "{name}");
    }
}
