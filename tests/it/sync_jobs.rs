//! Planning and executing jobs between stores, on the seam.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use regmirror::oci::{Draft, Location, Manifest, Reference, Repository};
use regmirror::select::{Filter, Selection, TagSet};
use regmirror::store::{Sink, Source};
use regmirror::sync::{
    Backup, BackupFailure, Decision, Exclusion, Executor, Job, Limits, Memory, Outcome, Planned,
    Policy, Readers, Referrers, RunReport, Scope, Stores, Why, plan,
};
use regmirror::template::{Template, Value};
use tokio_util::sync::CancellationToken;

use crate::support::images::{complete, push, push_image, push_index, push_referrer, repo, tagged};
use crate::support::recorded::{Matching, Never, Recorded};

const APP: &str = "team/app";

/// A source, a target, and what runs between them.
struct Bench {
    source: Recorded,
    target: Recorded,
    executor: Executor,
}

impl Bench {
    fn new() -> Self {
        Self {
            source: Recorded::new("source.test"),
            target: Recorded::new("target.test"),
            executor: Executor::new(Limits::default()),
        }
    }

    fn stores(&self) -> Stores {
        Stores::new(Arc::new(self.source.clone()), Arc::new(self.target.clone()))
    }

    fn readers(&self) -> Readers<'_> {
        Readers {
            source: &self.source,
            target: &self.target,
            referrer_source: &self.source,
            referrer_target: &self.target,
        }
    }

    async fn run(&self, job: &Job) -> RunReport {
        self.source.start(Never);
        self.target.start(Never);
        let stop = CancellationToken::new();
        let report = self.executor.run(job, &self.stores(), &stop).await;
        assert_eq!(
            self.target.broken(),
            Vec::<String>::new(),
            "written before its content"
        );
        report
    }

    /// What a repository job from and to `team/app` plans, one line a tag.
    async fn planned(&self, job: &Job) -> Vec<String> {
        let memory = Memory::default();
        let steps = plan(job, self.readers(), &memory).collect::<Vec<_>>().await;
        let lines = steps.into_iter().map(|planned| match planned {
            Planned::Step(step) => match step.decision {
                Decision::Copy { why, .. } => format!("{} copy: {why}", step.from),
                Decision::Unchanged { .. } => format!("{} unchanged", step.from),
                Decision::Excluded(exclusion) => format!("{} excluded: {exclusion}", step.from),
            },
            Planned::Failed(failure) => format!("{} failed: {}", failure.subject, failure.error),
            Planned::LeftOut {
                repository,
                exclusion,
            } => format!("{repository} left out: {exclusion}"),
        });
        lines.collect()
    }
}

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

fn job(scope: Scope, policy: Policy) -> Job {
    Job {
        name: "test".to_owned(),
        scope,
        policy,
    }
}

fn image(source: &str, target: &str, policy: Policy) -> Job {
    let scope = Scope::Image {
        source: reference(&format!("source.test/{source}")),
        target: reference(&format!("target.test/{target}")),
    };
    job(scope, policy)
}

fn backup(template: &str) -> Backup {
    Backup {
        template: Template::parse(template).expect("a template"),
        entry: Value::NIL,
        failure: BackupFailure::Stop,
    }
}

fn image_job() -> Job {
    image("team/app:1", "team/app:1", Policy::default())
}

fn repository(allow: &[&str], deny: &[&str], policy: Policy) -> Job {
    let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let scope = Scope::Repository {
        source: reference("source.test/team/app"),
        target: reference("target.test/team/app"),
        tags: Selection {
            sets: vec![TagSet {
                ranges: Vec::new(),
                filter: Filter::new(&own(allow), &own(deny)).expect("patterns"),
            }],
            latest: None,
        },
    };
    job(scope, policy)
}

fn with_referrers() -> Policy {
    Policy {
        referrers: Some(Referrers::default()),
        ..Policy::default()
    }
}

