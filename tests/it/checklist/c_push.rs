//! Writing to a registry.

use std::time::Duration;

use regmirror::app::{OpenStores, RetryPolicy};
use regmirror::config::Config;
use regmirror::http::{Chunks, HostOptions};
use regmirror::oci::{Descriptor, Manifest, MediaType};
use regmirror::registry::{Credential, Registry};
use regmirror::store::{Blob, ErrorKind, Sink, Source, StoreError};

use crate::support::bench::{Bench, failures};
use crate::support::images::{push_image, repo};
use crate::support::{Auth, Fault, TestRegistry};
use crate::support::{registry_client, registry_client_of, registry_client_with};

const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

fn text() -> Blob {
    Blob::from_bytes(MediaType::OCTET_STREAM, TEXT)
}

/// So many bytes, of which no two stretches are alike.
fn large(size: u32) -> Blob {
    let words = (0..size.div_ceil(4)).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
    let bytes: Vec<u8> = words.take(size as usize).collect();
    Blob::from_bytes(MediaType::OCTET_STREAM, bytes)
}

async fn started() -> (TestRegistry, Registry) {
    let server = TestRegistry::start().await;
    let client = registry_client(&server, Credential::Anonymous);
    (server, client)
}

/// The same, with blobs of more than `above` bytes in chunks of `size`.
async fn chunking(above: u64, size: u64) -> (TestRegistry, Registry) {
    let server = TestRegistry::start().await;
    let options = HostOptions {
        chunks: Chunks {
            above: Some(above),
            size,
            ..Chunks::default()
        },
        ..HostOptions::new(server.address())
    };
    let client = registry_client_with(&server, Credential::Anonymous, options);
    (server, client)
}

async fn put(client: &Registry, blob: Blob) -> Result<(), StoreError> {
    client.put_blob(&repo("a"), blob).await
}

/// Whether the registry has the very bytes.
async fn has(server: &TestRegistry, blob: &Descriptor) -> bool {
    let stored = server.store().blob(&repo("a"), blob).await;
    match stored {
        Ok(stored) => stored.into_bytes().await.is_ok(),
        Err(_) => false,
    }
}

/// What was asked for and answered, without the paths.
fn steps(server: &TestRegistry) -> Vec<String> {
    let log = server.log().into_iter();
    log.map(|line| {
        let (method, rest) = line.split_once(' ').unwrap();
        let (_, answer) = rest.split_once(' ').unwrap();
        format!("{method} {answer}")
    })
    .collect()
}

/// `Content-Range` of the PATCHes.
fn ranges(server: &TestRegistry) -> Vec<String> {
    let seen = server.seen().into_iter();
    seen.filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-range").to_owned())
        .collect()
}

fn unknown() -> Fault {
    let body = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown"}]}"#;
    Fault::reply(404, &[], body)
}

fn invalid() -> Fault {
    let body = r#"{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}"#;
    Fault::reply(400, &[], body)
}

/// A 401 that asks for a token of `server`.
fn signed_out(server: &TestRegistry) -> Fault {
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"test\",scope=\"repository:a:pull,push\"",
        server.address()
    );
    Fault::reply(401, &[("www-authenticate", challenge.as_str())], "")
}

