//! `regmirror check`: what would happen, why, and what it would take.

use regmirror::app::{OpenStores, RetryPolicy, Summary, check, run_once};
use regmirror::config::Config;
use regmirror::oci::Draft;
use regmirror::store::Source;
use regmirror::sync::{Audience, Cost};
use tokio_util::sync::CancellationToken;

use crate::support::bench::Bench;
use crate::support::images::{push, push_image, push_index, push_referrer, repo};

const ALL: &str = "name: app, source: SOURCE/app, target: TARGET/app, type: repository";

/// What looking says, and then what copying does.
async fn looked_and_done(bench: &Bench, entries: &[&str]) -> (Summary, Summary) {
    let config = Config::parse(&bench.config(entries), "test").unwrap();
    let stores =
        || std::sync::Arc::new(OpenStores::new(&config, RetryPolicy::none()).expect("stores"));
    let token = CancellationToken::new();
    bench.clear_logs();
    let looked = check(&config, &stores(), Audience::default(), false, &token).await;
    for registry in [&bench.source, &bench.target] {
        let log = registry.log();
        let reads = |line: &String| line.starts_with("GET ") || line.starts_with("HEAD ");
        assert!(log.iter().all(reads), "it wrote: {log:#?}");
    }
    let done = run_once(&config, &stores(), Audience::default(), &token).await;
    (looked, done)
}

/// Asserts that copying took just what looking said.
async fn foretold(bench: &Bench, entries: &[&str]) -> Cost {
    let (looked, done) = looked_and_done(bench, entries).await;
    let (looked, done) = (looked.totals, done.totals);
    assert_eq!((looked.failed, done.failed), (0, 0));
    assert_eq!(looked.pending, done.copied, "tags");
    assert_eq!(looked.unchanged, done.unchanged);
    assert_eq!(looked.excluded, done.excluded);
    let cost = looked.cost;
    assert_eq!(cost.manifests, done.manifests, "manifests");
    assert_eq!(cost.blobs, done.blobs_copied, "blobs");
    assert_eq!(cost.bytes, done.bytes_sent, "bytes");
    let (again, _) = looked_and_done(bench, entries).await;
    assert_eq!(again.totals.pending, 0);
    assert_eq!(again.totals.cost, Cost::default());
    cost
}

#[tokio::test]
async fn what_it_takes_is_what_is_sent_afterwards() {
    let bench = Bench::new().await;
    let app = repo("app");
    push_image(bench.source.store(), &app, Some("1"), &[b"one", b"shared"]).await;
    push_image(bench.source.store(), &app, Some("2"), &[b"two", b"shared"]).await;
    push_image(bench.target.store(), &app, Some("1"), &[b"old"]).await;
    let index = push_index(bench.source.store(), &app, "3").await;
    let signed = push_referrer(bench.source.store(), &app, &index, "sig").await;
    push_referrer(bench.source.store(), &app, &signed, "of the signature").await;
    let child = &index.children()[0].digest;
    let child = Source::manifest(bench.source.store(), &app, child)
        .await
        .unwrap();
    push_referrer(bench.source.store(), &app, &child, "sbom").await;
    // The same under another tag, and one that the target has under another.
    push(bench.source.store(), &app, Some("also-3"), &index).await;
    for (registry, name) in [(&bench.source, "alias"), (&bench.target, "kept")] {
        push_image(registry.store(), &app, Some(name), &[b"known"]).await;
    }
    let other = "source: SOURCE/app, target: TARGET/other/app, type: repository, \
                 referrers: true, tags: {deny: ['2']}";
    let jobs = [&format!("{ALL}, referrers: true, digestTags: true"), other];
    let cost = foretold(&bench, &jobs).await;
    assert!(cost.manifests > 5 && cost.blobs > 5, "{cost:?}");
}

