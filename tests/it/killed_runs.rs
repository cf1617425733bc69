//! A run that is cut off at any request leaves whole tags, and the next one
//! finishes the job and sends only what is missing.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use regmirror::app::{OpenStores, RetryPolicy};
use regmirror::config::Config;
use regmirror::oci::{Digest, Manifest};
use regmirror::store::{Hosted, Source};

use crate::support::bench::{Bench, failures};
use crate::support::images::{complete, push_image, push_index, push_referrer, repo, tagged};
use crate::support::{Fault, TestRegistry};

const JOB: &str =
    "source: SOURCE/app, target: TARGET/app, type: repository, referrers: true, backup: kept";

/// How a run is cut off.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// One request is answered 503.
    Refused,
    /// One request gets no answer, and has no effect.
    Dropped,
    /// One request gets no answer, and has its effect.
    Lost,
    /// No request succeeds any more, as when this program is killed.
    Dead,
}

impl Cut {
    fn at(self, registry: &TestRegistry, number: usize) {
        match self {
            Self::Refused => registry.fail_request(number, Fault::Status(503)),
            Self::Dropped => registry.fail_request(number, Fault::Drop),
            Self::Lost => registry.fail_request(number, Fault::Lose),
            Self::Dead => registry.fail_from(number),
        }
    }
}

/// What the source has.
struct Seeded {
    index: Manifest,
    child: Digest,
    image: Manifest,
    old: Manifest,
    referrers: BTreeSet<Digest>,
}

impl Seeded {
    fn subjects(&self) -> [&Digest; 2] {
        [self.index.digest(), &self.child]
    }
}

/// An index of two platforms that share a layer, signed as a whole and in
/// part; and an image, of which the target has an older version.
async fn seed(bench: &Bench) -> Seeded {
    let (app, source) = (repo("app"), bench.source.store());
    let index = push_index(source, &app, "index").await;
    let child = index.children()[0].digest.clone();
    let part = source.manifest(&app, &child).await.unwrap();
    let sbom = push_referrer(source, &app, &index, "application/vnd.x.sbom").await;
    let signature = push_referrer(source, &app, &sbom, "application/vnd.x.signature").await;
    let other = push_referrer(source, &app, &part, "application/vnd.x.sbom").await;
    let image = push_image(source, &app, Some("moved"), &[b"shared base", b"new"]).await;
    let old = push_image(bench.target.store(), &app, Some("moved"), &[b"old"]).await;
    Seeded {
        index,
        child,
        image,
        old,
        referrers: [sbom, signature, other]
            .map(|it| it.digest().clone())
            .into(),
    }
}

/// The source's blobs that the target has.
async fn blobs_at_target(bench: &Bench, seeded: &Seeded) -> BTreeSet<Digest> {
    let (app, source, target) = (repo("app"), bench.source.store(), bench.target.store());
    let mut roots = vec![seeded.index.digest().clone(), seeded.image.digest().clone()];
    roots.extend(seeded.referrers.iter().cloned());
    let mut found = BTreeSet::new();
    for root in roots {
        for digest in complete(source, &app, &root).await.unwrap() {
            if target.blob_size(&app, &digest).await.unwrap().is_some() {
                found.insert(digest);
            }
        }
    }
    found
}

/// Every tag resolves to complete content, and what was overwritten is kept.
async fn check_tags(bench: &Bench, seeded: &Seeded, at: &str) {
    let (app, target) = (repo("app"), bench.target.store());
    let pages: Vec<_> = target.tags(&app).try_collect().await.unwrap();
    for tag in pages.into_iter().flat_map(|page| page.names) {
        let digest = tagged(target, &app, tag.as_str()).await.unwrap();
        let whole = complete(target, &app, &digest).await;
        assert!(whole.is_ok(), "{at}: {tag} is incomplete: {whole:?}");
    }
    let moved = tagged(target, &app, "moved").await.unwrap();
    if moved != *seeded.old.digest() {
        assert_eq!(&moved, seeded.image.digest(), "{at}");
        let kept = tagged(target, &app, "kept").await;
        assert_eq!(kept.as_ref(), Some(seeded.old.digest()), "{at}");
    }
}

