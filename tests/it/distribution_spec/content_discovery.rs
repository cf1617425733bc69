//! Content discovery: distribution-spec 1.1, "Listing Tags" and "Listing
//! Referrers".

use regmirror::oci::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use super::{Reply, Server, assert_error, digest_of, image};

/// Follows `Link` from `path` on, and gives the pages of `member`.
async fn pages(server: &Server, path: &str, member: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let reply = server.ask("GET", &path).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        pages.push(reply.json()[member].clone());
        next = link(&reply);
        assert!(pages.len() < 10, "no end");
    }
    pages
}

fn link(reply: &Reply) -> Option<String> {
    let link = reply.header("link").strip_prefix('<')?;
    let (path, rest) = link.split_once('>').expect("a link");
    assert_eq!(rest, "; rel=\"next\"");
    Some(path.to_owned())
}

pub(super) async fn end_8_lists_tags(server: &Server) {
    for tag in ["test2", "Z", "test0", "_", "test10", "test1"] {
        server.push_image("a/b", tag, "layer").await;
    }
    let all = json!(["_", "test0", "test1", "test10", "test2", "Z"]);
    let path = "/v2/a/b/tags/list";
    let reply = server.ask("GET", path).await;
    assert_eq!(reply.json(), json!({ "name": "a/b", "tags": all }));
    for (query, want) in [
        (
            "n=4",
            vec![
                json!(["_", "test0", "test1", "test10"]),
                json!(["test2", "Z"]),
            ],
        ),
        ("n=6", vec![all.clone()]),
        ("n=60", vec![all.clone()]),
        ("n=0", vec![json!([])]),
        ("last=test1", vec![json!(["test10", "test2", "Z"])]),
        // One that is not there, as when it was deleted meanwhile.
        ("last=test11&n=1", vec![json!(["test2"]), json!(["Z"])]),
        ("last=test2", vec![json!(["Z"])]),
        ("last=Z", vec![json!([])]),
        ("n=&last=", vec![all.clone()]),
    ] {
        let pages = pages(server, &format!("{path}?{query}"), "tags").await;
        assert_eq!(pages, want, "{query}");
    }
    for n in ["-1", "x", "1.5", "99999999999999999999999"] {
        let reply = server.ask("GET", &format!("{path}?n={n}")).await;
        assert_error(&reply, 400, "PAGINATION_NUMBER_INVALID");
    }
    assert_error(
        &server.ask("GET", "/v2/b/tags/list").await,
        404,
        "NAME_UNKNOWN",
    );
}

pub(super) async fn the_catalog_lists_repositories(server: &Server) {
    assert_eq!(
        pages(server, "/v2/_catalog", "repositories").await,
        [json!([])]
    );
    for repo in ["b", "a/b", "a"] {
        server.push_image(repo, "1", "layer").await;
    }
    let all = pages(server, "/v2/_catalog", "repositories").await;
    assert_eq!(all, [json!(["a", "a/b", "b"])]);
    let paged = pages(server, "/v2/_catalog?n=2", "repositories").await;
    assert_eq!(paged, [json!(["a", "a/b"]), json!(["b"])]);
}

/// Pushes a manifest that refers to `subject`, and gives its digest.
async fn attach(server: &Server, subject: &Digest, document: &mut Value) -> Digest {
    let descriptor = Descriptor::new(MediaType::OCI_MANIFEST, subject.clone(), 123);
    document["subject"] = json!(descriptor);
    let digest = digest_of(document);
    let reply = server.put_manifest("a", digest.as_str(), document).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("oci-subject"), subject.as_str());
    digest
}

async fn referrers(server: &Server, subject: &Digest, query: &str) -> (Reply, Vec<Value>) {
    let reply = server
        .ask("GET", &format!("/v2/a/referrers/{subject}{query}"))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), MediaType::OCI_INDEX.as_str());
    let index = reply.json();
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], MediaType::OCI_INDEX.as_str());
    let list = index["manifests"].as_array().expect("a list").clone();
    (reply, list)
}

pub(super) async fn end_12_lists_referrers(server: &Server) {
    let subject = server.push_image("a", "1", "layer").await;
    let mut by_type = image("layer");
    by_type["artifactType"] = json!("application/x.sbom+json");
    by_type["annotations"] = json!({ "key": "value" });
    let by_type = attach(server, &subject, &mut by_type).await;
    // The config's type stands in for a missing artifactType.
    let mut by_config = image("layer");
    by_config["config"]["mediaType"] = json!("application/x.signature");
    let by_config = attach(server, &subject, &mut by_config).await;
    let mut index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "artifactType": "application/x.sbom+json",
        "manifests": [],
    });
    let index = attach(server, &subject, &mut index).await;

    let (reply, all) = referrers(server, &subject, "").await;
    assert_eq!(reply.header("oci-filters-applied"), "");
    let mut listed: Vec<&str> = all
        .iter()
        .filter_map(|one| one["digest"].as_str())
        .collect();
    listed.sort_unstable();
    let mut want = [&by_type, &by_config, &index].map(Digest::as_str);
    want.sort_unstable();
    assert_eq!(listed, want);
    let one = all.iter().find(|one| one["digest"] == by_type.as_str());
    let one = one.expect("it is listed");
    assert_eq!(one["artifactType"], "application/x.sbom+json");
    assert_eq!(one["annotations"], json!({ "key": "value" }));

    for (query, count) in [
        ("?artifactType=application/x.sbom%2Bjson", 2),
        ("?artifactType=application/x.sbom+json", 2),
        ("?artifactType=application/x.signature", 1),
        ("?artifactType=other", 0),
    ] {
        let (reply, some) = referrers(server, &subject, query).await;
        assert_eq!(reply.header("oci-filters-applied"), "artifactType");
        assert_eq!(some.len(), count, "{query}");
    }
}

pub(super) async fn end_12_is_never_404(server: &Server) {
    let missing = Digest::sha256(b"missing");
    assert!(referrers(server, &missing, "").await.1.is_empty());
    server.push_image("a", "1", "layer").await;
    let digest = attach(server, &missing, &mut image("layer")).await;
    let (_, list) = referrers(server, &missing, "").await;
    assert_eq!((list.len(), &list[0]["digest"]), (1, &json!(digest)));
    let reply = server.ask("GET", "/v2/a/referrers/sha256:x").await;
    assert_error(&reply, 400, "DIGEST_INVALID");
}
