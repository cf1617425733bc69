//! What holds of the executor whatever is copied and whatever fails: no
//! manifest before its content, no tag on anything incomplete, no blob twice,
//! and a run after a failed one finishes the job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use regmirror::oci::{Digest, Draft, Manifest};
use regmirror::select::Selection;
use regmirror::store::Source;
use regmirror::sync::{Executor, Job, Limits, Policy, Referrers, RunReport, Scope, Stores};
use tokio_util::sync::CancellationToken;

use crate::support::images::{complete, push, push_image, push_referrer, repo, tagged};
use crate::support::recorded::{Failing, From, Never, Recorded, These};

/// What one tag of the source holds.
#[derive(Debug, Clone)]
enum Shape {
    /// An image of these layers; the numbers name their content.
    Image(Vec<u8>),
    /// An index of such images.
    Index(Vec<Vec<u8>>),
    /// An index of an index.
    Nested(Vec<Vec<u8>>),
}

/// A tag's content, and how many signatures hang on it.
type Tagged = (Shape, usize);

fn layers() -> impl Strategy<Value = Vec<u8>> {
    // Few different layers, so that they are shared a lot.
    prop::collection::vec(0u8..6, 0..4)
}

fn shape() -> impl Strategy<Value = Shape> {
    let images = || prop::collection::vec(layers(), 1..4);
    prop_oneof![
        layers().prop_map(Shape::Image),
        images().prop_map(Shape::Index),
        images().prop_map(Shape::Nested),
    ]
}

fn tags() -> impl Strategy<Value = Vec<Tagged>> {
    prop::collection::vec((shape(), 0usize..3), 1..6)
}

async fn seed(source: &Recorded, tags: &[Tagged]) {
    let app = repo("app");
    for (number, (shape, signatures)) in tags.iter().enumerate() {
        let name = format!("t{number}");
        let manifest = match shape {
            Shape::Image(layers) => image(source, layers).await,
            Shape::Index(images) => index(source, images).await,
            Shape::Nested(images) => {
                let inner = index(source, images).await;
                Draft::index(&[inner.descriptor()]).build()
            }
        };
        push(source, &app, Some(&name), &manifest).await;
        for signature in 0..*signatures {
            push_referrer(
                source,
                &app,
                &manifest,
                &format!("application/vnd.x.{signature}"),
            )
            .await;
        }
    }
}

async fn image(source: &Recorded, layers: &[u8]) -> Manifest {
    let layers: Vec<[u8; 1]> = layers.iter().map(|layer| [*layer]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(|layer| &layer[..]).collect();
    push_image(source, &repo("app"), None, &layers).await
}

async fn index(source: &Recorded, images: &[Vec<u8>]) -> Manifest {
    let mut children = Vec::new();
    for layers in images {
        children.push(image(source, layers).await.descriptor());
    }
    let index = Draft::index(&children).build();
    push(source, &repo("app"), None, &index).await;
    index
}

/// Runs the whole repository from `source` to `target`.
async fn run(source: &Recorded, target: &Recorded) -> RunReport {
    let job = Job {
        name: "app".to_owned(),
        scope: Scope::Repository {
            source: "source.test/app".parse().unwrap(),
            target: "target.test/app".parse().unwrap(),
            tags: Selection::default(),
        },
        policy: Policy {
            referrers: Some(Referrers::default()),
            ..Policy::default()
        },
    };
    let stores = Stores::new(Arc::new(source.clone()), Arc::new(target.clone()));
    // A new executor: what a killed process knew is gone.
    let limits = Limits {
        attempts: 1,
        ..Limits::default()
    };
    let stop = CancellationToken::new();
    Executor::new(limits).run(&job, &stores, &stop).await
}

/// Every tag of the target, and everything it points at.
async fn contents(store: &Recorded, count: usize) -> BTreeMap<usize, (Digest, BTreeSet<Digest>)> {
    let app = repo("app");
    let mut found = BTreeMap::new();
    for number in 0..count {
        if let Some(digest) = tagged(&store.inner, &app, &format!("t{number}")).await {
            let all = complete(&store.inner, &app, &digest).await;
            let all = all.unwrap_or_else(|missing| panic!("t{number} is incomplete: {missing}"));
            found.insert(number, (digest, all));
        }
    }
    found
}

fn assert_nothing_twice(target: &Recorded) {
    for call in ["put_blob", "put_manifest"] {
        let puts = target.calls(call);
        let unique: BTreeSet<&String> = puts.iter().collect();
        assert_eq!(
            unique.len(),
            puts.len(),
            "something was sent twice: {puts:#?}"
        );
    }
}

/// One run with `fail` in force at the target, then one without.
async fn survive(tags: &[Tagged], fail: impl Failing + 'static) {
    let (source, target) = (Recorded::new("source.test"), Recorded::new("target.test"));
    seed(&source, tags).await;
    source.start(Never);
    target.start(fail);
    run(&source, &target).await;
    assert_eq!(target.broken(), Vec::<String>::new());
    contents(&target, tags.len()).await;
    let first: BTreeSet<String> = target.calls("put_blob").into_iter().collect();

    target.start(Never);
    let report = run(&source, &target).await;
    assert_eq!(report.totals.failed, 0, "{report:?}");
    assert_eq!(target.broken(), Vec::<String>::new());
    assert_nothing_twice(&target);
    assert_eq!(
        contents(&target, tags.len()).await,
        contents(&source, tags.len()).await
    );
    let app = repo("app");
    for (digest, _) in contents(&source, tags.len()).await.values() {
        let mut want = source.inner.referrers(&app, digest).await.unwrap();
        let mut have = target.inner.referrers(&app, digest).await.unwrap();
        want.sort_by(|a, b| a.digest.cmp(&b.digest));
        have.sort_by(|a, b| a.digest.cmp(&b.digest));
        assert_eq!(have, want);
    }
    let second: BTreeSet<String> = target.calls("put_blob").into_iter().collect();
    let again: Vec<_> = first.intersection(&second).collect();
    assert!(
        again.is_empty(),
        "sent in the first run and again in the second: {again:#?}"
    );
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn d2_a_run_copies_all_and_nothing_twice(tags in tags()) {
        block_on(async {
            let (source, target) = (Recorded::new("source.test"), Recorded::new("target.test"));
            seed(&source, &tags).await;
            source.start(Never);
            target.start(Never);
            let report = run(&source, &target).await;
            assert_eq!(report.totals.failed, 0, "{report:?}");
            assert_eq!(target.broken(), Vec::<String>::new());
            assert_nothing_twice(&target);
            assert_eq!(contents(&target, tags.len()).await, contents(&source, tags.len()).await);
        });
    }

    #[test]
    fn d3_a_process_killed_anywhere_leaves_whole_tags_and_is_made_up_for(
        tags in tags(),
        at in 0usize..120,
    ) {
        block_on(survive(&tags, From(at)));
    }

    #[test]
    fn d3_single_failures_anywhere_leave_whole_tags_and_are_made_up_for(
        tags in tags(),
        at in prop::collection::vec(0usize..120, 1..8),
    ) {
        block_on(survive(&tags, These(at)));
    }
}