async fn assert_same(bench: &Bench, name: &str, of: &Repository) {
    let source = tagged(&bench.source.inner, of, name)
        .await
        .expect("at the source");
    let target = tagged(&bench.target.inner, of, name).await;
    assert_eq!(target.as_ref(), Some(&source), "{of}:{name}");
    complete(&bench.target.inner, of, &source)
        .await
        .expect("complete at the target");
}

#[tokio::test]
async fn h2_an_index_arrives_byte_for_byte_and_its_tag_last() {
    let (bench, app) = (Bench::new(), repo(APP));
    let index = push_index(&bench.source, &app, "1").await;
    let report = bench.run(&repository(&[], &[], Policy::default())).await;

    assert_eq!(
        (report.totals.copied, report.totals.failed),
        (1, 0),
        "{report:?}"
    );
    let arrived = bench
        .target
        .inner
        .manifest(&app, index.digest())
        .await
        .expect("there");
    assert_eq!(arrived.bytes(), index.bytes());
    assert_same(&bench, "1", &app).await;
    let log = bench.target.log();
    let last = log.last().expect("something was written");
    assert!(last.starts_with("put_manifest team/app 1 "), "{log:#?}");
}

#[tokio::test]
async fn an_unchanged_tag_costs_one_look_at_each_side() {
    let (bench, app) = (Bench::new(), repo(APP));
    push_index(&bench.source, &app, "1").await;
    let job = image("team/app:1", "team/app:1", Policy::default());
    bench.run(&job).await;
    let report = bench.run(&job).await;

    assert_eq!((report.totals.unchanged, report.totals.copied), (1, 0));
    assert_eq!(bench.source.log(), ["resolve team/app 1"]);
    assert_eq!(bench.target.log(), ["resolve team/app 1"]);
}

#[tokio::test]
async fn d7_a_shared_blob_is_sent_once_and_read_once() {
    let (bench, app) = (Bench::new(), repo(APP));
    for name in ["1", "2", "3", "4", "5", "6"] {
        push_index(&bench.source, &app, name).await;
    }
    let report = bench.run(&repository(&[], &[], Policy::default())).await;

    assert_eq!(report.totals.copied, 6);
    for calls in [bench.target.calls("put_blob"), bench.source.calls("blob")] {
        let mut unique = calls.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(calls.len(), unique.len(), "{calls:#?}");
        // Two layers and two configs for each tag, and one layer for all.
        assert_eq!(calls.len(), 6 * 4 + 1, "{calls:#?}");
    }
}

#[tokio::test]
async fn tags_of_one_image_read_it_from_the_source_once() {
    let (bench, app) = (Bench::new(), repo(APP));
    let index = push_index(&bench.source, &app, "1").await;
    for name in ["1.0", "1.0.0", "latest"] {
        push(&bench.source, &app, Some(name), &index).await;
    }
    let report = bench.run(&repository(&[], &[], Policy::default())).await;
    assert_eq!(report.totals.copied, 4);
    assert_eq!(
        bench.source.calls("manifest").len(),
        1 + 2,
        "the index and its images"
    );
}

#[tokio::test]
async fn what_is_under_way_when_a_blob_fails_is_finished() {
    let (bench, app) = (Bench::new(), repo(APP));
    let layers: [&[u8]; 3] = [b"one", b"two", b"three"];
    let image = push_image(&bench.source, &app, Some("1"), &layers).await;
    let lost = image.blobs().nth(1).expect("a layer").digest.clone();
    bench.source.inner.delete_blob(&app, &lost).await.unwrap();
    let report = bench.run(&image_job()).await;
    assert_eq!(
        (report.totals.failed, report.totals.blobs_copied),
        (1, 3),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_blob_that_another_repository_of_the_target_got_is_mounted() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        push_image(&bench.source, &repo(name), Some("1"), &[b"layer"]).await;
        bench
            .run(&image(
                &format!("{name}:1"),
                &format!("{name}:1"),
                Policy::default(),
            ))
            .await;
    }
    let report = bench.run(&image("b:1", "b:1", Policy::default())).await;
    assert_eq!(report.totals.unchanged, 1);
    complete(
        &bench.target.inner,
        &repo("b"),
        &tagged(&bench.target, &repo("b"), "1").await.unwrap(),
    )
    .await
    .expect("complete");
    bench.run(&image("a:1", "c:1", Policy::default())).await;
    assert_eq!(
        bench.source.calls("blob"),
        Vec::<String>::new(),
        "nothing is read again"
    );
    assert_eq!(bench.target.calls("mount_blob").len(), 2);
}

