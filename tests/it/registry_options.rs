//! What `creds` and `defaults` say of how registries are asked, by what they are
//! asked.

use std::sync::Arc;
use std::time::Duration;

use regmirror::app::RetryPolicy;
use regmirror::config::Config;
use regmirror::http::{HostClient, HostOptions, HttpClient, Request, Tls};
use regmirror::oci::Tag;
use regmirror::registry::{CacheLimits, Credential, Options, Registry};
use regmirror::store::Source as _;
use reqwest::Method;
use tokio::time::Instant;

use crate::support::bench::{Bench, failures};
use crate::support::images::{complete, push_image, push_index, push_referrer, repo, tagged};
use crate::support::{Auth, Fault, TestRegistry};

/// A configuration between the two registries; `more` is what `creds` says of
/// them beside how they are reached.
fn text(defaults: &str, source: &str, target: &str, entry: &str) -> String {
    format!(
        "defaults: {{skipDockerConfig: true{defaults}}}\n\
         creds:\n\
         - {{registry: SOURCE, tls: disabled{source}}}\n\
         - {{registry: TARGET, tls: disabled{target}}}\n\
         sync:\n- {{{entry}}}\n"
    )
}

const ALL: &str = "source: SOURCE/app, target: TARGET/app, type: repository";

#[tokio::test]
async fn path_prefix_stands_before_every_repository() {
    let bench = Bench::new().await;
    let index = push_index(bench.source.store(), &repo("proxy/hub/app"), "1").await;
    push_image(bench.source.store(), &repo("elsewhere"), Some("1"), &[b"x"]).await;
    let prefixes = (", pathPrefix: /proxy/hub/", ", pathPrefix: mirror");
    let summary = bench.run_text(&text("", prefixes.0, prefixes.1, ALL)).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let arrived = tagged(bench.target.store(), &repo("mirror/app"), "1").await;
    assert_eq!(arrived.as_ref(), Some(index.digest()));
    for side in [
        (&bench.source, "/v2/proxy/hub/"),
        (&bench.target, "/v2/mirror/"),
    ] {
        assert!(
            side.0.log().iter().all(|line| line.contains(side.1)),
            "{:?}",
            side.0.log()
        );
    }
    // People read the name that they wrote.
    assert!(summary.runs[0].tags[0].target.ends_with("/app:1"));
    assert!(!summary.runs[0].tags[0].target.contains("mirror"));

    bench
        .source
        .on("GET", "/manifests/", usize::MAX, Fault::reply(403, &[], ""));
    push_index(bench.source.store(), &repo("proxy/hub/app"), "2").await;
    let said = failures(&bench.run_text(&text("", prefixes.0, prefixes.1, ALL)).await);
    assert!(
        said[0].contains("/app@sha256") && !said[0].contains("proxy"),
        "{said:?}"
    );
    bench.source.heal();

    // A registry that is listed has what is below the prefix.
    let whole = "source: SOURCE, target: TARGET/all, type: registry";
    let summary = bench
        .run_text(&text("", prefixes.0, prefixes.1, whole))
        .await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert!(
        tagged(bench.target.store(), &repo("mirror/all/app"), "1")
            .await
            .is_some()
    );
    assert_eq!(summary.totals.copied, 2, "not what is elsewhere");
}

#[tokio::test]
async fn without_head_tags_are_asked_for_with_get() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    let source = ", apiOpts: {disableHead: true}";
    for copied in [1, 0] {
        let summary = bench.run_text(&text("", source, "", ALL)).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_eq!(summary.totals.copied, copied);
    }
    assert_eq!(bench.source.count("HEAD /v2/app/manifests/"), 0);
    assert!(
        bench.target.count("HEAD /v2/app/manifests/1") > 0,
        "only where it says so"
    );
}

