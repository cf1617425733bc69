//! Trying again, and rate limits.

use std::time::{Duration, Instant};

use regmirror::app::{OpenStores, RetryPolicy, run_once};
use regmirror::config::Config;
use regmirror::oci::{Descriptor, Draft};
use regmirror::registry::Credential;
use regmirror::store::{ErrorKind, Source};
use regmirror::sync::RateLimit;
use tokio_util::sync::CancellationToken;

use crate::support::bench::{Bench, failures};
use crate::support::images::{push, push_image, push_index, repo, tag};
use crate::support::{Fault, TestRegistry, registry_client, registry_client_of};

/// Attempts without long waits.
fn quick() -> RetryPolicy {
    RetryPolicy {
        base: Duration::from_millis(2),
        cap: Duration::from_millis(4),
        ..RetryPolicy::default()
    }
}

/// A job, and after it one that brings `b:1` from another registry; one place
/// in the pool for both.
fn beside(bench: &Bench, entry: &str, other: &TestRegistry) -> Config {
    let address = other.address();
    let second = format!("source: '{address}/b:1', target: TARGET/b:1, type: image");
    let text = bench.config(&[entry, &second]).replace(
        "creds:",
        &format!("creds:\n  - {{registry: '{address}', tls: disabled}}"),
    );
    let mut config = Config::parse(&text, "test").unwrap();
    config.parallel = 1;
    config
}

#[tokio::test]
async fn g1_what_passes_is_tried_five_times_in_all() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    let entry = "source: SOURCE/a:1, target: TARGET/a:1, type: image";
    let statuses = [408, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524];
    let faults = statuses.map(Fault::Status).into_iter();
    for fault in faults.chain([Fault::Drop, Fault::Lose]) {
        bench.clear_logs();
        bench.source.on("HEAD", "/a/", 4, fault.clone());
        let run = bench.run_with(&[entry], quick(), false).await;
        assert_eq!(failures(&run), [""; 0], "{fault:?}");
        assert_eq!(bench.source.count("HEAD /v2/a/manifests/1"), 5, "{fault:?}");
    }
    bench.clear_logs();
    bench.source.on("HEAD", "/a/", 5, Fault::Status(503));
    let run = bench.run_with(&[entry], quick(), false).await;
    assert!(failures(&run)[0].contains("503"), "{:?}", failures(&run));
    assert!(
        failures(&run)[0].contains("(5 attempts in "),
        "{:?}",
        failures(&run)
    );
    assert_eq!(bench.source.count("HEAD "), 5);
}

#[tokio::test]
async fn g1_a_name_that_does_not_resolve_is_tried_again() {
    let entry = "source: 'nowhere.invalid/a:1', target: TARGET/a:1, type: image";
    let run = Bench::new().await.run_with(&[entry], quick(), false).await;
    let failed = &failures(&run)[0];
    assert!(failed.contains("(5 attempts in "), "{failed}");
    assert!(failed.contains("temporarily unavailable"), "{failed}");
}

#[tokio::test]
async fn g2_what_stays_is_not_tried_again() {
    let server = TestRegistry::start().await;
    let client = registry_client(&server, Credential::Anonymous);
    for status in [402, 404, 406, 409, 410, 412, 413, 418, 422, 451, 501, 505] {
        server.clear_log();
        server.on("GET", "/tags/list", 1, Fault::Status(status));
        let mut pages = client.tags(&repo("a"));
        let page = futures::StreamExt::next(&mut pages).await;
        page.unwrap().unwrap_err();
        assert_eq!(server.count("GET "), 1, "{status}");
    }
}

