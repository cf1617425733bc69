//! Whole registries: what `_catalog` of a docker-registry names.

use super::content::{
    Family, assert_in_layout, assert_pulls, assert_referrer_in_layout, image, manifest, publish,
};
use super::programs::{Report, Server, command, installed, once, skopeo_raw};

/// The tags that are copied: an index, its two images, and two images of other
/// repositories. The tag that lists referrers is not: the target keeps its own.
const TAGS: u64 = 5;

#[tokio::test]
async fn a_whole_registry_is_mirrored() {
    if !installed() {
        return;
    }
    let source = Server::docker_registry();
    let app = publish(&source, "team/app", "1.0", Family::Oci).await;
    image("tool\n", Family::Docker, &source.docker("tool:3"));
    image("deep\n", Family::Oci, &source.docker("a/b/c/d:x"));
    let others = ["tool:3", "a/b/c/d:x", "team/app:1.0-arm64"];
    let others = others.map(|name| (name, manifest(skopeo_raw(&source.docker(name)))));

    // To another registry, below a prefix.
    let target = Server::docker_registry();
    let prefix = target.reference("mirror");
    let report = once("registry", &source.address, &prefix);
    assert_eq!(report.copied, TAGS, "{report:?}");
    assert_pulls(&target.docker("mirror/team/app:1.0"), &app.index);
    for (name, expected) in &others {
        assert_pulls(&target.docker(&format!("mirror/{name}")), expected);
    }
    let sent = target.writes();
    assert_eq!(
        once("registry", &source.address, &prefix),
        Report::idle(TAGS)
    );
    assert_eq!(target.writes(), sent, "the second run wrote");

    // To a directory, with a layout for each repository.
    let work = tempfile::tempdir().unwrap();
    let ocidir = format!("ocidir://{}", work.path().display());
    let report = once("registry", &source.address, &ocidir);
    assert_eq!(report.copied, TAGS, "{report:?}");
    assert_in_layout(&work.path().join("team/app"), "1.0", &app.index);
    for (name, expected) in &others {
        let (repository, tag) = name.split_once(':').unwrap();
        assert_in_layout(&work.path().join(repository), tag, expected);
    }
    assert_referrer_in_layout(&work.path().join("team/app"), &app);
    assert_eq!(
        once("registry", &source.address, &ocidir),
        Report::idle(TAGS)
    );
}

#[tokio::test]
async fn what_is_foretold_and_may_be_done_is_done() {
    if !installed() {
        return;
    }
    let (source, target) = (Server::docker_registry(), Server::docker_registry());
    publish(&source, "team/app", "1.0", Family::Oci).await;
    let (from, to) = (source.reference("team/app"), target.reference("team/app"));
    let asked = |arguments: &[&str]| {
        let arguments = [arguments, &["-o", "json", "-v", "off"]].concat();
        let output = command(&arguments, "repository", &from, &to, "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("a report")
    };
    let access = asked(&["auth", "check"]);
    for registry in access["registries"].as_array().unwrap() {
        assert_eq!(registry["reachable"], true, "{access:#}");
        assert_eq!(registry["repositories"][0]["allowed"], true, "{access:#}");
    }
    let foretold = asked(&["check"]);
    let (totals, cost) = (&foretold["totals"], &foretold["totals"]["cost"]);
    assert!(totals["pending"].as_u64() > Some(1), "{foretold:#}");
    let done = &asked(&["once"])["totals"];
    assert_eq!(done["copied"], totals["pending"]);
    assert_eq!(done["manifests"], cost["manifests"]);
    assert_eq!(done["blobs_copied"], cost["blobs"]);
    assert_eq!(done["bytes_sent"], cost["bytes"]);
    assert_eq!(asked(&["check", "--exit-code"])["totals"]["pending"], 0);
}
