//! Ordering, idempotence. D2, D3, D8, D10 and D11 are in `costs.rs`,
//! `killed_runs.rs`, `sync_invariants.rs`, `sync_jobs.rs`, `bad_input.rs`,
//! `command_line.rs` and `signals.rs`.

use std::time::Duration;

use regmirror::app::RetryPolicy;
use regmirror::oci::{Digest, Draft};
use regmirror::registry::Credential;
use regmirror::store::{ErrorKind, Sink, Source};

use crate::support::bench::{Bench, failures};
use crate::support::images::{
    complete, push, push_image, push_index, push_referrer, repo, tag, tagged,
};
use crate::support::{Fault, TestRegistry, registry_client};

const ALL: &str = "source: SOURCE/app, target: TARGET/app, type: repository";
const IMAGE: &str = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";

/// Many tries, and no long waits between them.
fn patient() -> RetryPolicy {
    RetryPolicy {
        attempts: 5,
        base: Duration::from_millis(1),
        cap: Duration::from_millis(2),
        patience: Duration::from_secs(1),
    }
}

#[tokio::test]
async fn d1_a_tag_that_moves_during_the_copy_is_copied_as_it_was() {
    let bench = Bench::new().await;
    let (app, source, target) = (repo("app"), bench.source.store(), bench.target.store());
    let first = push_index(source, &app, "1").await;
    let signed = push_referrer(source, &app, &first, "application/vnd.x.sig").await;
    bench.source.on("GET", "/manifests/", 1, Fault::Hold);
    let job = format!("{IMAGE}, referrers: true");
    let jobs = [job.as_str()];
    let move_it = async {
        bench.source.held().await;
        let second = push_image(source, &app, Some("1"), &[b"second"]).await;
        let other = push_referrer(source, &app, &second, "application/vnd.x.sig").await;
        bench.source.release();
        (second, other)
    };
    let (summary, (second, other)) = tokio::join!(bench.run(&jobs), move_it);
    assert_eq!(failures(&summary), Vec::<String>::new());
    let found = tagged(target, &app, "1").await;
    assert_eq!(found.as_ref(), Some(first.digest()), "all of the first");
    complete(target, &app, first.digest()).await.unwrap();
    let referrers = target.referrers(&app, first.digest()).await.unwrap();
    assert_eq!(referrers, [signed.referrer_descriptor()]);
    for later in [second.digest(), other.digest()] {
        assert!(
            target.manifest(&app, later).await.is_err(),
            "none of the second"
        );
    }

    // The next run brings all of the second.
    let summary = bench.run(&jobs).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let found = tagged(target, &app, "1").await;
    assert_eq!(found.as_ref(), Some(second.digest()));
    let referrers = target.referrers(&app, second.digest()).await.unwrap();
    assert_eq!(referrers, [other.referrer_descriptor()]);
}

#[tokio::test]
async fn d4_what_the_target_has_is_not_put_again() {
    let bench = Bench::new().await;
    let (app, source) = (repo("app"), bench.source.store());
    let index = push_index(source, &app, "1").await;
    push_image(source, &app, Some("2"), &[b"two"]).await;
    push_referrer(source, &app, &index, "application/vnd.x.sbom").await;
    let by_digest = format!(
        "source: 'SOURCE/app@{}', target: 'TARGET/app:pinned', type: image",
        index.digest()
    );
    let all = format!("{ALL}, referrers: true");
    let jobs = [all.as_str(), &by_digest];
    assert_eq!(failures(&bench.run(&jobs).await), Vec::<String>::new());
    bench.clear_logs();
    let summary = bench.run(&jobs).await;
    assert_eq!((summary.totals.unchanged, summary.totals.copied), (3, 0));
    for side in [&bench.source, &bench.target] {
        let log = side.log();
        let reads = |line: &String| line.starts_with("HEAD ") || line.starts_with("GET ");
        assert!(log.iter().all(reads), "{log:#?}");
        assert_eq!(side.count("GET /v2/app/manifests"), 0, "{log:#?}");
        assert_eq!(side.count("GET /v2/app/blobs"), 0, "{log:#?}");
    }
}

