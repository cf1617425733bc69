//! Reading from a registry.

use futures::TryStreamExt;
use regmirror::oci::Digest;
use regmirror::registry::{Credential, Registry};
use regmirror::store::{Blob, ErrorKind, Sink, Source};

use crate::registry_client::{blob, manifest, repo, started, stored, tag};
use crate::support::bench::{Bench, failures};
use crate::support::images::{push_image, tagged};
use crate::support::{Auth, Fault, TestRegistry, registry_client};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

#[tokio::test]
async fn b1_manifests_are_asked_for_with_one_accept_and_lists_with_none() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    // HEAD without a digest, so that a GET by tag follows.
    server.on("HEAD", "/manifests/1", 1, Fault::Status(200));
    client.resolve(&repo("a"), &tag("1")).await.unwrap();
    client.manifest(&repo("a"), image.digest()).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        let accepted: Vec<_> = request.headers.get_all("accept").iter().collect();
        assert_eq!(accepted.len(), 1, "{request:?}");
        let types: Vec<&str> = request.header("accept").split(", ").collect();
        for wanted in [
            "application/vnd.oci.image.index.v1+json",
            IMAGE,
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        ] {
            assert!(types.contains(&wanted), "{types:?}");
        }
        assert!(
            !types
                .iter()
                .any(|kind| kind.contains("manifest.v1+prettyjws"))
        );
    }

    server.clear_log();
    let pages: Vec<_> = client.tags(&repo("a")).try_collect().await.unwrap();
    assert_eq!(pages.len(), 1);
    let accepted = server.seen()[0].header("accept").to_owned();
    assert!(!accepted.contains("application"), "{accepted}");
}

#[tokio::test]
async fn b2_where_head_does_not_tell_one_get_does() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    for head in [
        Fault::Status(405),
        Fault::Status(400),
        Fault::Status(403),
        Fault::Status(200),
        Fault::reply(200, &[("docker-content-digest", "md5:abc")], ""),
    ] {
        server.clear_log();
        server.on("HEAD", "/manifests/", 1, head.clone());
        let found = client.resolve(&repo("a"), &tag("1")).await.unwrap();
        assert_eq!(found.as_ref(), Some(image.digest()), "{head:?}");
        assert_eq!(server.count("GET /v2/a/manifests/1 200"), 1);

        server.clear_log();
        server.on("HEAD", "/manifests/", 1, head.clone());
        let found = client.resolve(&repo("a"), &tag("2")).await.unwrap();
        assert_eq!(found, None, "{head:?}");
        assert_eq!(server.count("GET /v2/a/manifests/2 404"), 1);
    }

    // The bytes decide, not what the header of the GET says.
    let other = Digest::sha256(b"other").to_string();
    let headers = [
        ("content-type", IMAGE),
        ("docker-content-digest", other.as_str()),
    ];
    let body = String::from_utf8(image.bytes().to_vec()).unwrap();
    server.on("HEAD", "/manifests/1", 1, Fault::Status(405));
    server.on("GET", "/manifests/1", 1, Fault::reply(200, &headers, body));
    let found = client.resolve(&repo("a"), &tag("1")).await.unwrap();
    assert_eq!(found.as_ref(), Some(image.digest()));
}

