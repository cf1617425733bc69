//! Three hundred tags through registries of which one request in five fails.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use regmirror::app::{OpenStores, RetryPolicy, Summary, run_once};
use regmirror::config::Config;
use regmirror::oci::{Descriptor, Digest, Manifest};
use regmirror::store::Source;
use tokio_util::sync::CancellationToken;

use crate::support::Fault;
use crate::support::bench::{Bench, failures};
use crate::support::images::{complete, push_image, push_index, push_referrer, repo, tagged};

const TAGS: usize = 300;
const SEED: u64 = 20_261_124;

/// A layer of its own for tag `number`, up to 128 KiB.
fn layer(number: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let length = random.usize(1..128 << 10);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

/// Images of a shared and an own layer; some are indexes, some are signed.
async fn fill(bench: &Bench) -> Vec<Manifest> {
    let (store, app) = (bench.source.store(), repo("app"));
    let base = layer(TAGS);
    let mut images = Vec::new();
    for number in 0..TAGS {
        let tag = format!("v{number}");
        let image = match number % 10 {
            0 => push_index(store, &app, &tag).await,
            _ => push_image(store, &app, Some(&tag), &[&base, &layer(number)]).await,
        };
        if number % 15 == 0 {
            push_referrer(store, &app, &image, "application/vnd.example.signature").await;
        }
        images.push(image);
    }
    images
}

/// The bytes of all blobs that a complete copy needs, each once.
async fn needed(bench: &Bench, images: &[Manifest]) -> u64 {
    let (store, app) = (bench.source.store(), repo("app"));
    let mut sizes: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut todo: Vec<Descriptor> = images.iter().map(Manifest::descriptor).collect();
    while let Some(next) = todo.pop() {
        let manifest = store.manifest(&app, &next.digest).await.unwrap();
        todo.extend(manifest.children().iter().cloned());
        todo.extend(store.referrers(&app, &next.digest).await.unwrap());
        let blobs = manifest.blobs();
        sizes.extend(blobs.map(|blob| (blob.digest.clone(), blob.size)));
    }
    sizes.values().sum()
}

async fn run(bench: &Bench) -> Summary {
    let entry = "source: SOURCE/app, target: TARGET/app, type: repository, referrers: true";
    let mut config = Config::parse(&bench.config(&[entry]), "soak").unwrap();
    for registry in config.registries.values_mut() {
        registry.idle = Some(Duration::from_millis(200));
    }
    // As usual, but for shorter waits, and more of them: all uploads begin with
    // the same request, so that the storm cannot tell how often one has failed.
    let retry = RetryPolicy {
        attempts: 8,
        base: Duration::from_millis(10),
        cap: Duration::from_millis(100),
        ..RetryPolicy::default()
    };
    bench.source.storm(SEED);
    bench.target.storm(SEED + 1);
    let stores = std::sync::Arc::new(OpenStores::new(&config, retry).unwrap());
    let summary = run_once(
        &config,
        &stores,
        regmirror::sync::Audience::default(),
        &CancellationToken::new(),
    )
    .await;
    bench.source.heal();
    bench.target.heal();
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_through_a_storm_ends_complete_and_correct() {
    let bench = Bench::new().await;
    let images = fill(&bench).await;
    let needed = needed(&bench, &images).await;
    let summary = run(&bench).await;
    assert_eq!(failures(&summary), [""; 0]);
    assert_eq!(summary.totals.copied, TAGS as u64);

    let (store, app) = (bench.target.store(), repo("app"));
    for (number, image) in images.iter().enumerate() {
        let digest = tagged(store, &app, &format!("v{number}")).await;
        assert_eq!(digest.as_ref(), Some(image.digest()), "v{number}");
        complete(store, &app, image.digest()).await.unwrap();
        let signed = store.referrers(&app, image.digest()).await.unwrap();
        assert_eq!(signed.len(), usize::from(number % 15 == 0), "v{number}");
        for referrer in signed {
            complete(store, &app, &referrer.digest).await.unwrap();
        }
    }

    let (struck, requests) = (
        bench.source.struck() + bench.target.struck(),
        bench.source.requests() + bench.target.requests(),
    );
    let extra = bench.source.sent().saturating_sub(needed);
    // Past the harness, which would keep it to itself.
    writeln!(
        std::io::stderr(),
        "soak: {struck} of {requests} requests were struck; {needed} bytes were needed of the \
         source, {extra} more were read"
    )
    .unwrap();
    assert!(struck * 7 > requests, "{struck} of {requests}");
    // A body that is cut is read on. Only what the target refused after it was
    // sent is read again.
    assert!(extra * 2 < needed, "{extra} on top of {needed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_wrong_bit_in_a_storm_is_one_failed_tag() {
    let bench = Bench::new().await;
    fill(&bench).await;
    let wrong = Digest::of(regmirror::oci::Algorithm::Sha256, &layer(42));
    let path = format!("/blobs/{wrong}");
    bench.source.on("GET", &path, usize::MAX, Fault::FlipBit);
    let summary = run(&bench).await;

    let failed = failures(&summary);
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(failed[0].contains("/app:v42: "), "{failed:#?}");
    let says = format!("expected digest {wrong}, seen sha256:");
    assert!(failed[0].contains(&says), "{failed:#?}");
    assert_eq!(summary.totals.copied, TAGS as u64 - 1);

    let (store, app) = (bench.target.store(), repo("app"));
    assert_eq!(tagged(store, &app, "v42").await, None);
    let blob = Descriptor {
        digest: wrong,
        ..Descriptor::empty()
    };
    assert!(!store.has_blob(&app, &blob).await.unwrap());
    for number in (0..TAGS).filter(|number| *number != 42) {
        let digest = tagged(store, &app, &format!("v{number}")).await.unwrap();
        complete(store, &app, &digest).await.unwrap();
    }
}
