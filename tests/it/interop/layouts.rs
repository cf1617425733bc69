//! Layouts that skopeo and regmirror write in turn, with several tags in each.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::content::{Family, assert_in_layout, assert_pulls, image, manifest};
use super::programs::{Report, Server, installed, once, skopeo_copy, skopeo_raw};
use crate::support::program::{has, printed};

#[tokio::test]
async fn a_layout_of_skopeo_is_mirrored_and_written_into() {
    if !installed() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("layout");
    for tag in ["1", "2", "3"] {
        image(&format!("image {tag}\n"), Family::Oci, &oci(&layout, tag));
    }
    let registry = Server::docker_registry();
    let report = once("repository", &ocidir(&layout), &registry.reference("app"));
    assert_eq!(report.copied, 3);
    for tag in ["1", "2", "3"] {
        let expected = manifest(skopeo_raw(&oci(&layout, tag)));
        assert_pulls(&registry.docker(&format!("app:{tag}")), &expected);
    }
    let sent = registry.writes();
    let report = once("repository", &ocidir(&layout), &registry.reference("app"));
    assert_eq!(report, Report::idle(3));
    assert_eq!(registry.writes(), sent, "the second run wrote");

    // Into it: one tag more, and one that moves. The others stay.
    let kept = manifest(skopeo_raw(&oci(&layout, "1")));
    image("more\n", Family::Oci, &registry.docker("other:4"));
    image("moved\n", Family::Docker, &registry.docker("other:3"));
    let report = once("repository", &registry.reference("other"), &ocidir(&layout));
    assert_eq!(report.copied, 2);
    assert_in_layout(&layout, "1", &kept);
    for tag in ["3", "4"] {
        let expected = manifest(skopeo_raw(&registry.docker(&format!("other:{tag}"))));
        assert_in_layout(&layout, tag, &expected);
    }
    skopeo_raw(&oci(&layout, "2"));
}

#[tokio::test]
async fn a_layout_of_ours_is_read_and_written_into_by_others() {
    if !installed() {
        return;
    }
    let source = Server::docker_registry();
    for tag in ["1", "2"] {
        let name = format!("app:{tag}");
        image(
            &format!("image {tag}\n"),
            Family::Oci,
            &source.docker(&name),
        );
    }
    image("docker\n", Family::Docker, &source.docker("app:3"));
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("layout");
    let report = once("repository", &source.reference("app"), &ocidir(&layout));
    assert_eq!(report.copied, 3);
    for tag in ["1", "2", "3"] {
        let expected = manifest(skopeo_raw(&source.docker(&format!("app:{tag}"))));
        assert_in_layout(&layout, tag, &expected);
    }
    umoci_unpacks(&layout, "1", "image 1\n");

    // skopeo adds a tag, and moves one. All of them can be read by us.
    image("added\n", Family::Oci, &oci(&layout, "4"));
    skopeo_copy(&oci(&layout, "1"), &oci(&layout, "2"));
    let target = Server::docker_registry();
    let report = once("repository", &ocidir(&layout), &target.reference("app"));
    assert_eq!(report.copied, 4);
    for (tag, from) in [
        ("1", oci(&layout, "1")),
        ("2", oci(&layout, "2")),
        ("3", source.docker("app:3")),
        ("4", oci(&layout, "4")),
    ] {
        let expected = manifest(skopeo_raw(&from));
        assert_pulls(&target.docker(&format!("app:{tag}")), &expected);
    }
    let moved = skopeo_raw(&target.docker("app:2"));
    assert_eq!(moved, skopeo_raw(&source.docker("app:1")));
    let report = once("repository", &ocidir(&layout), &target.reference("app"));
    assert_eq!(report, Report::idle(4));
}

/// Checks that umoci, where it is installed, finds the image and its file.
fn umoci_unpacks(layout: &Path, tag: &str, content: &str) {
    if !has("umoci") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let name = format!("{}:{tag}", layout.display());
    printed(Command::new("umoci").args(["stat", "--image", &name]));
    let bundle = work.path().join("bundle");
    printed(
        Command::new("umoci")
            .args(["unpack", "--rootless", "--image", &name])
            .arg(&bundle),
    );
    let file = bundle.join("rootfs/etc/motd");
    assert_eq!(fs::read_to_string(file).unwrap(), content);
}

fn oci(layout: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", layout.display())
}

fn ocidir(layout: &Path) -> String {
    format!("ocidir://{}", layout.display())
}