#[tokio::test]
async fn a_blob_that_the_target_has_is_not_read_from_the_source() {
    let (bench, app) = (Bench::new(), repo(APP));
    push_image(&bench.target, &app, None, &[b"layer"]).await;
    let manifest = push_image(&bench.source, &app, Some("1"), &[b"layer"]).await;
    bench
        .target
        .inner
        .delete_manifest(&app, &manifest.digest().clone().into())
        .await
        .unwrap();
    let report = bench
        .run(&image("team/app:1", "team/app:1", Policy::default()))
        .await;

    assert_eq!((report.totals.copied, report.totals.blobs_present), (1, 2));
    assert_eq!(bench.source.calls("blob"), Vec::<String>::new());
}

#[tokio::test]
async fn a_tag_that_moves_to_an_image_the_target_has_costs_the_source_no_pull() {
    let (bench, app) = (Bench::new(), repo(APP));
    let manifest = push_index(&bench.source, &app, "1").await;
    bench
        .run(&image("team/app:1", "team/app:1", Policy::default()))
        .await;
    push(&bench.source, &app, Some("latest"), &manifest).await;
    bench
        .run(&image(
            "team/app:latest",
            "team/app:latest",
            Policy::default(),
        ))
        .await;

    assert_same(&bench, "latest", &app).await;
    assert_eq!(bench.source.log(), ["resolve team/app latest"]);
    assert_eq!(bench.target.calls("put_").len(), 1);
}

#[tokio::test]
async fn an_index_that_the_target_has_in_part_is_completed() {
    let (bench, app) = (Bench::new(), repo(APP));
    let index = push_index(&bench.source, &app, "1").await;
    // As another tool leaves it that copies one platform only.
    push(&bench.target, &app, Some("sparse"), &index).await;
    bench.target.forget_broken();
    bench
        .run(&image("team/app:1", "team/app:1", Policy::default()))
        .await;
    assert_same(&bench, "1", &app).await;
}

#[tokio::test]
async fn tags_are_filtered_and_the_reason_is_kept() {
    let (bench, app) = (Bench::new(), repo(APP));
    for name in ["1.0", "1.1", "1.1-rc", "latest"] {
        push_image(&bench.source, &app, Some(name), &[name.as_bytes()]).await;
    }
    let job = repository(&["[0-9.]+(-rc)?"], &[".*-rc"], Policy::default());
    assert_eq!(
        bench.planned(&job).await,
        [
            "1.0 copy: missing at the target",
            "1.1 copy: missing at the target",
            "1.1-rc excluded: denied by .*-rc",
            "latest excluded: no allow pattern matches",
        ]
    );
    let report = bench.run(&job).await;
    assert_eq!((report.totals.copied, report.totals.excluded), (2, 2));
    assert_eq!(tagged(&bench.target, &app, "latest").await, None);
}

#[tokio::test]
async fn missing_only_leaves_old_tags_alone_and_does_not_ask_the_source() {
    let (bench, app) = (Bench::new(), repo(APP));
    push_image(&bench.source, &app, Some("1"), &[b"new"]).await;
    let old = push_image(&bench.target, &app, Some("1"), &[b"old"]).await;
    push_image(&bench.source, &app, Some("2"), &[b"two"]).await;
    let policy = Policy {
        missing_only: true,
        ..Policy::default()
    };
    let report = bench.run(&repository(&[], &[], policy)).await;

    assert_eq!((report.totals.copied, report.totals.excluded), (1, 1));
    assert_eq!(
        tagged(&bench.target, &app, "1").await.as_ref(),
        Some(old.digest())
    );
    assert_eq!(
        bench.source.calls("resolve team/app 1"),
        Vec::<String>::new()
    );
    assert_same(&bench, "2", &app).await;
}

