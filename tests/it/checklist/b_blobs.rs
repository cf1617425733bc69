//! Reading blobs from a registry.

use std::time::Duration;

use futures::TryStreamExt;
use regmirror::http::HostOptions;
use regmirror::oci::{Descriptor, MediaType};
use regmirror::registry::{Credential, Registry};
use regmirror::store::{Blob, ErrorKind, Sink, Source, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::images::repo;
use crate::support::{End, Fault, TestRegistry, registry_client, registry_client_with};

const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

fn text() -> Descriptor {
    Descriptor::of(MediaType::OCTET_STREAM, TEXT.as_bytes())
}

/// A registry that has the text, and a client for it.
async fn started() -> (TestRegistry, Registry) {
    let server = TestRegistry::start().await;
    let blob = Blob::from_bytes(MediaType::OCTET_STREAM, TEXT);
    server.store().put_blob(&repo("a"), blob).await.unwrap();
    let client = registry_client(&server, Credential::Anonymous);
    (server, client)
}

async fn read(client: &Registry) -> Result<String, StoreError> {
    read_as(client, &text()).await
}

async fn read_as(client: &Registry, blob: &Descriptor) -> Result<String, StoreError> {
    let blob = client.blob(&repo("a"), blob).await?;
    let bytes = blob.into_bytes().await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What part each request asked for, and how it was answered.
fn asked(server: &TestRegistry) -> Vec<String> {
    let log = server.log();
    let seen = server.seen().into_iter().zip(&log);
    seen.map(|(seen, line)| {
        format!(
            "{} {}",
            seen.header("range"),
            line.rsplit(' ').next().unwrap()
        )
    })
    .collect()
}

fn both_ends(after: usize) -> [Fault; 2] {
    [End::Fin, End::Reset].map(|how| Fault::Cut { after, how })
}

/// The rest of the text from `start` on, in a scripted answer.
fn rest(range: &str, start: usize) -> Fault {
    Fault::reply(206, &[("content-range", range)], &TEXT[start..])
}

#[tokio::test]
async fn b5_not_a_byte_more_than_its_size_is_taken() {
    let (_server, client) = started().await;
    let shorter = |size| Descriptor { size, ..text() };
    // By its length, told and not told.
    let error = read_as(&client, &shorter(35)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.one_line().contains("has 36 bytes there"));
    for size in [0, 1, 35] {
        let (address, _server) = closing_server(TEXT, usize::MAX).await;
        let client = raw_client(&address);
        let blob = client.blob(&repo("a"), &shorter(size)).await.unwrap();
        let mut body = blob.into_stream();
        let mut got = 0;
        let error = loop {
            match body.try_next().await {
                Ok(Some(piece)) => got += piece.len() as u64,
                Ok(None) => panic!("{size}: it was taken for whole"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(got <= size, "{got} of {size}");
    }
}

#[tokio::test]
async fn b5_size_0_means_no_byte() {
    let (server, client) = started().await;
    let empty = Descriptor::of(MediaType::OCTET_STREAM, b"");
    let blob = Blob::from_bytes(MediaType::OCTET_STREAM, "");
    server.store().put_blob(&repo("a"), blob).await.unwrap();
    assert_eq!(read_as(&client, &empty).await.unwrap(), "");
    server.on("GET", "/blobs/", 1, Fault::reply(200, &[], "x"));
    let error = read_as(&client, &empty).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // A body that does not say how long it is.
    let (address, _server) = closing_server("x", usize::MAX).await;
    let error = read_as(&raw_client(&address), &empty).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.one_line());
}

/// A server whose bodies end with the connection, as HTTP/1.0 has it: `text`
/// for the first `times` requests, and then the whole.
async fn closing_server(text: &'static str, times: usize) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut server = JoinSet::new();
    server.spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                seen.push(socket.read_u8().await.unwrap());
            }
            let body = if number < times { text } else { TEXT };
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        }
    });
    (address, server)
}

fn raw_client(address: &str) -> Registry {
    use regmirror::http::{HttpClient, RetryPolicy, Tls};
    let options = HostOptions::new(address).with_tls(Tls::Disabled);
    let client = HttpClient::new("regmirror-test").unwrap();
    let host = address.parse().unwrap();
    let (nobody, once) = (Credential::Anonymous, RetryPolicy::none());
    Registry::new(host, &options, nobody, &client, once).unwrap()
}

