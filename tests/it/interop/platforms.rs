//! A part of an index, at a docker-registry, which wants each child that an index
//! lists.

use super::content::{Family, manifest, publish};
use super::programs::{Report, Server, attempt, installed, report, skopeo_copy, skopeo_raw};

#[tokio::test]
async fn h5_a_docker_registry_refuses_a_sparse_index_and_takes_a_rewritten_one() {
    if !installed() {
        return;
    }
    let (source, target) = (Server::docker_registry(), Server::docker_registry());
    for family in [Family::Oci, Family::Docker] {
        let name = format!("team/{family:?}").to_lowercase();
        let app = publish(&source, &name, "1.0", family).await;
        let (from, to) = (
            source.reference(&format!("{name}:1.0")),
            target.reference(&format!("{name}:1.0")),
        );
        let run = |more: &str| {
            let output = attempt(
                "image",
                &from,
                &to,
                &format!(", platforms: [linux/arm64]{more}, referrers: false"),
            );
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (output.status.success(), text)
        };
        let (done, told) = run("");
        assert!(!done && told.contains("platformIndex: rewrite"), "{told}");
        let (done, told) = run(", platformIndex: rewrite");
        assert!(done, "{told}");
        assert_eq!(report(&told).copied, 1);
        let (_, told) = run(", platformIndex: rewrite");
        assert_eq!(report(&told), Report::idle(1));

        let index = manifest(skopeo_raw(&target.docker(&format!("{name}:1.0"))));
        assert_eq!(index.media_type(), app.index.media_type());
        let platforms: Vec<String> = index
            .children()
            .iter()
            .map(|child| child.platform.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(platforms, ["linux/arm64"]);
        // Others can use it as it is.
        let folder = tempfile::tempdir().unwrap();
        let layout = format!("oci:{}:x", folder.path().display());
        if family == Family::Oci {
            skopeo_copy(&target.docker(&format!("{name}:1.0")), &layout);
        }
    }
}