#[tokio::test]
async fn g3_no_form_of_retry_after_is_misunderstood() {
    let server = TestRegistry::start().await;
    for (text, wait) in [
        ("60", Some(60)),
        ("86400", Some(900)),
        // An epoch as Docker Hub sends it, here one that is far away.
        ("9999999999", Some(900)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(900)),
        // In the past, and nonsense: tried again as without it.
        ("1746136938", None),
        ("985.86µs", None),
        ("soon", None),
    ] {
        let client = registry_client(&server, Credential::Anonymous);
        server.on(
            "HEAD",
            "/a/",
            1,
            Fault::reply(429, &[("retry-after", text)], ""),
        );
        let found = client.resolve(&repo("a"), &tag("1").into()).await;
        match (found, wait) {
            (Ok(None), None) => {}
            (Err(error), Some(wait)) => {
                let ErrorKind::RateLimited(Some(seen)) = error.kind() else {
                    panic!("{text}: {error}");
                };
                assert!(
                    (wait - 1..=wait).contains(&seen.as_secs()),
                    "{text}: {seen:?}"
                );
                let until = client.allowance().quiet_until.unwrap();
                assert!(until.elapsed() == Duration::ZERO, "{text}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

/// What stands for minutes in these tests.
const SHORT: RetryPolicy = RetryPolicy {
    attempts: 3,
    base: Duration::from_millis(2),
    cap: Duration::from_millis(4),
    patience: Duration::ZERO,
};

#[tokio::test]
async fn g3_a_host_that_wants_silence_holds_no_place_in_the_pool() {
    let bench = Bench::new().await;
    let other = TestRegistry::start().await;
    push_image(bench.source.store(), &repo("a"), Some("1"), &[b"layer a"]).await;
    push_image(other.store(), &repo("b"), Some("1"), &[b"layer b"]).await;
    bench.source.on(
        "GET",
        "/a/blobs/",
        1,
        Fault::reply(429, &[("retry-after", "2")], ""),
    );
    let config = beside(
        &bench,
        "source: SOURCE/a:1, target: TARGET/a:1, type: image",
        &other,
    );
    // The second job comes only when the first has run into the wait.
    other.on("HEAD", "/b/", 1, Fault::Hold);
    let stores = std::sync::Arc::new(OpenStores::new(&config, SHORT).unwrap());
    let began = Instant::now();
    let stop = CancellationToken::new();
    let run = run_once(
        &config,
        &stores,
        regmirror::sync::Audience::default(),
        &stop,
    );
    let watch = async {
        bench
            .source
            .until(|source| source.log().iter().any(|line| line.ends_with(" 429")))
            .await;
        other.held().await;
        other.release();
        bench
            .target
            .until(|target| target.count("PUT /v2/b/manifests/1") == 1)
            .await;
        began.elapsed()
    };
    let (run, other_done) = futures::future::join(run, watch).await;
    assert_eq!(failures(&run), [""; 0]);
    assert_eq!(run.totals.copied, 2);
    assert!(other_done < Duration::from_secs(2), "{other_done:?}");
    assert!(began.elapsed() >= Duration::from_secs(2));
    // Nothing was asked of the host in between.
    let after: Vec<String> = bench.source.log();
    let refused = after
        .iter()
        .position(|line| line.ends_with(" 429"))
        .unwrap();
    assert!(
        after[refused + 1..]
            .iter()
            .all(|line| line.ends_with(" 200")),
        "{after:#?}"
    );
}

#[tokio::test]
async fn g3_planning_waits_for_a_host_that_wants_silence() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    let wait = Fault::reply(429, &[("retry-after", "1")], "");
    bench.source.on("GET", "/tags/list", 1, wait.clone());
    bench.source.on("HEAD", "/manifests/1", 1, wait);
    let entry = "source: SOURCE/a, target: TARGET/a, type: repository";
    let began = Instant::now();
    let run = bench.run_with(&[entry], SHORT, false).await;
    assert_eq!(failures(&run), [""; 0]);
    assert_eq!(run.totals.copied, 1);
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(
        bench.source.log()[..4],
        [
            "GET /v2/a/tags/list?n=1000 429",
            "GET /v2/a/tags/list?n=1000 200",
            "HEAD /v2/a/manifests/1 429",
            "HEAD /v2/a/manifests/1 200",
        ]
    );
}

#[tokio::test]
async fn g4_the_wait_is_the_host_s_and_no_other_s() {
    let (busy, free) = (TestRegistry::start().await, TestRegistry::start().await);
    let client = registry_client(&busy, Credential::Anonymous);
    let other = registry_client(&free, Credential::Anonymous);
    busy.on(
        "HEAD",
        "/a/",
        1,
        Fault::reply(429, &[("retry-after", "1")], ""),
    );
    let (name, one) = (repo("a"), tag("1").into());
    let began = Instant::now();
    let (first, second, elsewhere) = tokio::join!(
        client.resolve(&name, &one),
        async {
            while client.allowance().quiet_until.is_none() {
                tokio::task::yield_now().await;
            }
            client.resolve(&name, &one).await.unwrap();
            began.elapsed()
        },
        async {
            other.resolve(&name, &one).await.unwrap();
            began.elapsed()
        }
    );
    first.unwrap();
    assert!(second >= Duration::from_secs(1), "{second:?}");
    assert!(elsewhere < Duration::from_secs(1), "{elsewhere:?}");

    // Whoever waits can be told to stop.
    busy.on(
        "HEAD",
        "/a/",
        1,
        Fault::reply(429, &[("retry-after", "1")], ""),
    );
    let requests = busy.requests();
    let waiting = client.resolve(&name, &one);
    let stopped = tokio::time::timeout(Duration::from_millis(100), waiting).await;
    stopped.unwrap_err();
    assert_eq!(busy.requests(), requests + 1);
}

#[tokio::test]
async fn g4_who_keeps_silence_for_a_host_can_be_stopped() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    let wait = Fault::reply(429, &[("retry-after", "900")], "");
    bench.source.on("GET", "/blobs/", 1, wait);
    let text = bench.config(&["source: SOURCE/a:1, target: TARGET/a:1, type: image"]);
    let config = Config::parse(&text, "test").unwrap();
    let stores = std::sync::Arc::new(OpenStores::new(&config, SHORT).unwrap());
    let stop = CancellationToken::new();
    let watch = async {
        bench
            .source
            .until(|source| source.log().iter().any(|line| line.ends_with(" 429")))
            .await;
        stop.cancel();
    };
    let (run, ()) = futures::future::join(
        run_once(
            &config,
            &stores,
            regmirror::sync::Audience::default(),
            &stop,
        ),
        watch,
    )
    .await;
    assert!(run.interrupted);
    assert_eq!((run.totals.copied, run.totals.failed), (0, 0));
}

#[tokio::test]
async fn g5_below_the_reserve_images_wait_without_a_place() {
    let bench = Bench::new().await;
    let other = TestRegistry::start().await;
    for name in ["1", "2", "3"] {
        push_image(
            bench.source.store(),
            &repo("a"),
            Some(name),
            &[name.as_bytes()],
        )
        .await;
    }
    push_image(other.store(), &repo("b"), Some("1"), &[b"layer b"]).await;
    bench.source.limit_pulls(5, 100, 21600);
    let mut config = beside(
        &bench,
        "source: SOURCE/a, target: TARGET/a, type: repository",
        &other,
    );
    let reserve = RateLimit {
        min: 4,
        retry: Duration::from_millis(20),
    };
    config.jobs[0].policy.rate_limit = Some(reserve);
    other.on("HEAD", "/b/", 1, Fault::Hold);
    let stores = std::sync::Arc::new(OpenStores::new(&config, quick()).unwrap());
    let stop = CancellationToken::new();
    let watch = async {
        let source = &bench.source;
        // With 5 left the first may go, with 4 the second, with 3 nobody. That
        // is looked at again and again, by HEAD, which costs nothing.
        source
            .until(|source| source.count("GET /v2/a/manifests/") == 2)
            .await;
        let looked = source.count("HEAD ");
        source
            .until(|source| source.count("HEAD ") >= looked + 3)
            .await;
        assert_eq!(
            source.count("GET /v2/a/manifests/"),
            2,
            "{:#?}",
            source.log()
        );
        // Meanwhile the only place in the pool is free.
        other.held().await;
        other.release();
        bench
            .target
            .until(|target| target.count("PUT /v2/b/manifests/1") == 1)
            .await;
        assert_eq!(bench.target.count("PUT /v2/a/manifests/"), 2);
        source.limit_pulls(100, 100, 21600);
    };
    let (run, ()) = futures::future::join(
        run_once(
            &config,
            &stores,
            regmirror::sync::Audience::default(),
            &stop,
        ),
        watch,
    )
    .await;
    assert_eq!(failures(&run), [""; 0]);
    assert_eq!(run.totals.copied, 4);
}

#[tokio::test]
async fn g5_who_waits_for_a_place_is_let_in_by_what_is_left_then() {
    let bench = Bench::new().await;
    let names = ["1", "2", "3", "4"];
    let mut entries = Vec::new();
    for name in names {
        let layer = name.as_bytes();
        push_image(bench.source.store(), &repo("a"), Some(name), &[layer]).await;
        entries.push(format!(
            "source: 'SOURCE/a:{name}', target: 'TARGET/a:{name}', type: image"
        ));
    }
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let mut config = Config::parse(&bench.config(&entries), "test").unwrap();
    config.parallel = 1;
    for job in &mut config.jobs {
        job.policy.rate_limit = Some(RateLimit {
            min: 5,
            retry: Duration::from_millis(20),
        });
    }
    bench.source.limit_pulls(6, 100, 21600);
    // All of them wait for the one place by then.
    bench.source.on("GET", "/manifests/", 1, Fault::Hold);
    let stores = std::sync::Arc::new(OpenStores::new(&config, quick()).unwrap());
    let stop = CancellationToken::new();
    let watch = async {
        let source = &bench.source;
        source.held().await;
        source
            .until(|source| source.count("HEAD ") >= names.len())
            .await;
        source.release();
        // Two may go, with 6 and with 5 left; then there is nothing but looks.
        source
            .until(|source| source.count("GET /v2/a/manifests/") == 2)
            .await;
        let looked = source.count("HEAD ");
        source
            .until(|source| source.count("HEAD ") >= looked + 6)
            .await;
        assert_eq!(source.count("GET /v2/a/manifests/"), 2);
        source.limit_pulls(100, 100, 21600);
    };
    let (run, ()) = futures::future::join(
        run_once(
            &config,
            &stores,
            regmirror::sync::Audience::default(),
            &stop,
        ),
        watch,
    )
    .await;
    assert_eq!(failures(&run), [""; 0]);
    assert_eq!(run.totals.copied, 4);
}

#[tokio::test]
async fn g5_a_429_counts_as_none_left() {
    let bench = Bench::new().await;
    let image = push_image(bench.source.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    let text = bench.config(&["source: SOURCE/a:1, target: TARGET/a:1, type: image"]);
    let mut config = Config::parse(&text, "test").unwrap();
    config.jobs[0].policy.rate_limit = Some(RateLimit {
        min: 1,
        retry: Duration::from_millis(20),
    });
    bench.source.on("GET", "/manifests/", 1, Fault::Status(429));
    let stores = std::sync::Arc::new(OpenStores::new(&config, RetryPolicy::none()).unwrap());
    let run = run_once(
        &config,
        &stores,
        regmirror::sync::Audience::default(),
        &CancellationToken::new(),
    )
    .await;
    assert_eq!(failures(&run), [""; 0]);
    let digest = image.digest();
    assert_eq!(
        bench.source.log()[..4],
        [
            "HEAD /v2/a/manifests/1 200".to_owned(),
            format!("GET /v2/a/manifests/{digest} 429"),
            // Whether there are pulls again is asked for free.
            "HEAD /v2/a/manifests/1 200".to_owned(),
            format!("GET /v2/a/manifests/{digest} 200"),
        ]
    );
}

#[tokio::test]
async fn g5_who_waits_for_pulls_can_be_stopped() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    bench.source.limit_pulls(0, 100, 21600);
    let text = bench.config(&[
        "source: SOURCE/a:1, target: TARGET/a:1, type: image, ratelimit: {min: 1, retry: 6h}",
    ]);
    let config = Config::parse(&text, "test").unwrap();
    let stores = std::sync::Arc::new(OpenStores::new(&config, quick()).unwrap());
    let stop = CancellationToken::new();
    let watch = async {
        bench
            .source
            .until(|source| source.count("HEAD ") == 1)
            .await;
        stop.cancel();
    };
    let (run, ()) = futures::future::join(
        run_once(
            &config,
            &stores,
            regmirror::sync::Audience::default(),
            &stop,
        ),
        watch,
    )
    .await;
    assert!(run.interrupted);
    assert_eq!((run.totals.copied, run.totals.failed), (0, 0));
    assert_eq!(bench.source.count("GET "), 0, "{:#?}", bench.source.log());
}

#[tokio::test]
async fn g5_without_a_reserve_the_limit_is_told() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    bench.source.limit_pulls(0, 100, 21600);
    let entry = "source: SOURCE/a:1, target: TARGET/a:1, type: image";
    let run = bench.run_with(&[entry], quick(), false).await;
    let failed = &failures(&run)[0];
    assert!(failed.contains("rate limited"), "{failed}");
    assert!(
        failed.contains("You have reached your pull rate limit"),
        "{failed}"
    );
}

#[tokio::test]
async fn g6_an_unchanged_tag_costs_no_pull_and_a_changed_one_only_what_is_new() {
    let bench = Bench::new().await;
    let index = push_index(bench.source.store(), &repo("a"), "1").await;
    let entry = "source: SOURCE/a:1, target: TARGET/a:1, type: image";
    bench.source.limit_pulls(100, 100, 21600);
    bench.run(&[entry]).await;
    assert_eq!(bench.source.count("GET /v2/a/manifests/"), 3);

    bench.clear_logs();
    assert_eq!(bench.run(&[entry]).await.totals.unchanged, 1);
    assert_eq!(bench.source.log(), ["HEAD /v2/a/manifests/1 200"]);

    // The same children under another index.
    let children = index.children().to_vec();
    let again = Draft::index(&children[..1]).build();
    push(bench.source.store(), &repo("a"), Some("1"), &again).await;
    bench.clear_logs();
    assert_eq!(bench.run(&[entry]).await.totals.copied, 1);
    assert_eq!(
        bench.source.count("GET /v2/a/manifests/"),
        1,
        "{:#?}",
        bench.source.log()
    );
}

#[tokio::test]
async fn g7_docker_hub_s_429_is_understood_in_every_form() {
    let server = TestRegistry::start().await;
    let json = "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"You have reached your \
                unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit\"}]}";
    for (kind, body, says) in [
        ("application/json", json, "unauthenticated pull rate limit"),
        (
            "text/plain",
            "Too Many Requests (HAP429).\n",
            "Too Many Requests (HAP429).",
        ),
        ("text/plain", "Ref A: 1 Ref B: 2", "Ref A: 1 Ref B: 2"),
        ("text/html", "", "429 Too Many Requests"),
    ] {
        let client = registry_client(&server, Credential::Anonymous);
        server.on(
            "GET",
            "/a/",
            usize::MAX,
            Fault::reply(429, &[("content-type", kind)], body),
        );
        let digest = Descriptor::empty().digest;
        let error = client.manifest(&repo("a"), &digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited(None), "{body}");
        assert!(error.one_line().contains(says), "{}", error.one_line());
        assert_eq!(client.allowance().pulls.unwrap().remaining, 0);
        server.heal();
    }
}

#[tokio::test]
async fn g8_a_403_that_means_too_many_requests_is_taken_for_a_429() {
    let server = TestRegistry::start().await;
    let client = registry_client(&server, Credential::Anonymous);
    let text = "You have exceeded a secondary rate limit. Please wait a few minutes.";
    for (headers, wait) in [(&[][..], 60), (&[("retry-after", "30")][..], 30)] {
        let server = TestRegistry::start().await;
        let client = registry_client(&server, Credential::Anonymous);
        server.on("GET", "/a/", 1, Fault::reply(403, headers, text));
        let digest = Descriptor::empty().digest;
        let error = client.manifest(&repo("a"), &digest).await.unwrap_err();
        let ErrorKind::RateLimited(Some(seen)) = error.kind() else {
            panic!("{}", error.one_line());
        };
        assert_eq!(seen.as_secs(), wait);
        assert!(error.one_line().contains(text), "{}", error.one_line());
        assert!(client.allowance().quiet_until.is_some());
    }
    // Any other 403 is meant.
    server.on("GET", "/a/", 1, Fault::reply(403, &[], "not for you"));
    let digest = Descriptor::empty().digest;
    let error = client.manifest(&repo("a"), &digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.one_line().contains("not for you"),
        "{}",
        error.one_line()
    );
    assert!(client.allowance().quiet_until.is_none());
}

#[tokio::test]
async fn g9_a_host_is_never_asked_for_more_at_once_than_it_may_be() {
    let server = TestRegistry::start().await;
    let client = registry_client_of(&server, Credential::Anonymous, 3);
    server.on("HEAD", "/a/", usize::MAX, Fault::Hold);
    let (name, one) = (repo("a"), tag("1").into());
    let asked = futures::future::join_all((0..10).map(|_| client.resolve(&name, &one)));
    let watch = async {
        for answered in 0..10 {
            let under_way = (answered + 3).min(10);
            while server.requests() < under_way {
                server.held().await;
            }
            assert_eq!(server.requests(), under_way);
            server.release();
            server
                .until(|server| server.count("HEAD ") > answered)
                .await;
        }
    };
    tokio::join!(asked, watch);
}