/// A blob goes between its upload and the manifest, as to a registry's garbage
/// collection: the registry's own complaint leads to one repetition.
#[tokio::test]
async fn d5_a_blob_that_is_collected_before_the_manifest_is_sent_again_once() {
    let bench = Bench::new().await;
    let (app, target) = (repo("app"), bench.target.store());
    let image = push_image(bench.source.store(), &app, Some("1"), &[b"x"]).await;
    let layer = image.blobs().nth(1).expect("a layer").digest.clone();
    bench.target.on("PUT", "/manifests/1", 1, Fault::Hold);
    let collect = async {
        bench.target.held().await;
        target.delete_blob(&app, &layer).await.unwrap();
        bench.target.release();
    };
    let (summary, ()) = tokio::join!(bench.run(&[IMAGE]), collect);
    assert_eq!(failures(&summary), Vec::<String>::new());
    complete(target, &app, image.digest()).await.unwrap();
    let put = "PUT /v2/app/manifests/1 ";
    assert_eq!(bench.target.count(&format!("{put}404")), 1);
    assert_eq!(bench.target.count(&format!("{put}201")), 1);
    assert_eq!(
        bench.source.count("GET /v2/app/blobs/"),
        3,
        "the layer twice"
    );
}

#[tokio::test]
async fn d5_a_target_that_never_finds_its_blobs_is_believed_after_two_tries() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    let missing =
        r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
    let reply = Fault::reply(400, &[], missing);
    bench.target.on("PUT", "/manifests/1", 9, reply);
    let summary = bench.run_with(&[IMAGE], patient(), false).await;
    let failures = failures(&summary);
    assert!(
        failures[0].contains("content is missing there"),
        "{failures:?}"
    );
    assert_eq!(bench.target.count("PUT /v2/app/manifests/1 "), 2);
}

/// What registries answer when a tag may not be moved: Harbor, ECR, others,
/// Docker Hub.
fn immutable() -> [(u16, &'static str); 4] {
    [
        (
            412,
            r#"{"errors":[{"code":"PRECONDITION","message":"Failed to process request due to 'app:1' configured as immutable."}]}"#,
        ),
        (
            400,
            r#"{"errors":[{"code":"TAG_INVALID","message":"The image tag '1' already exists in the 'app' repository and cannot be overwritten because the repository is immutable."}]}"#,
        ),
        (409, ""),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"immutable tag 1 cannot be overwritten"}]}"#,
        ),
    ]
}

#[tokio::test]
async fn d6_a_tag_that_may_not_be_moved_is_refused_for_good() {
    for (status, body) in immutable() {
        let bench = Bench::new().await;
        let (app, source, target) = (repo("app"), bench.source.store(), bench.target.store());
        let old = push_image(target, &app, Some("1"), &[b"old"]).await;
        let new = push_image(source, &app, Some("1"), &[b"new"]).await;
        push_image(source, &app, Some("2"), &[b"other"]).await;
        let reply = Fault::reply(status, &[], body);
        bench.target.on("PUT", "/manifests/1", 99, reply);
        let summary = bench.run_with(&[ALL], patient(), false).await;
        let said = failures(&summary);
        assert_eq!(said.len(), 1, "{said:?}");
        let words = format!(
            "{}/app:1: refused: the registry does not let tag 1 be moved to {}: {status}",
            bench.target.address(),
            new.digest()
        );
        assert!(said[0].contains(&words), "{words}: {said:?}");
        assert_eq!(bench.target.count("PUT /v2/app/manifests/1 "), 1);
        let found = tagged(target, &app, "1").await;
        assert_eq!(found.as_ref(), Some(old.digest()));
        assert!(
            tagged(target, &app, "2").await.is_some(),
            "the rest goes on"
        );

        bench.clear_logs();
        let summary = bench.run_with(&[ALL], patient(), false).await;
        assert_eq!(failures(&summary), said);
        assert_eq!(bench.target.count("POST "), 0, "{:#?}", bench.target.log());
        assert_eq!(bench.target.count("PUT "), 1);
        assert_eq!(bench.source.count("GET /v2/app/blobs/"), 0);
    }
}