#[tokio::test]
async fn a_registry_is_copied_below_the_target_s_prefix() {
    let bench = Bench::new();
    for name in ["team/app", "team/db", "secret/x"] {
        push_image(&bench.source, &repo(name), Some("1"), &[name.as_bytes()]).await;
    }
    let scope = Scope::Registry {
        source: Location::Registry("source.test".parse().unwrap()),
        target: Location::Registry("target.test".parse().unwrap()),
        prefix: repo("mirror"),
        repositories: Filter::new(&[], &["secret/.*".to_owned()]).unwrap(),
        tags: Selection::default(),
    };
    let report = bench.run(&job(scope, Policy::default())).await;

    assert_eq!(
        (report.totals.copied, report.totals.failed),
        (2, 0),
        "{report:?}"
    );
    for (name, there) in [
        ("mirror/team/app", true),
        ("mirror/team/db", true),
        ("secret/x", false),
    ] {
        let found = tagged(&bench.target, &repo(name), "1").await;
        assert_eq!(found.is_some(), there, "{name}");
    }
}

#[tokio::test]
async fn d10_an_overwritten_image_is_kept_under_the_backup_tag() {
    let (bench, app) = (Bench::new(), repo(APP));
    let policy = Policy {
        backup: Some(backup("previous")),
        ..Policy::default()
    };
    let job = image("team/app:1", "team/app:1", policy);
    let first = push_index(&bench.source, &app, "1").await;
    let report = bench.run(&job).await;
    assert_eq!(report.totals.backups, 0, "there was nothing to keep");

    push_image(&bench.source, &app, Some("1"), &[b"second"]).await;
    let report = bench.run(&job).await;
    assert_eq!((report.totals.backups, report.totals.copied), (1, 1));
    assert_eq!(
        tagged(&bench.target, &app, "previous").await.as_ref(),
        Some(first.digest())
    );
    assert_same(&bench, "1", &app).await;

    let report = bench.run(&job).await;
    assert_eq!((report.totals.backups, report.totals.unchanged), (0, 1));
}

#[tokio::test]
async fn tags_that_change_places_are_both_kept() {
    let (bench, app) = (Bench::new(), repo(APP));
    let policy = Policy {
        backup: Some(backup("target.test/team/app:kept")),
        ..Policy::default()
    };
    for (name, content) in [("1", b"one"), ("2", b"two")] {
        push_image(&bench.source, &app, Some(name), &[content]).await;
    }
    bench.run(&repository(&[], &[], policy.clone())).await;
    for (name, content) in [("1", b"two"), ("2", b"one")] {
        push_image(&bench.source, &app, Some(name), &[content]).await;
    }
    let job = repository(&[], &[], policy);
    let run = tokio::time::timeout(Duration::from_secs(20), bench.run(&job));
    let report = run.await.expect("nobody waits in a circle");
    assert_eq!(
        (report.totals.copied, report.totals.backups),
        (2, 2),
        "{report:?}"
    );
}

#[tokio::test]
async fn d10_a_backup_in_another_repository_is_complete() {
    let (bench, app) = (Bench::new(), repo(APP));
    let policy = Policy {
        backup: Some(backup("target.test/attic/app:old")),
        ..Policy::default()
    };
    let first = push_index(&bench.target, &app, "1").await;
    push_image(&bench.source, &app, Some("1"), &[b"second"]).await;
    let report = bench.run(&image("team/app:1", "team/app:1", policy)).await;

    assert_eq!(
        (report.totals.backups, report.totals.copied),
        (1, 1),
        "{report:?}"
    );
    let attic = repo("attic/app");
    assert_eq!(
        tagged(&bench.target, &attic, "old").await.as_ref(),
        Some(first.digest())
    );
    complete(&bench.target.inner, &attic, first.digest())
        .await
        .expect("complete");
}

