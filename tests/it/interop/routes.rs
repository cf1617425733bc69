//! An index with a referrer on every route: what arrives is what was sent, and
//! a second run sends nothing.

use super::content::{
    Family, Published, assert_in_layout, assert_lists, assert_pulls, assert_referrer,
    assert_referrer_in_layout, get, manifest, publish,
};
use super::programs::{Report, Server, installed, once, skopeo_raw};

#[tokio::test]
async fn an_oci_index_travels_every_route_unchanged() {
    if installed() {
        travel(Family::Oci).await;
    }
}

#[tokio::test]
async fn a_docker_manifest_list_travels_every_route_unchanged() {
    if installed() {
        travel(Family::Docker).await;
    }
}

async fn travel(family: Family) {
    let source = Server::docker_registry();
    let published = publish(&source, "team/app", "1.0", family).await;
    let seeded = source.writes();
    let from = source.reference("team/app:1.0");

    // docker-registry to docker-registry.
    let target = Server::docker_registry();
    copied_once(&from, &target.reference("mirror/app:1.0"));
    arrived(&target, "mirror/app", &published).await;
    let sent = target.writes();
    idle(&from, &target.reference("mirror/app:1.0"));
    assert_eq!(target.writes(), sent, "the second run wrote");

    // docker-registry to a layout.
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("layout");
    let ocidir = format!("ocidir://{}:1.0", layout.display());
    copied_once(&from, &ocidir);
    assert_in_layout(&layout, "1.0", &published.index);
    assert_referrer_in_layout(&layout, &published);
    let listed = std::fs::read(layout.join("index.json")).unwrap();
    idle(&from, &ocidir);
    assert_eq!(std::fs::read(layout.join("index.json")).unwrap(), listed);

    // That layout to another docker-registry.
    let last = Server::docker_registry();
    copied_once(&ocidir, &last.reference("app:1.0"));
    arrived(&last, "app", &published).await;
    let sent = last.writes();
    idle(&ocidir, &last.reference("app:1.0"));
    assert_eq!(last.writes(), sent, "the second run wrote");

    // docker-registry to the embedded registry, which lists referrers itself.
    let embedded = Server::memory();
    copied_once(&from, &embedded.reference("app:1.0"));
    assert_pulls(&embedded.docker("app:1.0"), &published.index);
    let referrer = &published.referrer;
    let list = get(
        &embedded,
        &format!("app/referrers/{}", published.index.digest()),
    )
    .await;
    assert_lists(&manifest(list), referrer);
    let name = format!("app@{}", referrer.digest());
    assert_eq!(skopeo_raw(&embedded.docker(&name)), referrer.bytes()[..]);
    idle(&from, &embedded.reference("app:1.0"));

    // And from there back to docker-registry, beside the first copy.
    copied_once(
        &embedded.reference("app:1.0"),
        &target.reference("back/app:1.0"),
    );
    arrived(&target, "back/app", &published).await;

    assert_eq!(source.writes(), seeded, "a source was written to");
}

/// Copies an image that the target does not have.
fn copied_once(source: &str, target: &str) {
    let report = once("image", source, target);
    assert_eq!((report.copied, report.unchanged), (1, 0), "{report:?}");
}

/// Runs the same once more: there is nothing left to do.
fn idle(source: &str, target: &str) {
    assert_eq!(once("image", source, target), Report::idle(1));
}

async fn arrived(at: &Server, repository: &str, published: &Published) {
    assert_pulls(&at.docker(&format!("{repository}:1.0")), &published.index);
    assert_referrer(at, repository, published).await;
}