#[tokio::test]
async fn d6_other_refusals_are_not_blamed_on_the_tag() {
    for (status, body, words) in [
        (403, r#"{"errors":[{"code":"DENIED"}]}"#, "access denied"),
        (
            400,
            r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#,
            "refused",
        ),
        (413, "", "refused"),
    ] {
        let bench = Bench::new().await;
        push_image(bench.source.store(), &repo("app"), Some("1"), &[b"new"]).await;
        let reply = Fault::reply(status, &[], body);
        bench.target.on("PUT", "/manifests/1", 99, reply);
        let said = failures(&bench.run_with(&[IMAGE], patient(), false).await);
        assert!(said[0].contains(words), "{said:?}");
        assert!(!said[0].contains("does not let"), "{said:?}");
    }
}

#[tokio::test]
async fn d7_when_the_first_to_send_a_shared_blob_fails_the_next_sends_it() {
    let bench = Bench::new().await;
    let (app, source) = (repo("app"), bench.source.store());
    let shared: &[u8] = b"shared by both";
    for name in ["1", "2"] {
        push_image(source, &app, Some(name), &[shared, name.as_bytes()]).await;
    }
    let hex = Digest::sha256(shared).hex().to_owned();
    let refused = Fault::Status(400);
    bench.target.on("PUT", &hex, 1, refused);
    let summary = bench.run(&[ALL]).await;
    let said = failures(&summary);
    assert_eq!((summary.totals.copied, said.len()), (1, 1), "{said:?}");
    let log = bench.target.log();
    let sent = |line: &&String| line.starts_with("PUT ") && line.contains(&hex);
    let ends: Vec<&str> = log
        .iter()
        .filter(sent)
        .map(|line| &line[line.len() - 3..])
        .collect();
    assert_eq!(ends, ["400", "201"], "{log:#?}");
    // Nobody took it for granted that the blob is there by now.
    assert_eq!(bench.target.count("PUT /v2/app/manifests/"), 1, "{log:#?}");
}

/// A registry that takes a manifest and does not say under which digest.
async fn silent() -> TestRegistry {
    let server = TestRegistry::start().await;
    let reply = Fault::reply(201, &[("location", "/v2/app/manifests/1")], "");
    server.on("PUT", "/manifests/1", 1, reply);
    server
}

#[tokio::test]
async fn d9_a_tag_that_does_not_point_at_what_was_sent_is_an_error() {
    let app = repo("app");
    let sent = Draft::artifact("application/vnd.x", &[]).build();
    // What the tag points at afterwards, and what is made of it.
    let other = Draft::artifact("application/vnd.y", &[]).build();
    for (stored, fine) in [(Some(&sent), true), (Some(&other), false), (None, false)] {
        let server = silent().await;
        if let Some(stored) = stored {
            push(server.store(), &app, Some("1"), stored).await;
        }
        let client = registry_client(&server, Credential::Anonymous);
        let put = client.put_manifest(&app, &sent, Some(&tag("1"))).await;
        assert_eq!(server.count("HEAD /v2/app/manifests/1 "), 1, "one look");
        match put {
            Ok(()) => assert!(fine),
            Err(error) => {
                assert!(!fine, "{error:?}");
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                let points = stored.map_or("nothing".to_owned(), |it| it.digest().to_string());
                let words = format!("its tag 1 points at {points} afterwards");
                assert!(error.one_line().contains(&words), "{}", error.one_line());
            }
        }
    }
}

#[tokio::test]
async fn d9_the_registry_s_own_word_costs_no_look_and_a_failed_look_no_tag() {
    let app = repo("app");
    let sent = Draft::artifact("application/vnd.x", &[]).build();
    let server = silent().await;
    server.on("HEAD", "/manifests/1", 9, Fault::Status(401));
    let client = registry_client(&server, Credential::Anonymous);
    let put = client.put_manifest(&app, &sent, Some(&tag("1"))).await;
    put.expect("who may write need not be able to read");

    let bench = Bench::new().await;
    push_image(bench.source.store(), &app, Some("1"), &[b"x"]).await;
    bench.run(&[IMAGE]).await;
    assert_eq!(
        bench.target.count("HEAD /v2/app/manifests/1 "),
        1,
        "to plan"
    );
}
