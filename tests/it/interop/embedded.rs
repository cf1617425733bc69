//! skopeo as a client of `regmirror registry serve`.

use serde_json::{Value, json};

use super::content::{Family, assert_in_layout, assert_pulls, image, manifest};
use super::programs::{Server, installed, skopeo, skopeo_copy, skopeo_raw};

#[tokio::test]
async fn skopeo_pushes_pulls_lists_and_deletes() {
    if !installed() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let registry = Server::directory(work.path());
    image("one\n", Family::Oci, &registry.docker("team/app:1"));
    image("two\n", Family::Docker, &registry.docker("team/app:2"));
    // From one repository to another, which skopeo asks to be a mount.
    skopeo_copy(&registry.docker("team/app:1"), &registry.docker("copy:1"));

    for name in ["team/app:1", "team/app:2", "copy:1"] {
        let expected = manifest(skopeo_raw(&registry.docker(name)));
        assert_pulls(&registry.docker(name), &expected);
        // What is served is a directory that skopeo reads as well.
        let (repository, tag) = name.split_once(':').unwrap();
        assert_in_layout(&work.path().join(repository), tag, &expected);
    }
    assert_eq!(tags(&registry), json!(["1", "2"]));

    let second = registry.docker("team/app:2");
    skopeo(&["delete", "--tls-verify=false", &second]);
    assert_eq!(tags(&registry), json!(["1"]));
    let left = manifest(skopeo_raw(&registry.docker("team/app:1")));
    assert_pulls(&registry.docker("team/app:1"), &left);
}

fn tags(registry: &Server) -> Value {
    let repository = registry.docker("team/app");
    let printed = skopeo(&["list-tags", "--tls-verify=false", &repository]);
    serde_json::from_slice::<Value>(&printed).unwrap()["Tags"].clone()
}
