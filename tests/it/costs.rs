//! What a run costs in requests.

use std::time::Duration;

use regmirror::app::{OpenStores, RetryPolicy, run_once};
use regmirror::config::Config;
use tokio_util::sync::CancellationToken;

use crate::support::bench::{Bench, failures};
use crate::support::images::{push_image, push_index, push_referrer, repo};
use crate::support::{Auth, TestRegistry};

const ALL: &str = "source: SOURCE/app, target: TARGET/app, type: repository, referrers: true";
const IMAGE: &str = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";

/// Requests other than for tokens and those refused for want of one.
fn served(registry: &TestRegistry) -> Vec<String> {
    let log = registry.log().into_iter();
    log.filter(|line| !line.contains(" /token") && !line.ends_with(" 401"))
        .collect()
}

#[tokio::test]
async fn an_unchanged_tag_costs_one_head_on_each_side() {
    for auth in [false, true] {
        let bench = Bench::new().await;
        push_index(bench.source.store(), &repo("app"), "1").await;
        if auth {
            for side in [&bench.source, &bench.target] {
                let (user, password) = ("u".to_owned(), "p".to_owned());
                side.require_auth(Auth::Bearer { user, password });
            }
        }
        assert_eq!(bench.run(&[IMAGE]).await.totals.copied, 1);
        bench.clear_logs();
        assert_eq!(bench.run(&[IMAGE]).await.totals.unchanged, 1);
        for side in [&bench.source, &bench.target] {
            assert_eq!(served(side), ["HEAD /v2/app/manifests/1 200"]);
            assert_eq!(side.count("GET /token"), usize::from(auth));
        }
    }
}

#[tokio::test]
async fn a_shared_blob_is_sent_once_and_mounted_elsewhere() {
    let bench = Bench::new().await;
    for name in ["a", "b", "c", "d"] {
        let layers: [&[u8]; 2] = [b"shared", name.as_bytes()];
        push_image(bench.source.store(), &repo("app"), Some(name), &layers).await;
    }
    let elsewhere = ALL.replace("TARGET/app", "TARGET/copy");
    let summary = bench.run(&[ALL, &elsewhere]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    // One shared layer, four of their own, four configs; each once.
    assert_eq!(bench.source.count("GET /v2/app/blobs/"), 9);
    let log = bench.target.log();
    let sent = |line: &&String| line.starts_with("PUT ") && line.contains("/blobs/uploads/");
    assert_eq!(log.iter().filter(sent).count(), 9, "{log:#?}");
    let mounts = |line: &&String| line.contains("?mount=") && line.ends_with(" 201");
    assert_eq!(log.iter().filter(mounts).count(), 9, "{log:#?}");
}

#[tokio::test]
async fn d2_what_is_pointed_at_is_written_first_and_the_tag_last() {
    let bench = Bench::new().await;
    let index = push_index(bench.source.store(), &repo("app"), "1").await;
    let sbom = push_referrer(bench.source.store(), &repo("app"), &index, "a/b").await;
    bench.run(&[ALL]).await;
    let log = bench.target.log();
    let place = |what: &str| {
        let line = format!("PUT /v2/app/manifests/{what} 201");
        log.iter().position(|seen| *seen == line).expect("written")
    };
    let tag = place("1");
    let referrer = place(sbom.digest().as_str());
    let last_put = log.iter().rposition(|line| line.starts_with("PUT "));
    assert_eq!(last_put, Some(tag), "{log:#?}");
    for child in index.children() {
        assert!(place(child.digest.as_str()) < referrer, "{log:#?}");
    }
}

#[tokio::test]
async fn missing_asks_the_source_nothing_about_tags_that_are_there() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"new"]).await;
    push_image(bench.target.store(), &repo("app"), Some("1"), &[b"old"]).await;
    let summary = bench.run_with(&[IMAGE], RetryPolicy::none(), true).await;
    assert_eq!(summary.totals.excluded, 1);
    assert_eq!(bench.source.log(), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_target_has_is_not_fetched_for_another_tag() {
    let bench = Bench::new().await;
    push_index(bench.source.store(), &repo("app"), "1").await;
    push_index(bench.target.store(), &repo("app"), "1").await;
    let retag = IMAGE.replace("TARGET/app:1", "TARGET/app:2");
    assert_eq!(bench.run(&[&retag]).await.totals.copied, 1);
    assert_eq!(bench.source.log(), ["HEAD /v2/app/manifests/1 200"]);
}

/// Planning that waits for its turn must not keep the places at a registry
/// from the copies that it waits for.
#[tokio::test]
async fn many_tags_in_several_jobs_get_through_one_place_at_a_time() {
    let bench = Bench::new().await;
    for name in 0..40 {
        let content = format!("layer {name}");
        let tag = format!("t{name}");
        push_image(
            bench.source.store(),
            &repo("app"),
            Some(&tag),
            &[content.as_bytes()],
        )
        .await;
    }
    for concurrent in [1, 6] {
        let entries = [format!("{concurrent}a"), format!("{concurrent}b")].map(|to| {
            format!("source: SOURCE/app, target: TARGET/{to}, type: repository, referrers: true")
        });
        let text = bench
            .config(&entries.each_ref().map(String::as_str))
            .replace(
                "tls: disabled",
                &format!("tls: disabled, reqConcurrent: {concurrent}"),
            )
            .replace("skipDockerConfig", "parallel: 2, skipDockerConfig");
        let config = Config::parse(&text, "test").unwrap();
        let stores = std::sync::Arc::new(OpenStores::new(&config, RetryPolicy::none()).unwrap());
        let stop = CancellationToken::new();
        let run = run_once(
            &config,
            &stores,
            regmirror::sync::Audience::default(),
            &stop,
        );
        let summary = tokio::time::timeout(Duration::from_secs(60), run)
            .await
            .expect("nobody waits for a place that nobody gives back");
        assert_eq!((summary.totals.copied, summary.totals.failed), (80, 0));
    }
}

#[tokio::test]
async fn a_job_of_many_tags_does_not_starve_one_of_three() {
    const PLACES: usize = 4;
    let bench = Bench::new().await;
    for (name, tags) in [("many", 100), ("few", 3)] {
        for number in 0..tags {
            let layer = format!("{name} {number}");
            let (of, tag) = (repo(name), format!("v{number:03}"));
            push_image(bench.source.store(), &of, Some(&tag), &[layer.as_bytes()]).await;
        }
    }
    let jobs = ["many", "few"].map(|name| {
        format!("name: {name}, source: SOURCE/{name}, target: TARGET/{name}, type: repository")
    });
    let text = bench.config(&[&jobs[0], &jobs[1]]);
    let with = format!("skipDockerConfig: true, parallel: {PLACES}");
    let text = text.replace("skipDockerConfig: true", &with);
    assert_eq!(bench.run_text(&text).await.totals.copied, 103);
    let put = bench.target.log().into_iter();
    let put: Vec<bool> = put
        .filter(|line| line.starts_with("PUT ") && line.contains("/manifests/v"))
        .map(|line| line.contains("/few/"))
        .collect();
    let last = put.iter().rposition(|few| *few).unwrap();
    // Each of the three waits at most for those who were there before it, which is
    // as many as have places and as many as wait for them.
    let most = 3 * (2 * PLACES + 1);
    assert!(last <= most, "the last of three came as number {last}");
}