#[tokio::test]
async fn c1_a_blob_that_is_there_is_not_sent() {
    let bench = Bench::new().await;
    let layers: [&[u8]; 2] = [b"there", b"new"];
    push_image(bench.source.store(), &repo("app"), Some("1"), &layers).await;
    push_image(bench.target.store(), &repo("app"), None, &layers[..1]).await;
    let job = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";
    let summary = bench.run(&[job]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert_eq!(summary.totals.blobs_present, 1);
    // The other layer and the config.
    assert_eq!(bench.target.count("HEAD /v2/app/blobs/"), 3);
    assert_eq!(bench.target.count("POST "), 2, "{:?}", bench.target.log());
    assert_eq!(bench.source.count("GET /v2/app/blobs/"), 2);
}

#[tokio::test]
async fn c2_the_digest_joins_any_location_and_leaves_the_rest_as_it_is() {
    let (server, client) = started().await;
    let origin = format!("http://{}", server.address());
    let absolute = format!("{origin}/v2/a/blobs/uploads/1?_state=x");
    let elsewhere = format!("//{}/upload", server.address());
    for (location, want) in [
        ("/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1?"),
        ("1", "/v2/a/blobs/uploads/1?"),
        ("../uploads/1?a", "/v2/a/blobs/uploads/1?a&"),
        ("?s=1", "/v2/a/blobs/uploads/?s=1&"),
        (&absolute, "/v2/a/blobs/uploads/1?_state=x&"),
        (&elsewhere, "/upload?"),
        ("/u?", "/u?"),
        // Signed: any byte that changes makes it void.
        (
            "/u?_state=a%2Bb%2fc%3D%3d~-_.!*()&empty=&flag&&x=%7e+%20&y=a=b?c/d@e:f;g,h$",
            "/u?_state=a%2Bb%2fc%3D%3d~-_.!*()&empty=&flag&&x=%7e+%20&y=a=b?c/d@e:f;g,h$&",
        ),
    ] {
        let begun = Fault::reply(202, &[("location", location)], "");
        server.on("POST", "/uploads/", 1, begun);
        server.on("PUT", "", 1, Fault::Status(201));
        server.clear_log();
        put(&client, text()).await.unwrap();
        let digest = &text().descriptor().digest.clone();
        assert_eq!(
            server.log(),
            [
                "POST /v2/a/blobs/uploads/ 202".to_owned(),
                format!("PUT {want}digest={digest} 201"),
            ],
            "{location}"
        );
    }
    // None at all.
    server.on("POST", "/uploads/", 1, Fault::Status(202));
    let error = put(&client, text()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.one_line().contains("does not say where"));
}

#[tokio::test]
async fn c3_an_upload_may_go_elsewhere_but_credentials_do_not() {
    let (registry, storage) = (TestRegistry::start().await, TestRegistry::start().await);
    let auth = || Auth::Basic {
        user: "robot".to_owned(),
        password: "s3cret".to_owned(),
    };
    registry.require_auth(auth());
    // With the very same credentials it would open; it must not see them.
    storage.require_auth(auth());
    let credential = Credential::Basic {
        user: "robot".to_owned(),
        password: "s3cret".into(),
    };
    for above in [None, Some(1)] {
        let chunks = Chunks {
            above,
            ..Chunks::default()
        };
        let options = HostOptions {
            chunks,
            ..HostOptions::new(registry.address())
        };
        let client = registry_client_with(&registry, credential.clone(), options);
        client.ping().await.unwrap();
        let target = format!("http://{}/v2/a/blobs/uploads/1?s=1", storage.address());
        let away = Fault::reply(202, &[("location", target.as_str())], "");
        registry.on("POST", "/uploads/", 1, away);
        storage.clear_log();
        let error = put(&client, text()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        let seen = storage.seen();
        assert_eq!(seen.len(), 2, "the upload, and its end: {seen:?}");
        for request in seen {
            assert!(request.path.contains("/uploads/1?s=1"), "{request:?}");
            assert_eq!(request.header("authorization"), "");
        }
    }
}

#[tokio::test]
async fn c4_by_default_there_is_one_post_and_one_put_with_its_length() {
    let (server, client) = started().await;
    for blob in [text(), large(9 << 20), large(0)] {
        server.clear_log();
        let descriptor = blob.descriptor().clone();
        put(&client, blob).await.unwrap();
        assert_eq!(steps(&server), ["POST 202", "PUT 201"]);
        let seen = server.seen();
        let length = descriptor.size.to_string();
        assert_eq!(seen[1].header("content-length"), length);
        assert_eq!(seen[1].header("transfer-encoding"), "");
        assert_eq!(seen[0].header("content-length"), "0");
        assert!(has(&server, &descriptor).await);
    }
}

#[tokio::test]
async fn c4_blob_max_and_blob_chunk_cut_what_is_larger() {
    let bench = Bench::new().await;
    let layers: [&[u8]; 1] = [&[7; 1000]];
    push_image(bench.source.store(), &repo("app"), Some("1"), &layers).await;
    let job = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";
    let text = bench.config(&[job]).replace(
        "tls: disabled",
        "tls: disabled, blobMax: 999, blobChunk: 400",
    );
    let config = Config::parse(&text, "test").unwrap();
    let stores = std::sync::Arc::new(OpenStores::new(&config, RetryPolicy::none()).unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let summary = regmirror::app::run_once(
        &config,
        &stores,
        regmirror::sync::Audience::default(),
        &stop,
    )
    .await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    // The config is shorter, and goes as a whole.
    assert_eq!(ranges(&bench.target), ["0-399", "400-799", "800-999"]);
    assert_eq!(bench.target.count("POST "), 2);
}

#[tokio::test]
async fn c4_what_is_refused_as_a_whole_goes_in_chunks() {
    for status in [413, 405, 501] {
        let (server, client) = started().await;
        server.on("PUT", "/uploads/", 1, Fault::Status(status));
        let blob = large(3 << 20);
        let descriptor = blob.descriptor().clone();
        put(&client, blob).await.unwrap();
        assert!(has(&server, &descriptor).await);
        let log = steps(&server);
        assert_eq!(log[1], format!("PUT {status}"));
        assert_eq!(log[2..5], ["DELETE 204", "POST 202", "PATCH 202"]);
        assert_eq!(log.last().unwrap(), "PUT 201");
        // What is too large as a whole is so as one chunk, too.
        let chunks = if status == 413 { 2 } else { 1 };
        assert_eq!(ranges(&server).len(), chunks, "{log:?}");
    }
}

#[tokio::test]
async fn c5_each_chunk_has_its_place_and_the_next_location() {
    let (server, client) = chunking(35, 10).await;
    let begun = [
        ("location", "/u/1?_state=a%2f"),
        ("oci-chunk-min-length", "15"),
    ];
    server.on("POST", "/uploads/", 1, Fault::reply(202, &begun, ""));
    for (location, range) in [("/u/2?", "0-14"), ("3", "bytes=0-29"), ("/u/4?x", "0-35")] {
        let next = [("location", location), ("range", range)];
        server.on("PATCH", "", 1, Fault::reply(202, &next, ""));
    }
    server.on("PUT", "", 1, Fault::Status(201));
    put(&client, text()).await.unwrap();
    let digest = text().descriptor().digest.clone();
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(
        paths,
        [
            "/v2/a/blobs/uploads/".to_owned(),
            "/u/1?_state=a%2f".to_owned(),
            "/u/2?".to_owned(),
            "/u/3".to_owned(),
            format!("/u/4?x&digest={digest}"),
        ]
    );
    assert_eq!(ranges(&server), ["0-14", "15-29", "30-35"]);
    let lengths: Vec<String> = server.seen()[1..]
        .iter()
        .map(|seen| seen.header("content-length").to_owned())
        .collect();
    assert_eq!(lengths, ["15", "15", "6", "0"]);
}

#[tokio::test]
async fn c6_a_chunk_is_accepted_in_three_ways() {
    for status in [201, 202, 204] {
        let (server, client) = chunking(1, 36).await;
        let begun = Fault::reply(202, &[("location", "/u")], "");
        server.on("POST", "/uploads/", 1, begun);
        server.on("PATCH", "/u", 1, Fault::Status(status));
        server.on("PUT", "/u", 1, Fault::Status(201));
        put(&client, text()).await.unwrap();
        assert_eq!(
            steps(&server),
            [
                "POST 202".to_owned(),
                format!("PATCH {status}"),
                "PUT 201".to_owned()
            ]
        );
    }
}

#[tokio::test]
async fn c7_an_upload_that_is_cut_goes_on_where_the_registry_stands() {
    const MIB: usize = 1 << 20;
    let bench = Bench::new().await;
    let layer = large(20 << 20);
    let digest = layer.descriptor().digest.to_string();
    let content = layer.into_bytes().await.unwrap();
    push_image(bench.source.store(), &repo("app"), Some("1"), &[&content]).await;
    let stored = 17 * MIB;
    bench
        .target
        .on("PUT", &digest, 1, Fault::UploadCut { stored });
    let job = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";
    let summary = bench.run_with(&[job], RetryPolicy::default(), false).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    let rest = format!("{}-{}", 17 * MIB, 20 * MIB - 1);
    assert_eq!(ranges(&bench.target), [rest], "{:?}", bench.target.log());
    assert_eq!(bench.target.count("POST "), 2, "for two blobs");
    // From the last mark before the cut, not from the beginning.
    let seen = bench.source.seen();
    let again: Vec<_> = seen.iter().map(|seen| seen.header("range")).collect();
    let again: Vec<_> = again.into_iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(again, [format!("bytes={}-", 16 * MIB)]);
}

#[tokio::test]
async fn c7_no_byte_and_one_byte_are_the_same_to_a_registry_and_begun_anew() {
    for stored in [0, 1] {
        for chunked in [false, true] {
            let (server, client) = match chunked {
                true => chunking(1, 100).await,
                false => started().await,
            };
            let method = if chunked { "PATCH" } else { "PUT" };
            server.on(method, "/uploads/", 1, Fault::UploadCut { stored });
            put(&client, text()).await.unwrap();
            assert!(has(&server, text().descriptor()).await);
            let log = steps(&server);
            assert_eq!(log[2..5], ["GET 204", "DELETE 204", "POST 202"], "{log:?}");
            let again: Vec<_> = if chunked {
                vec!["PATCH 202", "PUT 201"]
            } else {
                vec!["PUT 201"]
            };
            assert_eq!(log[5..], again);
        }
    }
}

#[tokio::test]
async fn c7_a_chunk_that_is_cut_is_not_sent_blindly_again() {
    // A part of it arrived.
    let (server, client) = chunking(1, 10).await;
    server.on("PATCH", "/uploads/", 1, Fault::UploadCut { stored: 4 });
    put(&client, text()).await.unwrap();
    assert!(has(&server, text().descriptor()).await);
    assert_eq!(ranges(&server), ["0-9", "4-9", "10-19", "20-29", "30-35"]);
    assert_eq!(server.count("GET "), 1);

    // All of it, and the answer was lost.
    let (server, client) = chunking(1, 10).await;
    server.on("PATCH", "/uploads/", 2, Fault::Lose);
    put(&client, text()).await.unwrap();
    assert!(has(&server, text().descriptor()).await);
    assert_eq!(ranges(&server), ["0-9", "10-19", "20-29", "30-35"]);
    assert_eq!(server.count("GET "), 2);

    // Out of step, it says.
    for fault in [
        Fault::Status(416),
        Fault::Status(503),
        Fault::reply(202, &[("range", "0-12")], ""),
    ] {
        let (server, client) = chunking(1, 20).await;
        server.on("PATCH", "/uploads/", 1, Fault::UploadCut { stored: 4 });
        server.on("PATCH", "/uploads/", 1, fault.clone());
        put(&client, text()).await.unwrap();
        assert!(has(&server, text().descriptor()).await, "{fault:?}");
        assert_eq!(ranges(&server), ["0-19", "4-19", "4-19", "20-35"]);
        assert_eq!(server.count("GET "), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn c7_a_registry_may_take_its_time_to_close_an_upload() {
    let server = TestRegistry::start().await;
    let options = HostOptions {
        chunks: Chunks {
            above: Some(0),
            size: 10,
            ..Chunks::default()
        },
        idle: Duration::from_millis(100),
        ..HostOptions::new(server.address())
    };
    let client = registry_client_with(&server, Credential::Anonymous, options);
    server.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let watch = async {
        server.held().await;
        // What is kept waiting for as long as the registry may keep silent.
        server.on("HEAD", "/b/", usize::MAX, Fault::Hold);
        client.has_blob(&repo("b"), text().descriptor()).await
    };
    let put = async {
        let put = put(&client, text());
        tokio::pin!(put);
        let error = tokio::select! {
            done = &mut put => panic!("it is not closed yet: {done:?}"),
            error = watch => error.unwrap_err(),
        };
        assert!(error.one_line().contains("no answer for 0.1 s"), "{error}");
        server.release();
        put.await
    };
    put.await.unwrap();
    assert_eq!(server.count("PUT "), 1, "{:?}", server.log());
}

#[tokio::test]
async fn c7_an_answer_that_was_lost_is_found_out() {
    for chunked in [false, true] {
        let (server, client) = match chunked {
            true => chunking(1, 100).await,
            false => started().await,
        };
        server.on("PUT", "/uploads/", 1, Fault::Lose);
        put(&client, text()).await.unwrap();
        let log = steps(&server);
        assert_eq!(log.last().unwrap(), "HEAD 200", "{log:?}");
        assert_eq!(server.count("POST "), 1, "{log:?}");
    }
}

#[tokio::test]
async fn c7_progress_counts_and_three_cuts_without_it_are_the_end() {
    let (server, client) = chunking(1, 100).await;
    server.on("PATCH", "/uploads/", 10, Fault::UploadCut { stored: 3 });
    put(&client, text()).await.unwrap();
    assert!(has(&server, text().descriptor()).await);
    assert_eq!(server.count("PATCH "), 11);
    assert_eq!(server.count("POST "), 1);

    let (server, client) = started().await;
    server.on(
        "PUT",
        "/uploads/",
        usize::MAX,
        Fault::UploadCut { stored: 0 },
    );
    let error = put(&client, text()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.one_line().contains("broke off 3 times"),
        "{}",
        error.one_line()
    );
    assert_eq!(server.count("PUT "), 3);
    assert_eq!(server.count("DELETE "), 3);
}

/// Who goes on with an upload reads again, and must not keep a place to write
/// from those who have the places to read.
#[tokio::test]
async fn c7_uploads_that_go_on_within_one_host_do_not_wait_for_each_other() {
    let server = TestRegistry::start().await;
    let client = registry_client_of(&server, Credential::Anonymous, 1);
    server
        .store()
        .put_blob(&repo("from"), text())
        .await
        .unwrap();
    let cut = Fault::UploadCut { stored: 10 };
    server.on("PUT", "/uploads/", 3, cut);
    let copy = async |to: &str| {
        let blob = client.blob(&repo("from"), text().descriptor()).await;
        client.put_blob(&repo(to), blob.unwrap()).await.unwrap();
    };
    let copies = futures::future::join3(copy("a"), copy("b"), copy("c"));
    tokio::time::timeout(std::time::Duration::from_secs(20), copies)
        .await
        .expect("they come to an end");
    assert_eq!(server.count("PATCH "), 3);
}

#[tokio::test]
async fn c7_a_registry_that_cannot_go_on_gets_the_whole_again() {
    // It does not tell where it stands; it tells nonsense; it takes no part.
    for (method, fault) in [
        ("GET", Fault::Status(405)),
        ("GET", Fault::Status(204)),
        ("GET", Fault::reply(204, &[("range", "0-36")], "")),
        ("PATCH", Fault::Status(405)),
        ("PATCH", Fault::Status(400)),
    ] {
        let (server, client) = started().await;
        server.on("PUT", "/uploads/", 1, Fault::UploadCut { stored: 10 });
        server.on(method, "/uploads/", 1, fault.clone());
        put(&client, text()).await.unwrap();
        assert!(has(&server, text().descriptor()).await);
        assert_eq!(server.count("POST "), 2, "{fault:?}");
        let log = steps(&server);
        assert_eq!(
            log[log.len() - 3..],
            ["DELETE 204", "POST 202", "PUT 201"],
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn c7_a_registry_that_lost_count_gets_the_whole_again() {
    let (server, client) = started().await;
    server.on("PUT", "/uploads/", 1, Fault::UploadCut { stored: 10 });
    // A part is accepted and lost.
    server.on("PATCH", "/uploads/", 1, Fault::Status(202));
    put(&client, text()).await.unwrap();
    assert!(has(&server, text().descriptor()).await);
    let log = steps(&server);
    let end = ["PUT 400", "DELETE 404", "POST 202", "PUT 201"];
    assert_eq!(log[log.len() - 4..], end, "{log:?}");
}

#[tokio::test]
async fn c8_a_416_for_the_size_is_no_question_of_where_it_stands() {
    const SAID: &str = r#"{"errors":[{"code":"REQUESTED_RANGE_NOT_SATISFIABLE","message":"the request body is too large and exceeds the maximum permissible limit of 4.00MiB"}]}"#;
    const MIB: u32 = 1 << 20;
    let (server, client) = chunking(1, 8 << 20).await;
    server.on("PATCH", "/uploads/", 1, Fault::reply(416, &[], SAID));
    let blob = large(9 * MIB);
    let descriptor = blob.descriptor().clone();
    put(&client, blob).await.unwrap();
    assert!(has(&server, &descriptor).await);
    let part = |first: u32, next: u32| format!("{}-{}", first * MIB, next * MIB - 1);
    assert_eq!(
        ranges(&server),
        [part(0, 8), part(0, 4), part(4, 8), part(8, 9)]
    );
    assert_eq!(server.count("GET "), 0);
    assert_eq!(server.count("POST "), 2);

    // Whatever it is given, it is too much: there is an end to it.
    server.on(
        "PATCH",
        "/uploads/",
        usize::MAX,
        Fault::reply(416, &[], SAID),
    );
    server.clear_log();
    let error = put(&client, large(9 * MIB)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.one_line().contains("262144 bytes is too large"),
        "{}",
        error.one_line()
    );
    assert_eq!(server.count("GET "), 0);
    assert_eq!(ranges(&server).len(), 6, "8, 4, 2, 1, 1/2, 1/4 MiB");
}

#[tokio::test]
async fn c9_a_session_that_is_lost_is_begun_anew_twice() {
    for (fault, chunked) in [
        (unknown(), false),
        (invalid(), false),
        (unknown(), true),
        (invalid(), true),
    ] {
        let (server, client) = match chunked {
            true => chunking(1, 20).await,
            false => started().await,
        };
        server.on("PUT", "/uploads/", 2, fault.clone());
        put(&client, text()).await.unwrap();
        assert!(has(&server, text().descriptor()).await);
        assert_eq!(server.count("POST "), 3);

        let (server, client) = match chunked {
            true => chunking(1, 20).await,
            false => started().await,
        };
        let method = if chunked { "PATCH" } else { "PUT" };
        server.on(method, "/uploads/", usize::MAX, fault);
        let error = put(&client, text()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.one_line().contains("BLOB_UPLOAD_"),
            "{}",
            error.one_line()
        );
        assert_eq!(server.count("POST "), 3);
    }
}

#[tokio::test]
async fn c10_a_401_at_the_end_renews_the_token_and_repeats_that_put_only() {
    let auth = || Auth::Bearer {
        user: "u".to_owned(),
        password: "p".to_owned(),
    };
    let credential = || Credential::Basic {
        user: "u".to_owned(),
        password: "p".into(),
    };
    let (server, _) = started().await;
    server.require_auth(auth());
    let chunks = Chunks {
        above: Some(1),
        size: 20,
        ..Chunks::default()
    };
    let options = HostOptions {
        chunks,
        ..HostOptions::new(server.address())
    };
    let client = registry_client_with(&server, credential(), options);
    server.on("PUT", "/uploads/", 1, signed_out(&server));
    put(&client, text()).await.unwrap();
    assert!(has(&server, text().descriptor()).await);
    let log = steps(&server);
    let end = ["PATCH 202", "PATCH 202", "PUT 401", "GET 200", "PUT 201"];
    assert_eq!(log[log.len() - 5..], end);
    let shown: Vec<String> = server.seen()[log.len() - 4..]
        .iter()
        .map(|seen| seen.header("authorization").to_owned())
        .collect();
    assert_ne!(shown[1], shown[3], "the token was renewed");

    // A body that has passed is had again from its source.
    let client = registry_client(&server, credential());
    put(&client, large(10)).await.unwrap();
    server.clear_log();
    server.on("PUT", "/uploads/", 1, signed_out(&server));
    put(&client, text()).await.unwrap();
    assert_eq!(
        steps(&server),
        [
            "POST 202",
            "PUT 401",
            "GET 200",
            "DELETE 204",
            "POST 202",
            "PUT 201"
        ]
    );

    // But not for ever.
    server.clear_log();
    server.on("PUT", "/uploads/", usize::MAX, signed_out(&server));
    let error = put(&client, large(11)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.one_line());
    assert_eq!(server.count("PUT "), 2, "{:?}", server.log());
}

#[tokio::test]
async fn c11_a_mount_is_done_or_there_is_an_upload() {
    let (server, client) = started().await;
    let (from, to) = (repo("from"), repo("a"));
    server.store().put_blob(&from, text()).await.unwrap();
    let blob = text().descriptor().clone();
    assert!(client.mount_blob(&to, &blob, &from).await.unwrap());
    let query = format!("?mount={}&from=from", blob.digest);
    assert_eq!(
        server.log(),
        [format!("POST /v2/a/blobs/uploads/{query} 201")]
    );
    assert!(has(&server, &blob).await);

    // There is nothing to mount: the session that began instead is used.
    server.clear_log();
    let new = large(10);
    let descriptor = new.descriptor().clone();
    assert!(!client.mount_blob(&to, &descriptor, &from).await.unwrap());
    put(&client, new).await.unwrap();
    assert_eq!(steps(&server), ["POST 202", "PUT 201"]);

    for fault in [400, 401, 403, 404, 405, 500]
        .map(Fault::Status)
        .into_iter()
        .chain([Fault::Drop])
    {
        let (server, client) = started().await;
        server.store().put_blob(&from, text()).await.unwrap();
        server.on("POST", "mount=", 3, fault.clone());
        let mounted = client.mount_blob(&to, &blob, &from).await.unwrap();
        assert!(!mounted, "{fault:?}");
        put(&client, text()).await.unwrap();
        assert!(has(&server, &blob).await, "{fault:?}");
    }
}

#[tokio::test]
async fn c11_nothing_is_mounted_from_another_registry() {
    let bench = Bench::new().await;
    let layers: [&[u8]; 1] = [b"layer"];
    push_image(bench.source.store(), &repo("app"), Some("1"), &layers).await;
    let job = "source: 'SOURCE/app:1', target: 'TARGET/copy:1', type: image";
    assert_eq!(bench.run(&[job]).await.totals.blobs_copied, 2);
    let log = bench.target.log();
    assert!(!log.iter().any(|line| line.contains("mount=")), "{log:?}");

    // Within one, it is.
    let job = "source: 'SOURCE/app:1', target: 'SOURCE/copy:1', type: image";
    assert_eq!(bench.run(&[job]).await.totals.blobs_mounted, 2);
}

#[tokio::test]
async fn c12_an_upload_that_fails_is_cancelled_whatever_comes_of_it() {
    for fault in [None, Some(Fault::Status(405)), Some(Fault::Drop)] {
        let (server, client) = started().await;
        server.on("PUT", "/uploads/", 1, Fault::Status(403));
        if let Some(fault) = fault {
            server.on("DELETE", "/uploads/", usize::MAX, fault);
        }
        let error = put(&client, text()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.one_line().contains("403"), "{}", error.one_line());
        assert_eq!(server.count("DELETE "), 1, "{:?}", server.log());
    }
    // The source's fault is told as the source's.
    let (server, client) = started().await;
    let pieces = [Ok("0123".into()), Ok("wrong".into())];
    let wrong = futures::StreamExt::boxed(futures::stream::iter(pieces));
    let wrong = Blob::verified(text().descriptor(), "the source", wrong);
    let error = put(&client, wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let said = error.one_line();
    assert!(said.contains("ended after 9 of 36 bytes"), "{said}");
    assert_eq!(server.count("DELETE "), 1, "{:?}", server.log());
    assert!(!has(&server, text().descriptor()).await);
}

/// Not as a serialiser would write it.
fn odd_manifest() -> Manifest {
    let config = Descriptor::empty();
    let text = format!(
        "{{ \"layers\" : [ ],\n\t\"config\":{},\"schemaVersion\":2,\n \"mediaType\": \"{}\" ,\"x\":1.0e2}}\n",
        serde_json::to_string(&config).unwrap(),
        MediaType::DOCKER_MANIFEST,
    );
    Manifest::parse(text.into(), None).unwrap()
}

#[tokio::test]
async fn c13_a_manifest_is_stored_byte_for_byte_under_its_type() {
    let (server, client) = started().await;
    let empty = Blob::from_bytes(MediaType::OCI_EMPTY, "{}");
    put(&client, empty).await.unwrap();
    let (manifest, tag) = (odd_manifest(), "1".parse().unwrap());
    client
        .put_manifest(&repo("a"), &manifest, Some(&tag))
        .await
        .unwrap();
    let seen = server.seen().into_iter();
    let put = seen.filter(|seen| seen.path.ends_with("/manifests/1"));
    let types: Vec<_> = put
        .map(|seen| seen.header("content-type").to_owned())
        .collect();
    assert_eq!(types, [MediaType::DOCKER_MANIFEST.as_str()]);
    let stored = server.store().manifest(&repo("a"), manifest.digest()).await;
    assert_eq!(stored.unwrap().bytes(), manifest.bytes());
}

#[tokio::test]
async fn c14_another_digest_in_the_answer_is_an_error() {
    let (server, client) = started().await;
    let manifest = odd_manifest();
    let other = Descriptor::of(MediaType::OCTET_STREAM, b"other").digest;
    let sha512 = format!("sha512:{}", "0".repeat(128));
    for (stated, fits) in [
        (manifest.digest().as_str(), true),
        (other.as_str(), false),
        // Says nothing of ours.
        (sha512.as_str(), true),
        ("nonsense", true),
    ] {
        let stored = Fault::reply(201, &[("docker-content-digest", stated)], "");
        server.on("PUT", "/manifests/", 1, stored);
        let put = client
            .put_manifest(&repo("a"), &manifest, None)
            .await
            .map_err(|error| error.kind());
        let want = if fits {
            Ok(())
        } else {
            Err(ErrorKind::Corrupt)
        };
        assert_eq!(put, want, "{stated}");
    }
}

#[tokio::test]
async fn c15_what_stays_too_large_is_told_with_its_size() {
    let (server, client) = started().await;
    server.on("PUT", "/uploads/", usize::MAX, Fault::Status(413));
    server.on("PATCH", "/uploads/", usize::MAX, Fault::Status(413));
    for (size, told, sent) in [
        // In chunks it would be no smaller.
        (36, "36 bytes", 1),
        (1 << 20, "262144 bytes", 3),
    ] {
        server.clear_log();
        let error = put(&client, large(size)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let line = error.one_line();
        assert!(line.contains(told) && line.contains("413"), "{line}");
        let bodies = server.count("PUT ") + server.count("PATCH ");
        assert_eq!(bodies, sent, "{:?}", server.log());
    }

    // Not for the length of one, when as much was taken before.
    let (server, client) = chunking(1, 1 << 20).await;
    server.on(
        "PATCH",
        "/uploads/",
        1,
        Fault::Drip {
            bytes: 1,
            every: std::time::Duration::ZERO,
        },
    );
    server.on("PATCH", "/uploads/", usize::MAX, Fault::Status(413));
    let error = put(&client, large(3 << 20)).await.unwrap_err();
    assert!(error.one_line().contains("1048576 bytes"));
    assert_eq!(server.count("PATCH "), 2);

    let manifest = odd_manifest();
    server.on("PUT", "/manifests/", 1, Fault::Status(413));
    let error = client
        .put_manifest(&repo("a"), &manifest, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let line = error.one_line();
    assert!(
        line.contains(&format!("{} bytes", manifest.size())) && line.contains("413"),
        "{line}"
    );
    assert_eq!(server.count("PUT /v2/a/manifests/"), 1);
}