#[tokio::test]
async fn when_the_backup_fails_the_tag_is_not_moved() {
    let (bench, app) = (Bench::new(), repo(APP));
    let policy = Policy {
        backup: Some(backup("previous")),
        ..Policy::default()
    };
    let old = push_image(&bench.target, &app, Some("1"), &[b"old"]).await;
    push_image(&bench.source, &app, Some("1"), &[b"new"]).await;
    bench
        .target
        .start(Matching("put_manifest team/app previous"));
    let stop = CancellationToken::new();
    let job = image("team/app:1", "team/app:1", policy);
    let report = bench.executor.run(&job, &bench.stores(), &stop).await;

    assert_eq!((report.totals.failed, report.totals.copied), (1, 0));
    assert_eq!(
        tagged(&bench.target.inner, &app, "1").await.as_ref(),
        Some(old.digest())
    );
}

#[tokio::test]
async fn referrers_are_there_before_the_tag() {
    let (bench, app) = (Bench::new(), repo(APP));
    let index = push_index(&bench.source, &app, "1").await;
    let child = bench
        .source
        .manifest(&app, &index.children()[0].digest)
        .await
        .unwrap();
    let sbom = push_referrer(&bench.source, &app, &index, "application/vnd.example.sbom").await;
    let signature = push_referrer(&bench.source, &app, &sbom, "application/vnd.example.sig").await;
    let of_child = push_referrer(&bench.source, &app, &child, "application/vnd.example.sig").await;
    let report = bench.run(&repository(&[], &[], with_referrers())).await;

    assert_eq!(
        (report.totals.copied, report.totals.failed),
        (1, 0),
        "{report:?}"
    );
    let subjects: [(&Manifest, &Manifest); 3] =
        [(&index, &sbom), (&sbom, &signature), (&child, &of_child)];
    for (subject, referrer) in subjects {
        let listed = bench
            .target
            .inner
            .referrers(&app, subject.digest())
            .await
            .unwrap();
        assert_eq!(listed, [referrer.referrer_descriptor()]);
        complete(&bench.target.inner, &app, referrer.digest())
            .await
            .expect("complete");
    }
    let log = bench.target.calls("put_manifest");
    assert!(log.last().expect("a manifest").contains(" 1 "), "{log:#?}");
}

#[tokio::test]
async fn a_new_signature_of_an_unchanged_image_is_brought_without_touching_its_tag() {
    let (bench, app) = (Bench::new(), repo(APP));
    let index = push_index(&bench.source, &app, "1").await;
    let job = repository(&[], &[], with_referrers());
    bench.run(&job).await;
    let signature = push_referrer(&bench.source, &app, &index, "application/vnd.example.sig").await;
    assert_eq!(
        bench.planned(&job).await,
        ["1 copy: 1 referrers missing at the target"]
    );
    bench.run(&job).await;

    let put = format!("put_manifest team/app - {}", signature.digest());
    assert_eq!(bench.target.calls("put_manifest"), [put]);
    let report = bench.run(&job).await;
    assert_eq!(report.totals.unchanged, 1);
    assert_eq!(
        bench.source.calls("referrers").len(),
        1,
        "one listing a tag"
    );
    assert_eq!(
        bench.target.calls("referrers").len(),
        1,
        "one listing a tag"
    );
}

#[tokio::test]
async fn a_listing_of_referrers_that_fails_is_never_taken_for_no_signatures() {
    let (bench, app) = (Bench::new(), repo(APP));
    push_index(&bench.source, &app, "1").await;
    bench.source.start(Matching("referrers "));
    let stop = CancellationToken::new();
    let job = repository(&[], &[], with_referrers());
    let report = bench.executor.run(&job, &bench.stores(), &stop).await;

    assert_eq!((report.totals.failed, report.totals.copied), (1, 0));
    assert_eq!(tagged(&bench.target.inner, &app, "1").await, None);
}