#[tokio::test]
async fn b2_a_refusal_of_both_is_not_taken_for_missing() {
    let (server, client) = started().await;
    stored(&server, "a", "1").await;
    server.on("HEAD", "/manifests/", 1, Fault::Status(403));
    let denied = r#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#;
    server.on("GET", "/manifests/", 1, Fault::reply(403, &[], denied));
    let error = client.resolve(&repo("a"), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.one_line();
    let start = format!(
        "could not read tag {}/a:1: access denied: 403 DENIED: no\\nway",
        server.address()
    );
    assert!(text.starts_with(&start), "{text}");
}

/// Nexus: HEAD 404 where GET is 200.
#[tokio::test]
async fn b2_a_source_s_404_to_head_is_made_sure_of_by_one_get() {
    let bench = Bench::new().await;
    let image = push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    bench
        .source
        .on("HEAD", "/manifests/", 9, Fault::Status(404));
    let job = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";
    let summary = bench.run(&[job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert_eq!(bench.source.count("GET /v2/app/manifests/1 200"), 1);
    let arrived = tagged(bench.target.store(), &repo("app"), "1").await;
    assert_eq!(arrived.as_ref(), Some(image.digest()));

    // What a target lacks is nothing unusual, and costs no GET. Nor does a
    // source's tag that is there.
    assert_eq!(bench.target.count("GET /v2/app/manifests/1"), 0);
    bench.source.heal();
    bench.clear_logs();
    bench.run(&[job]).await;
    assert_eq!(bench.source.log(), ["HEAD /v2/app/manifests/1 200"]);

    // Really missing: an error, after both.
    let job = "source: 'SOURCE/app:2', target: 'TARGET/app:2', type: image";
    bench.clear_logs();
    let summary = bench.run(&[job]).await;
    assert!(failures(&summary)[0].contains("not found"));
    let both = [
        "HEAD /v2/app/manifests/2 404",
        "GET /v2/app/manifests/2 404",
    ];
    assert_eq!(bench.source.log(), both);
}

#[tokio::test]
async fn b3_another_manifest_than_asked_for_is_corrupt() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    let digest = image.digest();
    assert_eq!(client.manifest(&repo("a"), digest).await.unwrap(), image);

    server.on("GET", "/manifests/", 1, Fault::FlipBit);
    let error = client.manifest(&repo("a"), digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.one_line();
    let expected = format!("expected digest {digest}, seen sha256:");
    assert!(text.contains(&expected), "{text}");

    let other = Digest::sha256(b"x").to_string();
    let headers = [("docker-content-digest", other.as_str())];
    server.on("HEAD", "/manifests/", 1, Fault::reply(200, &headers, ""));
    let error = client.resolve(&repo("a"), &digest.clone().into()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn b3_nothing_of_a_damaged_manifest_is_sent() {
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let schema1 = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    let schema1_type = "application/vnd.docker.distribution.manifest.v1+json";
    for (fault, words) in [
        (Fault::cut(20), "read manifest"),
        (Fault::FlipBit, "expected digest"),
        (
            Fault::reply(
                200,
                &[("content-type", "application/vnd.oci.image.index.v1+json")],
                index,
            ),
            "expected digest",
        ),
        (
            Fault::reply(200, &[("content-type", schema1_type)], schema1),
            "schema 1",
        ),
    ] {
        let bench = Bench::new().await;
        let (store, app) = (bench.source.store(), repo("app"));
        let bad = push_image(store, &app, Some("bad"), &[b"bad"]).await;
        push_image(store, &app, Some("good"), &[b"good"]).await;
        let path = format!("manifests/{}", bad.digest());
        bench.source.on("GET", &path, 9, fault.clone());
        let entry = |name: &str| {
            format!("source: 'SOURCE/app:{name}', target: 'TARGET/app:{name}', type: image")
        };
        let summary = bench.run(&[&entry("bad")]).await;
        let failed = failures(&summary);
        assert!(
            failed[0].contains("/app:bad: ") && failed[0].contains(words),
            "{failed:?}"
        );
        for method in ["POST", "PUT", "PATCH"] {
            assert_eq!(bench.target.count(method), 0, "{fault:?}");
        }
        // Nor are the others held up by it.
        let all = "source: SOURCE/app, target: TARGET/app, type: repository";
        let summary = bench.run(&[all]).await;
        assert_eq!(failures(&summary).len(), 1, "{fault:?}");
        assert!(tagged(bench.target.store(), &app, "good").await.is_some());
        assert!(tagged(bench.target.store(), &app, "bad").await.is_none());
    }
}

#[tokio::test]
async fn b4_the_content_type_counts_without_its_parameters() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    let body = String::from_utf8(image.bytes().to_vec()).unwrap();
    let digest = image.digest();
    for kind in [
        "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        "application/vnd.oci.image.manifest.v1+json ;q=1",
        // What servers say that do not know.
        "application/json",
        "application/octet-stream",
    ] {
        let answer = Fault::reply(200, &[("content-type", kind)], body.as_str());
        server.on("GET", "/manifests/", 1, answer.clone());
        let read = client.manifest(&repo("a"), digest).await.unwrap();
        assert_eq!(read.media_type().as_str(), IMAGE, "{kind}");

        server.on("HEAD", "/manifests/1", 1, Fault::Status(405));
        server.on("GET", "/manifests/1", 1, answer);
        let found = client.resolve(&repo("a"), &tag("1")).await.unwrap();
        assert_eq!(found.as_ref(), Some(digest), "{kind}");
    }
    for kind in [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "text/html; charset=utf-8",
        "application/vnd.oci.image.manifest.v1+json+x",
    ] {
        let answer = Fault::reply(200, &[("content-type", kind)], body.as_str());
        server.on("GET", "/manifests/", 1, answer.clone());
        let error = client.manifest(&repo("a"), digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{kind}");
        let text = error.one_line();
        let announced = kind.split(';').next().unwrap();
        assert!(text.contains(IMAGE) && text.contains(announced), "{text}");

        server.on("HEAD", "/manifests/1", 1, Fault::Status(405));
        server.on("GET", "/manifests/1", 1, answer);
        assert!(
            client.resolve(&repo("a"), &tag("1")).await.is_err(),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn b11_bytes_come_as_they_are_stored() {
    let (server, client) = started().await;
    let image = stored(&server, "a", "1").await;
    // What gzip makes of nothing: a decoder would make nothing of it.
    let gzip = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let layer = Blob::from_bytes(regmirror::oci::MediaType::OCI_LAYER_GZIP, gzip.to_vec());
    let descriptor = layer.descriptor().clone();
    let answer = Fault::Reply {
        status: 200,
        headers: vec![("content-encoding".to_owned(), "gzip".to_owned())],
        body: gzip.to_vec(),
    };
    server.on("GET", "/blobs/", 1, answer);
    let read = client.blob(&repo("a"), &descriptor).await.unwrap();
    assert_eq!(read.into_bytes().await.unwrap(), gzip.as_slice());

    client.manifest(&repo("a"), image.digest()).await.unwrap();
    client.resolve(&repo("a"), &tag("1")).await.unwrap();
    client.put_blob(&repo("a"), blob("new")).await.unwrap();
    client
        .put_manifest(&repo("a"), &manifest("new"), None)
        .await
        .unwrap();
    client.referrers(&repo("a"), image.digest()).await.unwrap();
    let pages: Result<Vec<_>, _> = client.tags(&repo("a")).try_collect().await;
    pages.unwrap();
    let seen = server.seen();
    assert!(seen.len() >= 8, "{seen:?}");
    for request in seen.iter().filter(|request| request.method.is_safe()) {
        assert_eq!(request.header("accept-encoding"), "identity", "{request:?}");
    }
}

const TEXT: &str = "the layer";

/// A registry that knows us by name, and the storage that it sends us to,
/// which would let in whoever has the same name and password.
async fn registry_and_storage() -> (TestRegistry, TestRegistry, Registry) {
    let auth = || Auth::Basic {
        user: "robot".to_owned(),
        password: "s3cret".to_owned(),
    };
    let (registry, storage) = (TestRegistry::start().await, TestRegistry::start().await);
    for server in [&registry, &storage] {
        server
            .store()
            .put_blob(&repo("a"), blob(TEXT))
            .await
            .unwrap();
    }
    registry.require_auth(auth());
    let credential = Credential::Basic {
        user: "robot".to_owned(),
        password: "s3cret".into(),
    };
    let client = registry_client(&registry, credential);
    client.ping().await.unwrap();
    for server in [&registry, &storage] {
        server.clear_log();
    }
    (registry, storage, client)
}

async fn read(client: &Registry) -> Result<Vec<u8>, regmirror::store::StoreError> {
    let text = blob(TEXT).descriptor().clone();
    let body = client.blob(&repo("a"), &text).await?;
    Ok(body.into_bytes().await?.to_vec())
}

fn to(server: &TestRegistry, query: &str) -> String {
    let digest = Digest::sha256(TEXT.as_bytes());
    format!("http://{}/v2/a/blobs/{digest}{query}", server.address())
}

fn redirect(status: u16, location: &str) -> Fault {
    let headers = [("location", location), ("set-cookie", "session=1; Path=/")];
    Fault::reply(status, &headers, "")
}

#[tokio::test]
async fn b12_a_redirect_is_followed_by_hand_and_takes_nothing_along() {
    for status in [301, 302, 303, 307, 308] {
        // Another port is another host: names and cookies may stay the same.
        let (registry, storage, client) = registry_and_storage().await;
        let away = to(&storage, "?X-Amz-Signature=s%2Fs&x=");
        registry.on("GET", "/blobs/", 1, redirect(status, &away));
        assert_eq!(read(&client).await.unwrap(), TEXT.as_bytes(), "{status}");
        let seen = storage.seen();
        let [request] = &seen[..] else {
            panic!("{seen:?}");
        };
        assert!(
            away.ends_with(&request.path),
            "as it was signed: {request:?}"
        );
        let mut names: Vec<&str> = request.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let harmless = ["accept", "accept-encoding", "host", "user-agent"];
        assert_eq!(names, harmless, "{status}");
        assert!(
            registry.seen()[0]
                .header("authorization")
                .starts_with("Basic ")
        );
    }
}

#[tokio::test]
async fn b12_what_leads_back_from_elsewhere_gets_no_credentials_either() {
    let (registry, storage, client) = registry_and_storage().await;
    registry.on("GET", "/blobs/", 1, redirect(307, &to(&storage, "")));
    storage.on(
        "GET",
        "/blobs/",
        1,
        redirect(307, &to(&registry, "?back=1")),
    );
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.one_line());
    let back = registry.seen();
    let back = back
        .iter()
        .find(|request| request.path.ends_with("?back=1"));
    assert!(back.unwrap().headers.get("authorization").is_none());
    assert!(back.unwrap().headers.get("cookie").is_none());
}

#[tokio::test]
async fn b12_five_redirects_are_the_most() {
    let (server, client) = started().await;
    server
        .store()
        .put_blob(&repo("a"), blob(TEXT))
        .await
        .unwrap();
    server.on("GET", "/blobs/", 5, redirect(302, &to(&server, "")));
    assert_eq!(read(&client).await.unwrap(), TEXT.as_bytes());
    server.clear_log();
    server.on(
        "GET",
        "/blobs/",
        usize::MAX,
        redirect(302, &to(&server, "")),
    );
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let text = error.one_line();
    assert!(text.contains("redirected more than 5 times"), "{text}");
    assert_eq!(server.count("GET "), 6);
}

#[tokio::test]
async fn b13_a_challenge_from_elsewhere_is_not_answered() {
    let (registry, storage, client) = registry_and_storage().await;
    let address = storage.address();
    for challenge in [
        "Basic realm=\"storage\"".to_owned(),
        format!(
            "Bearer realm=\"http://{address}/token\",service=\"s\",scope=\"repository:a:pull\""
        ),
        format!("Bearer realm=\"http://{}/token\"", registry.address()),
    ] {
        for server in [&registry, &storage] {
            server.clear_log();
        }
        registry.on("GET", "/blobs/", 1, redirect(307, &to(&storage, "?sig=s")));
        let headers = [("www-authenticate", challenge.as_str())];
        storage.on(
            "GET",
            "/blobs/",
            1,
            Fault::reply(401, &headers, "who are you?"),
        );
        let error = read(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{challenge}");
        let text = error.one_line();
        assert!(!text.contains("sig"), "{text}");
        let seen = storage.seen();
        assert_eq!(
            seen.len(),
            1,
            "asked once, and no token asked for: {seen:?}"
        );
        assert_eq!(seen[0].headers.get("authorization"), None);
        assert_eq!(registry.seen().len(), 1, "{:?}", registry.log());
    }
}
