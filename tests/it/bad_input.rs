//! Sources that are damaged, hostile or away: one clear line each, and
//! everything else goes on.

use regmirror::app::RetryPolicy;
use regmirror::oci::Draft;

use crate::support::Fault;
use crate::support::bench::{Bench, failures};
use crate::support::images::{push, push_image, push_index, repo, tagged};

const ALL: &str = "source: SOURCE/app, target: TARGET/app, type: repository";
const BAD: &str = "source: 'SOURCE/app:bad', target: 'TARGET/app:bad', type: image";
const GOOD: &str = "source: 'SOURCE/app:good', target: 'TARGET/app:good', type: image";

async fn bench() -> Bench {
    let bench = Bench::new().await;
    for name in ["bad", "good"] {
        let layer = format!("the layer of {name}");
        push_image(
            bench.source.store(),
            &repo("app"),
            Some(name),
            &[layer.as_bytes()],
        )
        .await;
    }
    bench
}

/// Runs the jobs, of which exactly `bad` fails, with these words in its line.
async fn fails(bench: &Bench, entries: &[&str], words: &[&str]) {
    let summary = bench.run(entries).await;
    let failures = failures(&summary);
    assert_eq!(failures.len(), 1, "{failures:#?}");
    for word in words {
        assert!(failures[0].contains(word), "{word}: {}", failures[0]);
    }
    let target = bench.target.store();
    assert!(tagged(target, &repo("app"), "good").await.is_some());
    assert!(tagged(target, &repo("app"), "bad").await.is_none());
}

fn reply(body: &str, kind: &str) -> Fault {
    Fault::reply(200, &[("content-type", kind)], body)
}

#[tokio::test]
async fn d11_a_corrupt_blob_fails_its_tag_alone() {
    let bench = bench().await;
    let digest = regmirror::oci::Digest::sha256(b"the layer of bad");
    bench.source.on("GET", digest.as_str(), 9, Fault::FlipBit);
    let blob = format!("blob {digest} of {}/app", bench.source.address());
    let expected = format!("expected digest {digest}, seen sha256:");
    fails(&bench, &[ALL], &["/app:bad: ", &blob, &expected]).await;
    assert_eq!(
        bench
            .target
            .count(&format!("GET /v2/app/blobs/{digest} 200")),
        0
    );
}

#[tokio::test]
async fn d11_a_missing_tag_fails_its_job_alone() {
    let bench = bench().await;
    let missing = BAD.replace("SOURCE/app:bad", "SOURCE/app:none");
    fails(
        &bench,
        &[&missing, GOOD],
        &["/app:none", "not found", "check the name"],
    )
    .await;
}

#[tokio::test]
async fn a_registry_that_is_away_is_named() {
    let bench = bench().await;
    // Taken and given back: nobody listens there.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = taken.local_addr().unwrap().to_string();
    drop(taken);
    let away = BAD.replace("SOURCE", &closed);
    fails(
        &bench,
        &[&away, GOOD],
        &[&closed, "refused", "check that it is reachable"],
    )
    .await;
}

#[tokio::test]
async fn a_page_for_browsers_is_no_registry() {
    let bench = bench().await;
    let page = reply("<html><body>Welcome</body></html>", "text/html");
    for method in ["HEAD", "GET"] {
        bench.source.on(method, "manifests/bad", 9, page.clone());
    }
    let words = ["/app:bad", "check that it is the address of a registry"];
    fails(&bench, &[BAD, GOOD], &words).await;
}

/// Two images, each of which a list names as the other's referrer.
#[tokio::test]
async fn lists_of_referrers_that_lie_hold_nothing_up() {
    let bench = Bench::new().await;
    let (store, app) = (bench.source.store(), repo("app"));
    bench.source.forget_referrers();
    let one = push_image(store, &app, Some("1"), &[b"one"]).await;
    let two = push_image(store, &app, Some("2"), &[b"two"]).await;
    for (subject, listed) in [(&one, &two), (&two, &one)] {
        let list = Draft::index(&[listed.descriptor()]).build();
        let name = regmirror::oci::fallback_tag(subject.digest());
        push(store, &app, Some(name.as_str()), &list).await;
    }
    let job = "source: SOURCE/app, target: TARGET/app, type: repository, referrers: true";
    let limit = std::time::Duration::from_secs(30);
    let summary = tokio::time::timeout(limit, bench.run(&[job]))
        .await
        .expect("nobody waits in a circle");
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert_eq!((summary.totals.copied, summary.totals.referrers), (2, 0));
}

/// A target that lost something between the look and the write, and one that
/// has a damaged manifest: what is missing there is sent.
#[tokio::test]
async fn d5_what_the_target_lost_or_damaged_is_sent_again() {
    let bench = Bench::new().await;
    let app = repo("app");
    let index = push_index(bench.source.store(), &app, "1").await;
    let unknown = Fault::Reply {
        status: 404,
        headers: Vec::new(),
        body: br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#.to_vec(),
    };
    bench.target.on("PUT", "/manifests/1", 1, unknown);
    let job = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";
    let summary = bench.run(&[job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());

    let damaged = format!("/manifests/{}", index.digest());
    bench.target.on("GET", &damaged, 1, Fault::FlipBit);
    let job = "source: 'SOURCE/app:1', target: 'TARGET/app:again', type: image";
    let summary = bench.run(&[job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let found = tagged(bench.target.store(), &app, "again").await;
    assert_eq!(found.as_ref(), Some(index.digest()));
}

/// A target that is busy when an upload is to be closed.
#[tokio::test]
async fn a_busy_target_gets_the_blob_again() {
    let bench = bench().await;
    bench
        .target
        .on("PUT", "/blobs/uploads/", 1, Fault::Status(429));
    let summary = bench.run_with(&[GOOD], RetryPolicy::default(), false).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert_eq!(summary.totals.copied, 1);
}
