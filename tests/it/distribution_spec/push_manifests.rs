//! Pushing manifests: distribution-spec 1.1, "Pushing Manifests".

use regmirror::oci::{Algorithm, Descriptor, Digest, MAX_MANIFEST_SIZE, MediaType};
use serde_json::{Value, json};

use super::{Server, assert_error, digest_of, image};

pub(super) async fn end_7_takes_manifests(server: &Server) {
    server.push_blob("a", "{}").await;
    server.push_blob("a", "layer").await;
    let document = image("layer");
    let digest = digest_of(&document);
    let sha512 = Digest::of(Algorithm::Sha512, document.to_string().as_bytes());
    for (reference, stored) in [
        ("1.4", &digest),
        (digest.as_str(), &digest),
        (sha512.as_str(), &sha512),
    ] {
        let reply = server.put_manifest("a", reference, &document).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.header("docker-content-digest"), stored.as_str());
        assert_eq!(
            reply.header("location"),
            format!("/v2/a/manifests/{stored}")
        );
        assert_eq!(reply.header("oci-subject"), "");
        let manifest = server.ask("GET", reply.header("location")).await;
        assert_eq!(manifest.body, document.to_string().as_bytes());
    }
    // A manifest as long as registries have to take.
    let mut long = image("layer");
    long["annotations"] = json!({ "x": "x".repeat(4 << 20) });
    assert_eq!(server.put_manifest("a", "long", &long).await.status, 201);
}

pub(super) async fn an_image_needs_its_blobs_and_an_index_no_children(server: &Server) {
    server.push_blob("a", "{}").await;
    let mut document = image("layer");
    let reply = server.put_manifest("a", "1", &document).await;
    assert_error(&reply, 404, "MANIFEST_BLOB_UNKNOWN");
    let detail = &reply.json()["errors"][0]["detail"]["digest"];
    assert_eq!(*detail, Digest::sha256(b"layer").as_str());
    assert_eq!(server.ask("HEAD", "/v2/a/manifests/1").await.status, 404);

    let foreign = MediaType::new("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    document["layers"] = json!([Descriptor::of(foreign, b"layer")]);
    assert_eq!(server.put_manifest("a", "1", &document).await.status, 201);
    document["layers"] = json!([]);
    assert_eq!(server.put_manifest("a", "2", &document).await.status, 201);

    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": [Descriptor::of(MediaType::OCI_MANIFEST, b"missing")],
    });
    assert_eq!(server.put_manifest("a", "3", &index).await.status, 201);
}

pub(super) async fn what_is_no_manifest_is_refused(server: &Server) {
    server.push_image("a", "1", "layer").await;
    let put = async |reference: &str, kind: &str, body: String| {
        let path = format!("/v2/a/manifests/{reference}");
        server
            .send("PUT", &path, &[("content-type", kind)], body)
            .await
    };
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let good = image("layer").to_string();
    let old = json!({ "schemaVersion": 1, "fsLayers": [] }).to_string();
    let both = with(&image("layer"), "manifests", json!([])).to_string();
    let wrong = Digest::sha256(b"other");
    for (reference, kind, body, code) in [
        ("2", docker, &good, "MANIFEST_INVALID"),
        ("2", schema1, &old, "MANIFEST_INVALID"),
        ("2", oci, &old, "MANIFEST_INVALID"),
        ("2", oci, &both, "MANIFEST_INVALID"),
        ("2", oci, &"{".to_owned(), "MANIFEST_INVALID"),
        ("2", oci, &String::new(), "MANIFEST_INVALID"),
        (".2", oci, &good, "MANIFEST_INVALID"),
        (wrong.as_str(), oci, &good, "DIGEST_INVALID"),
        ("sha256:totallywrong", oci, &good, "DIGEST_INVALID"),
    ] {
        assert_error(&put(reference, kind, body.clone()).await, 400, code);
    }
    let long = " ".repeat(MAX_MANIFEST_SIZE + 1);
    assert_error(&put("2", oci, long).await, 413, "SIZE_INVALID");
    assert_eq!(server.ask("HEAD", "/v2/a/manifests/2").await.status, 404);
}

fn with(document: &Value, member: &str, value: Value) -> Value {
    let mut document = document.clone();
    document[member] = value;
    document
}