#[tokio::test]
async fn d11_one_failing_tag_does_not_stop_the_others() {
    let (bench, app) = (Bench::new(), repo(APP));
    for name in ["1", "2", "3"] {
        push_image(&bench.source, &app, Some(name), &[name.as_bytes()]).await;
    }
    let gone = push_image(&bench.source, &app, Some("broken"), &[b"lost"]).await;
    let lost = gone.blobs().nth(1).expect("a layer").digest.clone();
    bench.source.inner.delete_blob(&app, &lost).await.unwrap();
    let report = bench.run(&repository(&[], &[], Policy::default())).await;

    assert_eq!(
        (report.totals.copied, report.totals.failed),
        (3, 1),
        "{report:?}"
    );
    let failed: Vec<_> = report
        .tags
        .iter()
        .filter_map(|tag| match &tag.outcome {
            Outcome::Failed { error, .. } => {
                Some((tag.source.as_str(), error.contains(lost.as_str())))
            }
            _ => None,
        })
        .collect();
    assert_eq!(failed, [("source.test/team/app:broken", true)]);
}

#[tokio::test]
async fn d11_what_cannot_be_found_is_a_failure_that_names_it() {
    let bench = Bench::new();
    let missing = image("team/app:nope", "team/app:nope", Policy::default());
    assert_eq!(
        bench.planned(&missing).await,
        ["source.test/team/app:nope failed: could not find source.test/team/app:nope: not found"]
    );
    let report = bench.run(&repository(&[], &[], Policy::default())).await;
    assert_eq!(report.totals.failed, 1, "the repository does not exist");
}

#[tokio::test]
async fn h6_nested_indexes_and_children_that_are_no_manifests_are_copied() {
    let (bench, app) = (Bench::new(), repo(APP));
    let inner = push_index(&bench.source, &app, "inner").await;
    let readme = crate::support::images::push_blob(&bench.source, &app, b"read me").await;
    let outer = Draft::index(&[inner.descriptor(), readme.clone()]).build();
    push(&bench.source, &app, Some("outer"), &outer).await;
    let report = bench
        .run(&image(
            "team/app:outer",
            "team/app:outer",
            Policy::default(),
        ))
        .await;

    assert_eq!(
        (report.totals.copied, report.totals.failed),
        (1, 0),
        "{report:?}"
    );
    complete(&bench.target.inner, &app, inner.digest())
        .await
        .expect("complete");
    assert!(bench.target.inner.has_blob(&app, &readme).await.unwrap());
}

#[tokio::test]
async fn h6_an_index_that_nests_too_deep_is_refused() {
    let (bench, app) = (Bench::new(), repo(APP));
    let mut manifest = push_image(&bench.source, &app, None, &[b"x"]).await;
    for _ in 0..9 {
        manifest = Draft::index(&[manifest.descriptor()]).build();
        push(&bench.source, &app, Some("deep"), &manifest).await;
    }
    let report = bench
        .run(&image("team/app:deep", "team/app:deep", Policy::default()))
        .await;
    assert_eq!(report.totals.failed, 1);
    let Outcome::Failed { error, .. } = &report.tags[0].outcome else {
        panic!("{report:?}");
    };
    assert!(error.contains("nest deeper than 8"), "{error}");
}

#[tokio::test]
async fn a_stop_begins_no_new_copy() {
    let (bench, app) = (Bench::new(), repo(APP));
    push_image(&bench.source, &app, Some("1"), &[b"x"]).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let job = repository(&[], &[], Policy::default());
    let report = bench.executor.run(&job, &bench.stores(), &stop).await;
    assert!(report.interrupted);
    assert_eq!(report.totals.copied, 0);
}

#[tokio::test]
async fn a_changed_tag_says_from_what() {
    let (bench, app) = (Bench::new(), repo(APP));
    push_image(&bench.source, &app, Some("1"), &[b"new"]).await;
    let old = push_image(&bench.target, &app, Some("1"), &[b"old"]).await;
    let job = repository(&[], &[], Policy::default());
    let memory = Memory::default();
    let steps = plan(&job, bench.readers(), &memory)
        .collect::<Vec<_>>()
        .await;
    let Planned::Step(step) = &steps[0] else {
        panic!("{steps:?}")
    };
    let from = old.digest().clone();
    assert!(matches!(&step.decision, Decision::Copy { why, .. } if *why == Why::Changed { from }));
    assert!(!matches!(
        &step.decision,
        Decision::Excluded(Exclusion::Present)
    ));
}