#[tokio::test]
async fn mirrors_are_read_first_in_the_order_of_their_priority() {
    let (bench, near, far) = (
        Bench::new().await,
        TestRegistry::start().await,
        TestRegistry::start().await,
    );
    let app = repo("app");
    let index = push_index(bench.source.store(), &app, "1").await;
    push_index(near.store(), &app, "1").await;
    push_index(far.store(), &app, "1").await;
    let config = |own: u32, near_first: bool, entry: &str| {
        let (one, other) = if near_first { (9, 5) } else { (5, 9) };
        format!(
            "{}\n",
            text(
                "",
                &format!(
                    ", mirrors: ['{}', '{}'], priority: {own}",
                    near.address(),
                    far.address()
                ),
                "",
                entry
            )
            .replace(
                "sync:",
                &format!(
                    "- {{registry: '{}', tls: disabled, priority: {one}}}\n\
                         - {{registry: '{}', tls: disabled, priority: {other}}}\nsync:",
                    near.address(),
                    far.address()
                )
            )
        )
    };
    let summary = bench.run_text(&config(0, true, ALL)).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    complete(bench.target.store(), &app, index.digest())
        .await
        .unwrap();
    assert!(near.count("GET") > 3 && far.log().is_empty());
    assert_eq!(
        bench.source.log().len(),
        1,
        "its tags: {:?}",
        bench.source.log()
    );
    assert_eq!(near.count("PUT") + near.count("POST"), 0);

    // What one does not have, the next one has.
    for (own, near_first) in [(0, true), (0, false), (7, true)] {
        let newer = push_index(bench.source.store(), &app, &format!("2-{own}{near_first}")).await;
        for registry in [&near, &far, &bench.source] {
            registry.clear_log();
        }
        let summary = bench.run_text(&config(own, near_first, ALL)).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        complete(bench.target.store(), &app, newer.digest())
            .await
            .unwrap();
        let (first, second) = if near_first {
            (&near, &far)
        } else {
            (&far, &near)
        };
        assert!(first.count("GET") > 0);
        // With a priority in between, the registry is asked before the second.
        assert_eq!(
            second.log().is_empty(),
            own == 7,
            "{own} {near_first} {:?}",
            second.log()
        );
    }
    // One that fails, or gives something else, does no harm.
    let last = push_index(bench.source.store(), &app, "3").await;
    push_index(near.store(), &app, "3").await;
    push_index(far.store(), &app, "3").await;
    near.on("GET", "/blobs/", usize::MAX, Fault::reply(503, &[], ""));
    near.on("GET", "/manifests/", usize::MAX, Fault::FlipBit);
    let summary = bench.run_text(&config(0, true, ALL)).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    complete(bench.target.store(), &app, last.digest())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_target_is_never_read_through_its_mirror() {
    let (bench, mirror) = (Bench::new().await, TestRegistry::start().await);
    let app = repo("app");
    let image = push_image(bench.source.store(), &app, Some("1"), &[b"x"]).await;
    // It has what the target has not.
    push_image(mirror.store(), &app, Some("1"), &[b"x"]).await;
    let target = format!(", mirrors: ['{}']", mirror.address());
    let text = text("", "", &target, ALL).replace(
        "sync:",
        &format!(
            "- {{registry: '{}', tls: disabled}}\nsync:",
            mirror.address()
        ),
    );
    assert_eq!(bench.run_text(&text).await.totals.copied, 1);
    complete(bench.target.store(), &app, image.digest())
        .await
        .unwrap();
    assert_eq!(mirror.log(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cache_spares_a_registry_the_same_question() {
    let server = TestRegistry::start().await;
    let app = repo("app");
    let image = push_image(server.store(), &app, Some("1"), &[b"x"]).await;
    for (count, asked) in [(0, 6), (100, 2)] {
        let special = Options {
            cache: CacheLimits {
                count,
                time: Duration::from_secs(300),
            },
            ..Options::default()
        };
        let host = server.address().parse().unwrap();
        let options = HostOptions::new(server.address()).with_tls(Tls::Disabled);
        let client = HttpClient::new("test").unwrap();
        let (nobody, once) = (Credential::Anonymous, RetryPolicy::none());
        let registry =
            Registry::special(host, &options, special, nobody, &client, once, Arc::new(()))
                .unwrap();
        server.clear_log();
        for _ in 0..3 {
            registry.manifest(&app, image.digest()).await.unwrap();
            registry.referrers(&app, image.digest()).await.unwrap();
        }
        assert_eq!(server.count("GET"), asked, "{:?}", server.log());
        // What is written is read anew.
        push_referrer(&registry, &app, &image, "sig").await;
        assert_eq!(
            registry
                .referrers(&app, image.digest())
                .await
                .unwrap()
                .len(),
            1
        );
        // A tag is never taken from it.
        let tag = "1".parse::<Tag>().unwrap().into();
        let heads = server.count("HEAD");
        for _ in 0..2 {
            registry.resolve(&app, &tag).await.unwrap();
        }
        assert_eq!(server.count("HEAD"), heads + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_begin_no_faster_than_they_may() {
    let options = HostOptions {
        spacing: Duration::from_millis(250),
        ..HostOptions::new("127.0.0.1:1").with_tls(Tls::Disabled)
    };
    let url = options.url().unwrap();
    let client = HttpClient::new("test").unwrap();
    let host = HostClient::new(&client, url.clone(), &options, RetryPolicy::none());
    let began = Instant::now();
    for _ in 0..9 {
        // Nobody is there, which is found out at once.
        let _ = host
            .send(&mut Request::new("test", Method::GET, url.clone()))
            .await;
    }
    assert_eq!(
        began.elapsed().as_millis() / 250,
        8,
        "the first one does not wait"
    );
    let storage = host.stranger();
    for _ in 0..9 {
        let _ = storage
            .send(&mut Request::new("test", Method::GET, url.clone()))
            .await;
    }
    assert_eq!(
        began.elapsed().as_millis() / 250,
        8,
        "another host has its own pace"
    );
}

#[test]
fn what_creds_say_is_read() {
    let read = |more: &str| {
        let text = format!("creds: [{{registry: r.test, {more}}}]\n");
        Config::parse(&text, "test").map(|config| {
            let registry = config.registries[&"r.test".parse().unwrap()].clone();
            (registry, config.warnings.to_string())
        })
    };
    assert_eq!(
        read("reqPerSec: 4").unwrap().0.spacing,
        Duration::from_millis(250)
    );
    assert_eq!(
        read("reqPerSec: 0.5").unwrap().0.spacing,
        Duration::from_secs(2)
    );
    assert!(read("repoAuth: yes").unwrap().0.repo_auth);
    assert!(
        read("apiOpts: {disableHead: \"true\"}")
            .unwrap()
            .0
            .without_head
    );
    let (registry, warnings) = read("scheme: http").unwrap();
    assert_eq!(registry.tls, Tls::Disabled);
    assert!(
        warnings.contains("creds[0].scheme: tls: disabled stands for http"),
        "{warnings}"
    );
    for (more, told) in [
        ("api: v2", "creds[0].api: has no effect"),
        ("apiOpts: {disableHed: true}", "did you mean `disableHead`?"),
    ] {
        let warnings = read(more).unwrap().1;
        assert!(warnings.contains(told), "{warnings}");
    }
    for (more, told) in [
        ("reqPerSec: -1", "creds[0].reqPerSec: expected a number"),
        (
            "reqPerSec: fast",
            "creds[0].reqPerSec: expected a number, found `fast`",
        ),
        (
            "scheme: http, tls: enabled",
            "creds[0].scheme: http, and tls says otherwise",
        ),
        ("scheme: gopher", "creds[0].scheme: `gopher` is not known"),
        ("pathPrefix: Upper/Case", "creds[0].pathPrefix"),
        (
            "mirrors: [r.test]",
            "creds[0].mirrors[0]: the registry itself is no mirror",
        ),
        (
            "mirrors: [a.test, a.test]",
            "creds[0].mirrors[1]: the same mirror twice",
        ),
        ("mirrors: ['not a host']", "creds[0].mirrors[0]"),
        (
            "priority: -1",
            "creds[0].priority: expected a number from 0",
        ),
        (
            "apiOpts: {disableHead: maybe}",
            "creds[0].apiOpts.disableHead: expected",
        ),
    ] {
        let told_of = read(more).unwrap_err().to_string();
        assert!(told_of.contains(told), "{more}: {told_of}");
    }
}

#[test]
fn what_defaults_say_of_registries_is_read() {
    let read = |defaults: &str| Config::parse(&format!("defaults: {{{defaults}}}\n"), "test");
    let config = read("blobLimit: 1000, cacheCount: 5, cacheTime: 1m").unwrap();
    assert_eq!(
        (config.blob_limit, config.cache),
        (1000, Some((5, Duration::from_secs(60))))
    );
    let usual = read("").unwrap();
    assert_eq!((usual.blob_limit, usual.cache), (64 << 20, None));
    for (half, told) in [
        ("cacheCount: 5", "without cacheTime"),
        ("cacheTime: 5m", "without cacheCount"),
    ] {
        let config = read(half).unwrap();
        assert_eq!(config.cache, None);
        assert!(
            config.warnings.to_string().contains(told),
            "{}",
            config.warnings
        );
    }
    for (wrong, told) in [
        (
            "blobLimit: -1",
            "defaults.blobLimit: expected a number of bytes",
        ),
        ("cacheCount: -1", "defaults.cacheCount: expected a number"),
        (
            "cacheCount: 5, cacheTime: 5",
            "defaults.cacheTime: \"5\" is no duration",
        ),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test]
async fn one_repository_a_token_where_it_is_asked_for() {
    for (more, both) in [("", true), (", repoAuth: true", false)] {
        let bench = Bench::new().await;
        for name in ["a", "b"] {
            push_image(bench.source.store(), &repo(name), Some("1"), &[b"the same"]).await;
        }
        bench.target.require_auth(Auth::Bearer {
            user: "u".to_owned(),
            password: "p".to_owned(),
        });
        let entry = "source: SOURCE, target: TARGET, type: registry";
        let summary = bench
            .run_text(&text("", "", &format!(", user: u, pass: p{more}"), entry))
            .await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        let tokens = bench.target.seen();
        let two = tokens.iter().any(|seen| {
            seen.path.starts_with("/token") && seen.path.matches("scope=repository").count() > 1
        });
        assert_eq!(two, both, "{more}: {:?}", bench.target.log());
    }
}