#[tokio::test]
async fn b6_a_body_that_ends_with_its_connection_is_not_whole_for_that() {
    let (address, _server) = closing_server(&TEXT[..10], 1).await;
    assert_eq!(read(&raw_client(&address)).await.unwrap(), TEXT);

    let (address, _server) = closing_server(&TEXT[..10], usize::MAX).await;
    let error = read(&raw_client(&address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.one_line().contains("after 10 of 36 bytes"),
        "{}",
        error.one_line()
    );
}

#[tokio::test]
async fn b7_a_body_that_is_cut_is_continued_by_range() {
    for cut in both_ends(10) {
        let (server, client) = started().await;
        server.on("GET", "/blobs/", 2, cut);
        assert_eq!(read(&client).await.unwrap(), TEXT);
        assert_eq!(asked(&server), [" 200", "bytes=10- 206", "bytes=20- 206"]);
    }
}

#[tokio::test]
async fn b7_it_goes_on_at_the_registry_which_signs_anew() {
    let (registry, client) = started().await;
    let (storage, _) = started().await;
    let signed = |signature: &str| {
        let path = format!("/v2/a/blobs/{}?s={signature}", text().digest);
        let target = format!("http://{}{path}", storage.address());
        Fault::reply(307, &[("location", target.as_str())], "")
    };
    for signature in ["1", "2"] {
        registry.on("GET", "/blobs/", 1, signed(signature));
    }
    storage.on("GET", "/blobs/", 1, Fault::cut(10));
    assert_eq!(read(&client).await.unwrap(), TEXT);
    assert_eq!(asked(&registry), [" 307", "bytes=10- 307"]);
    assert_eq!(asked(&storage), [" 200", "bytes=10- 206"]);
    let last = storage.log().pop().unwrap();
    assert!(last.ends_with("?s=2 206"), "{last}");
}

#[tokio::test]
async fn b7_another_part_than_asked_for_is_not_appended() {
    // From elsewhere; of another whole; of one that says nothing.
    for answer in [
        rest("bytes 9-35/36", 9),
        rest("bytes 11-35/36", 11),
        rest("bytes 10-35/37", 10),
        Fault::reply(206, &[], &TEXT[10..]),
    ] {
        let (server, client) = started().await;
        server.on("GET", "/blobs/", 1, Fault::cut(10));
        server.on("GET", "/blobs/", 1, answer.clone());
        // Once it is asked for the whole instead.
        assert_eq!(read(&client).await.unwrap(), TEXT, "{answer:?}");
        assert_eq!(asked(&server), [" 200", "bytes=10- 206", " 200"]);

        server.clear_log();
        server.on("GET", "/blobs/", 1, Fault::cut(10));
        server.on("GET", "/blobs/", 1, answer.clone());
        server.on("GET", "/blobs/", 1, Fault::cut(20));
        server.on("GET", "/blobs/", 1, answer);
        let error = read(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(server.count("GET "), 4);
    }
}

#[tokio::test]
async fn b8_a_server_that_begins_anew_is_skipped_along() {
    let (server, client) = started().await;
    for cut in both_ends(10) {
        server.on("GET", "/blobs/", 1, cut);
        server.on("GET", "/blobs/", 1, Fault::reply(200, &[], TEXT));
        assert_eq!(read(&client).await.unwrap(), TEXT);
    }
    assert_eq!(server.count("GET "), 4);
}

#[tokio::test]
async fn b8_a_416_is_answered_by_one_new_beginning() {
    let (server, client) = started().await;
    server.on("GET", "/blobs/", 1, Fault::cut(10));
    server.on("GET", "/blobs/", 1, Fault::Status(416));
    assert_eq!(read(&client).await.unwrap(), TEXT);
    assert_eq!(asked(&server), [" 200", "bytes=10- 416", " 200"]);

    server.clear_log();
    for after in [10, 20] {
        server.on("GET", "/blobs/", 1, Fault::cut(after));
        server.on("GET", "/blobs/", 1, Fault::Status(416));
    }
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.one_line().contains("ends after 20 bytes"),
        "{}",
        error.one_line()
    );
    assert_eq!(
        asked(&server),
        [" 200", "bytes=10- 416", " 200", "bytes=20- 416"]
    );
}

#[tokio::test]
async fn b9_progress_counts_and_three_cuts_without_it_are_the_end() {
    let (server, client) = started().await;
    // Two without a byte, one with: again and again.
    for _ in 0..3 {
        for after in [0, 0, 5] {
            server.on("GET", "/blobs/", 1, Fault::cut(after));
        }
    }
    assert_eq!(read(&client).await.unwrap(), TEXT);
    assert_eq!(server.count("GET "), 10);

    server.clear_log();
    server.on("GET", "/blobs/", 1, Fault::cut(10));
    server.on("GET", "/blobs/", usize::MAX, Fault::cut(0));
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let line = error.one_line();
    assert!(line.contains("after 10 of 36 bytes, 3 times"), "{line}");
    assert_eq!(server.count("GET "), 4, "the last cut with a byte counts");
}

/// What a server may be silent for in these tests.
const IDLE: Duration = Duration::from_millis(400);

fn impatient(server: &TestRegistry) -> Registry {
    let options = HostOptions {
        idle: IDLE,
        ..HostOptions::new(server.address())
    };
    registry_client_with(server, Credential::Anonymous, options)
}

#[tokio::test]
async fn b10_silence_is_a_cut() {
    let (server, _) = started().await;
    let client = impatient(&server);
    server.on("GET", "/blobs/", 2, Fault::Stall(10));
    assert_eq!(read(&client).await.unwrap(), TEXT);
    assert_eq!(asked(&server), [" 200", "bytes=10- 206", "bytes=20- 206"]);
}

#[tokio::test]
async fn b10_there_is_no_limit_on_the_whole() {
    let (server, _) = started().await;
    let client = impatient(&server);
    let drip = Fault::Drip {
        bytes: 2,
        every: IDLE / 8,
    };
    server.on("GET", "/blobs/", 1, drip);
    let began = std::time::Instant::now();
    assert_eq!(read(&client).await.unwrap(), TEXT);
    assert!(began.elapsed() > IDLE * 2, "{:?}", began.elapsed());
    assert_eq!(asked(&server), [" 200"]);
}

#[tokio::test]
async fn b14_what_storage_refuses_is_asked_of_the_registry_once_more() {
    let (registry, client) = started().await;
    let (storage, _) = started().await;
    let path = format!("/v2/a/blobs/{}?signature=s3cret", text().digest);
    let target = format!("http://{}{path}", storage.address());
    let away = Fault::reply(307, &[("location", target.as_str())], "");
    for status in [400, 403] {
        registry.on("GET", "/blobs/", 2, away.clone());
        storage.on("GET", "/blobs/", 1, Fault::Status(status));
        registry.clear_log();
        assert_eq!(read(&client).await.unwrap(), TEXT);
        assert_eq!(asked(&registry), [" 307", " 307"], "{status}");
    }
    // In the middle of a body as well.
    registry.clear_log();
    registry.on("GET", "/blobs/", 3, away.clone());
    storage.on("GET", "/blobs/", 1, Fault::cut(10));
    storage.on("GET", "/blobs/", 1, Fault::Status(403));
    assert_eq!(read(&client).await.unwrap(), TEXT);
    assert_eq!(asked(&registry), [" 307", "bytes=10- 307", "bytes=10- 307"]);
    // Once: it is no question of time.
    registry.clear_log();
    registry.on("GET", "/blobs/", usize::MAX, away);
    storage.on("GET", "/blobs/", usize::MAX, Fault::Status(403));
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(!error.one_line().contains("s3cret"));
    assert_eq!(registry.count("GET "), 2);
}

/// The registry's own 403 is its answer.
#[tokio::test]
async fn b14_what_the_registry_refuses_is_refused() {
    let (registry, client) = started().await;
    registry.on("GET", "/blobs/", usize::MAX, Fault::Status(403));
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(registry.count("GET "), 1);
}

/// A blob that is read again begins at a place that it passed before.
#[tokio::test]
async fn b7_a_later_stream_asks_for_no_more_than_it_needs() {
    let server = TestRegistry::start().await;
    let content = vec![7; 20 << 20];
    let blob = Blob::from_bytes(MediaType::OCTET_STREAM, content);
    let descriptor = blob.descriptor().clone();
    server.store().put_blob(&repo("a"), blob).await.unwrap();
    let client = registry_client(&server, Credential::Anonymous);
    let mut blob = client.blob(&repo("a"), &descriptor).await.unwrap();
    let mut total = 0;
    let mut body = blob.stream_from(0).await.unwrap();
    while total < 17 << 20 {
        total += body.try_next().await.unwrap().unwrap().len() as u64;
    }
    drop(body);
    let rest: Vec<_> = blob
        .stream_from(17 << 20)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rest.concat().len(), 3 << 20);
    let parts: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.header("range").to_owned())
        .collect();
    assert_eq!(parts, ["", "bytes=16777216-"]);
}