#[tokio::test]
async fn platforms_count_as_they_are_chosen() {
    for form in ["sparse", "rewrite"] {
        let bench = Bench::new().await;
        push_index(bench.source.store(), &repo("app"), "1").await;
        let job = format!("{ALL}, platforms: [linux/amd64], platformIndex: {form}");
        let some = foretold(&bench, &[&job]).await;
        let bench = Bench::new().await;
        push_index(bench.source.store(), &repo("app"), "1").await;
        let all = foretold(&bench, &[ALL]).await;
        assert!(some.manifests < all.manifests, "{form}: {some:?} {all:?}");
        assert!(some.bytes < all.bytes, "{form}: {some:?} {all:?}");
    }
    let bench = Bench::new().await;
    push_index(bench.source.store(), &repo("app"), "1").await;
    let one = foretold(&bench, &[&format!("{ALL}, platform: linux/arm64")]).await;
    assert_eq!(one.manifests, 1);
}

#[tokio::test]
async fn no_pull_is_spent_unless_it_may_be() {
    let bench = Bench::new().await;
    bench.source.limit_pulls(10, 100, 3600);
    for name in ["1", "2"] {
        let app = repo("app");
        push_image(bench.source.store(), &app, Some(name), &[name.as_bytes()]).await;
    }
    let gets = || bench.source.count("GET /v2/app/manifests/");
    let (code, out, _) = bench.program(&[ALL], &["check", "-v", "off"]).run().await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("; not looked into"), "{out}");
    assert!(out.contains("Not looked into: 2 images"), "{out}");
    assert_eq!(gets(), 0);
    let spend = ["check", "-v", "off", "--spend-pulls"];
    let (code, out, _) = bench.program(&[ALL], &spend).run().await;
    assert_eq!(code, 0, "{out}");
    assert!(!out.to_lowercase().contains("not looked into"), "{out}");
    assert_eq!(gets(), 2);
}

#[tokio::test]
async fn each_tag_has_its_reason() {
    let bench = Bench::new().await;
    let app = repo("app");
    let new = push_image(bench.source.store(), &app, Some("moved"), &[b"new"]).await;
    let old = push_image(bench.target.store(), &app, Some("moved"), &[b"old"]).await;
    push_image(bench.source.store(), &app, Some("fresh"), &[b"fresh"]).await;
    push_image(bench.source.store(), &app, Some("debug-1"), &[b"x"]).await;
    for registry in [&bench.source, &bench.target] {
        push_image(registry.store(), &app, Some("same"), &[b"same"]).await;
    }
    let job = format!("{ALL}, tags: {{deny: ['debug-.*']}}");
    let gone = "name: gone, source: 'SOURCE/gone:1', target: 'TARGET/gone:1', type: image";
    let (code, out, _) = bench
        .program(&[&job, gone], &["check", "-v", "off", "--explain"])
        .run()
        .await;
    assert_eq!(code, 1, "{out}");
    let line = |part: &str| {
        let found = out.lines().find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part} is missing in {out}"))
    };
    let change = format!(
        "changed from {} to {}",
        old.digest().short(),
        new.digest().short()
    );
    assert!(line("app:moved").contains(&change), "{out}");
    assert!(
        line("app:fresh").contains("missing at the target; 2 blobs, "),
        "{out}"
    );
    assert!(line("app:same").starts_with("keep "), "{out}");
    assert!(
        line("app:debug-1").contains("skip ") && out.contains("denied by debug-.*"),
        "{out}"
    );
    assert!(line("FAILED").contains("gone:1"), "{out}");
    // Without --explain, what does not change is only counted.
    let (_, out, _) = bench.program(&[&job], &["plan", "-v", "off"]).run().await;
    assert!(
        !out.contains("app:same") && !out.contains("debug-1"),
        "{out}"
    );
    let row = out.lines().nth(1).unwrap().split_whitespace();
    assert!(row.take(5).eq(["app", "2", "1", "1", "0"]), "{out}");
    let dry = ["once", "--dry-run", "-v", "off"];
    let (_, same, _) = bench.program(&[&job], &dry).run().await;
    assert_eq!(same, out);
    assert!(!out.contains("Interrupted"), "{out}");
    // Of several jobs, those that are asked for.
    for patterns in [&["--job", "ap*"][..], &["--job", "x{a,p}p", "--job", "?pp"]] {
        let arguments = [&["check", "-v", "off"], patterns].concat();
        let (code, picked, err) = bench.program(&[&job, gone], &arguments).run().await;
        match patterns.len() {
            2 => assert_eq!((code, &picked), (0, &out)),
            _ => assert_eq!(code, 2, "each has to match something: {err}"),
        }
    }
}

