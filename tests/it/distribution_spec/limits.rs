//! What the embedded registry does not do, and how far it goes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use regmirror::embedded::{Options, router, serve};
use regmirror::oci::Digest;
use regmirror::store::{Blob, MemoryStore, Sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{Server, assert_error};

#[tokio::test]
async fn a_read_only_registry_refuses_every_write() {
    let store = MemoryStore::new("test");
    let blob = Blob::from_bytes(regmirror::oci::MediaType::OCTET_STREAM, "content");
    let path = format!("/v2/a/blobs/{}", blob.descriptor().digest);
    store.put_blob(&"a".parse().unwrap(), blob).await.unwrap();
    let server = Server::over(Arc::new(store), Options::default().read_only(true)).await;

    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PATCH", "/v2/a/blobs/uploads/x"),
        ("PUT", "/v2/a/blobs/uploads/x"),
        ("DELETE", "/v2/a/blobs/uploads/x"),
        ("PUT", "/v2/a/manifests/1"),
        ("DELETE", "/v2/a/manifests/1"),
        ("DELETE", &path),
    ] {
        let reply = server.ask(method, path).await;
        assert_error(&reply, 405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD");
    }
    assert_eq!(server.ask("GET", &path).await.body, b"content");
}

#[tokio::test]
async fn a_method_that_an_endpoint_does_not_know_is_405() {
    let server = Server::over(Arc::new(MemoryStore::new("test")), Options::default()).await;
    for (method, path, allow) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("PUT", "/v2/a/tags/list", "GET, HEAD"),
        ("PATCH", "/v2/a/manifests/1", "GET, HEAD, PUT, DELETE"),
        ("GET", "/v2/a/blobs/uploads/", "POST"),
        ("BREW", "/v2/_catalog", "GET, HEAD"),
    ] {
        let reply = server.ask(method, path).await;
        assert_error(&reply, 405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), allow);
    }
}

#[tokio::test]
async fn uploads_are_bounded_in_number_and_age() {
    let mut options = Options::default();
    options.max_uploads = NonZeroUsize::new(2).unwrap();
    options.upload_expiry = Duration::from_secs(3600);
    let server = Server::over(Arc::new(MemoryStore::new("test")), options).await;
    let first = server.begin("a").await;
    server.begin("a").await;
    let third = server.ask("POST", "/v2/a/blobs/uploads/").await;
    assert_error(&third, 429, "TOOMANYREQUESTS");
    assert!(!third.header("retry-after").is_empty());
    assert_eq!(server.ask("DELETE", &first).await.status, 204);
    // Neither a cancelled nor a finished upload counts.
    let finished = server.begin("a").await;
    let path = format!("{finished}?digest={}", Digest::sha256(b""));
    assert_eq!(server.ask("PUT", &path).await.status, 201);
    let fourth = server.begin("a").await;

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3601)).await;
    tokio::time::resume();
    assert_error(
        &server.ask("GET", &fourth).await,
        404,
        "BLOB_UPLOAD_UNKNOWN",
    );
    server.begin("a").await;
    server.begin("a").await;
}

/// A body that gives `first`, says that it has, and gives the rest when it is
/// told to.
fn held_back(
    first: &'static str,
    rest: oneshot::Receiver<&'static str>,
) -> (reqwest::Body, oneshot::Receiver<()>) {
    let (say, begun) = oneshot::channel();
    let rest = stream::once(async {
        let _ = say.send(());
        rest.await.map_err(std::io::Error::other)
    });
    let body = reqwest::Body::wrap_stream(stream::iter([Ok(first)]).chain(rest));
    (body, begun)
}

#[tokio::test]
async fn requests_on_one_upload_come_one_after_the_other() {
    let server = Server::over(Arc::new(MemoryStore::new("test")), Options::default()).await;
    let upload = server.begin("a").await;
    let (go_on, rest) = oneshot::channel();
    let (body, begun) = held_back("abc", rest);
    let slow = server.send("PATCH", &upload, &[], body);
    let quick = async {
        begun.await.unwrap();
        let second = server.send("PATCH", &upload, &[("content-range", "6-8")], "ghi");
        let release = async { go_on.send("def").unwrap() };
        tokio::join!(second, release).0
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!((slow.status, slow.header("range")), (202, "0-5"));
    assert_eq!((quick.status, quick.header("range")), (202, "0-8"));
    let path = format!("{upload}?digest={}", Digest::sha256(b"abcdefghi"));
    assert_eq!(server.ask("PUT", &path).await.status, 201);
}

#[tokio::test]
async fn a_cancelled_upload_takes_no_more() {
    let server = Server::over(Arc::new(MemoryStore::new("test")), Options::default()).await;
    let upload = server.begin("a").await;
    let (go_on, rest) = oneshot::channel();
    let (body, begun) = held_back("abc", rest);
    let writing = server.send("PATCH", &upload, &[], body);
    let cancel = async {
        begun.await.unwrap();
        let reply = server.ask("DELETE", &upload).await;
        go_on.send("def").unwrap();
        reply.status
    };
    let (writing, cancelled) = tokio::join!(writing, cancel);
    assert_eq!(cancelled, 204);
    assert_error(&writing, 404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn shutdown_waits_for_the_request_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let digest = Digest::sha256(b"abcdef");
    let url = format!("http://{address}/v2/a/blobs/uploads/?digest={digest}");
    let router = router(Arc::new(MemoryStore::new("test")), Options::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = serve(listener, router, async {
        let _ = stopped.await;
    });
    let (go_on, rest) = oneshot::channel();
    let (body, begun) = held_back("abc", rest);
    let request = crate::support::client().post(&url).body(body);
    let script = async {
        begun.await.unwrap();
        stop.send(()).unwrap();
        // Nobody else is let in any more.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        go_on.send("def").unwrap();
    };
    let (served, answer, ()) = tokio::join!(serving, request.send(), script);
    served.unwrap();
    assert_eq!(answer.unwrap().status().as_u16(), 201);
}