/// The referrers of each subject and theirs in turn, as a client lists them at the target.
async fn listed(bench: &Bench, seeded: &Seeded) -> BTreeSet<Digest> {
    let config = Config::parse(&bench.config(&[JOB]), "test").unwrap();
    let stores = std::sync::Arc::new(OpenStores::new(&config, RetryPolicy::none()).unwrap());
    let store = stores.of(&config.jobs[0]).unwrap().target;
    let mut found = BTreeSet::new();
    let mut todo: Vec<Digest> = seeded.subjects().into_iter().cloned().collect();
    while let Some(subject) = todo.pop() {
        for referrer in store.referrers(&repo("app"), &subject).await.unwrap() {
            found.insert(referrer.digest.clone());
            todo.push(referrer.digest);
        }
    }
    found
}

/// The second run, undisturbed: it finishes the job, and sends no blob of
/// which the target has all.
async fn finish(bench: &Bench, seeded: &Seeded, at: &str) {
    let present = blobs_at_target(bench, seeded).await;
    bench.clear_logs();
    let summary = bench.run(&[JOB]).await;
    assert_eq!(failures(&summary), Vec::<String>::new(), "{at}");
    let log = bench.target.log();
    let sent: Vec<&String> = log
        .iter()
        .filter(|line| line.starts_with("PUT ") && line.contains("/blobs/uploads/"))
        .collect();
    for line in &sent {
        let again = present
            .iter()
            .find(|digest| line.contains(digest.as_str()) || line.contains(digest.hex()));
        assert!(again.is_none(), "{at}: sent again: {line}");
    }
    assert_eq!(bench.target.count("POST "), sent.len(), "{at}: {log:#?}");
    check_tags(bench, seeded, at).await;
    let app = repo("app");
    for (name, manifest) in [("index", &seeded.index), ("moved", &seeded.image)] {
        let digest = tagged(bench.target.store(), &app, name).await;
        assert_eq!(digest.as_ref(), Some(manifest.digest()), "{at}: {name}");
    }
    assert_eq!(listed(bench, seeded).await, seeded.referrers, "{at}");
}

async fn bench(api: bool) -> (Bench, Seeded) {
    let bench = Bench::new().await;
    if !api {
        bench.target.forget_referrers();
    }
    let seeded = seed(&bench).await;
    (bench, seeded)
}

/// Cuts a run off at each request that `side` gets in an undisturbed one.
async fn cut_everywhere(api: bool, cuts: &[Cut], side: fn(&Bench) -> &TestRegistry) {
    let (whole, seeded) = bench(api).await;
    let summary = whole.run(&[JOB]).await;
    assert_eq!((summary.totals.failed, summary.totals.backups), (0, 1));
    check_tags(&whole, &seeded, "undisturbed").await;
    let requests = side(&whole).requests();
    assert!(requests > 10, "{requests}");
    finish(&whole, &seeded, "undisturbed, again").await;
    assert_eq!(whole.target.count("PUT "), 0);

    let cuts = (0..requests).flat_map(|number| cuts.iter().map(move |cut| (number, *cut)));
    futures::stream::iter(cuts)
        .for_each_concurrent(2, async |(number, cut)| {
            let at = format!("{cut:?} at request {number} of {requests}");
            let (bench, seeded) = bench(api).await;
            cut.at(side(&bench), number);
            bench.run(&[JOB]).await;
            check_tags(&bench, &seeded, &at).await;
            side(&bench).heal();
            finish(&bench, &seeded, &at).await;
        })
        .await;
}

#[tokio::test]
async fn d3_a_run_cut_off_at_the_target_is_made_up_for() {
    cut_everywhere(true, &[Cut::Refused, Cut::Dead], |bench| &bench.target).await;
}

#[tokio::test]
async fn d3_a_run_cut_off_at_a_target_without_referrers_api_is_made_up_for() {
    cut_everywhere(false, &[Cut::Dropped, Cut::Lost, Cut::Dead], |bench| {
        &bench.target
    })
    .await;
}

#[tokio::test]
async fn d3_a_run_cut_off_at_the_source_is_made_up_for() {
    cut_everywhere(true, &[Cut::Dropped, Cut::Dead], |bench| &bench.source).await;
}