#[tokio::test]
async fn a_repository_that_is_left_out_has_its_reason() {
    let bench = Bench::new().await;
    for name in ["team/app", "team/old-app", "other"] {
        push_image(
            bench.source.store(),
            &repo(name),
            Some("1"),
            &[name.as_bytes()],
        )
        .await;
    }
    let job = "name: all, source: SOURCE, target: TARGET, type: registry, \
               repos: {allow: ['team/.*'], deny: ['.*/old-.*']}";
    let explain = ["check", "-v", "off", "--explain"];
    let (code, out, _) = bench.program(&[job], &explain).run().await;
    assert_eq!(code, 0, "{out}");
    let source = bench.source.address();
    for line in [
        format!("skip    {source}/other: no allow pattern matches"),
        format!("skip    {source}/team/old-app: denied by .*/old-.*"),
    ] {
        assert!(out.lines().any(|known| known == line), "{line}: {out}");
    }
    let row = out.lines().nth(1).unwrap().split_whitespace();
    assert!(row.take(5).eq(["all", "1", "0", "0", "0"]), "{out}");
}

#[tokio::test]
async fn an_image_that_could_not_be_copied_fails_the_check() {
    let bench = Bench::new().await;
    let app = repo("app");
    let index = push_index(bench.source.store(), &app, "1").await;
    let child = index.children()[0].digest.clone();
    regmirror::store::Sink::delete_manifest(bench.source.store(), &app, &child.clone().into())
        .await
        .unwrap();
    let (code, out, _) = bench.program(&[ALL], &["check", "-v", "off"]).run().await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains(child.as_str()), "{out}");
}

/// Indexes that each list the next one many times over, so many deep.
async fn nested(bench: &Bench, depth: usize) {
    let (app, store) = (repo("app"), bench.source.store());
    let mut inner = push_image(store, &app, None, &[b"at the bottom"]).await;
    for level in 1..=depth {
        let children = vec![inner.descriptor(); 100];
        inner = Draft::index(&children).build();
        push(store, &app, (level == depth).then_some("1"), &inner).await;
    }
}

#[tokio::test]
async fn indexes_that_list_the_same_over_and_over_are_looked_at_once() {
    let bench = Bench::new().await;
    nested(&bench, 8).await;
    let cost = foretold(&bench, &[ALL]).await;
    assert_eq!(cost.manifests, 9, "not 100 to the power of 8");
    let bench = Bench::new().await;
    nested(&bench, 9).await;
    let (looked, done) = looked_and_done(&bench, &[ALL]).await;
    assert_eq!((looked.totals.failed, done.totals.failed), (1, 1));
}

#[tokio::test]
async fn pulls_that_are_left_to_others_are_not_spent_by_looking() {
    let bench = Bench::new().await;
    bench.source.limit_pulls(10, 100, 3600);
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let job = format!("{ALL}, ratelimit: {{min: 11, retry: 5m}}");
    let arguments = ["check", "-v", "off", "--spend-pulls"];
    let (code, out, _) = bench.program(&[&job], &arguments).run().await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("not looked into"), "{out}");
    assert_eq!(bench.source.count("GET /v2/app/manifests/"), 0);
}
