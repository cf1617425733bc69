//! Names, parsing, bounds. The rules for single names, references and
//! documents are tested where they are parsed, in `src/oci`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::{StreamExt, stream};
use http::Method;
use regmirror::config::Config;
use regmirror::http::{HostOptions, HttpClient, RetryPolicy, Tls};
use regmirror::oci::{Digest, Reference, Repository, TagOrDigest};
use regmirror::registry::{Credential, Registry, default_address};
use regmirror::store::{ErrorKind, Source, StoreError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::bench::{Bench, failures};
use crate::support::images::{push_image, repo, tag, tagged};
use crate::support::program::{run_with_input, told};
use crate::support::{Fault, TestRegistry};

const ALL: &str = "source: SOURCE/app, target: TARGET/app, type: repository, name: app";
const IMAGE: &str = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";

/// Paths that a name from a listing or a document must never get into.
fn assert_plain(registry: &TestRegistry) {
    for seen in registry.seen() {
        let path = &seen.path;
        let odd = ["..", "%", "\\", "//", "etc", "Blob"];
        // What the client itself encodes is a digest's colon in a query.
        let path = path.replace("digest=sha256%3A", "");
        assert!(!odd.iter().any(|odd| path.contains(odd)), "{path}");
    }
}

#[tokio::test]
async fn a1_listed_names_that_are_no_tags_are_counted_and_reach_no_url() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("good"), &[b"x"]).await;
    let listed = json!({"name": "app", "tags": [
        "../../secret/manifests/1", "a/b", "%2e%2e", "-x", "a b", "a\r\nHost: x", "\u{1b}[31mred",
        "good", "x".repeat(129),
    ]});
    let page = Fault::reply(200, &[], listed.to_string());
    bench.source.on("GET", "/tags/list", 1, page);
    let text = bench.config(&[ALL]);
    let run = tokio::task::spawn_blocking(move || run_with_input(&["once", "-c", "-"], &text));
    let (code, out, err) = told(&run.await.unwrap());
    assert_eq!(code, 0, "{out}{err}");
    let found = tagged(bench.target.store(), &repo("app"), "good").await;
    assert!(found.is_some(), "the rest goes on: {out}{err}");
    let line = err.lines().find(|line| line.contains("not valid"));
    let line = line.unwrap_or_else(|| panic!("reported: {err}"));
    assert!(line.contains("count=8 ") && line.contains("/app"), "{line}");
    assert!(!err.contains('\u{1b}'), "{err}");
    for side in [&bench.source, &bench.target] {
        assert_plain(side);
    }
    let asked = |line: &String| line.contains("/manifests/") && !line.contains("sha256:");
    for line in bench.source.log().into_iter().filter(asked) {
        assert!(line.contains("/manifests/good "), "{line}");
    }
}

#[test]
fn a1_tags_of_a_configuration_are_checked() {
    for entry in [
        "source: 'h.io/a:../x', target: 'h.io/b:1', type: image",
        "source: 'h.io/a:1', target: 'h.io/b:-x', type: image",
        "source: 'h.io/a', target: 'h.io/b', type: image, backup: 'a b'",
    ] {
        let parsed = Config::parse(&format!("sync:\n- {{{entry}}}\n"), "test");
        assert!(parsed.is_err(), "{entry}");
    }
}

/// Digests that are none, in every place where a server can say one.
#[tokio::test]
async fn a2_digests_that_are_none_reach_no_url() {
    let upper = format!("sha256:{}", "A".repeat(64));
    let short = format!("sha256:{}", "a".repeat(63));
    let unknown = format!("blake3:{}", "a".repeat(64));
    for bad in [
        "sha256:../../../other/secret/manifests/latest",
        &upper,
        &short,
        &unknown,
    ] {
        let descriptor = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": bad, "size": 3});
        let good = json!({"mediaType": "a/b", "digest": Digest::sha256(b"abc"), "size": 3});
        let index = "application/vnd.oci.image.index.v1+json";
        for document in [
            json!({"schemaVersion": 2, "config": good, "layers": [descriptor]}),
            json!({"schemaVersion": 2, "config": descriptor, "layers": []}),
            json!({"schemaVersion": 2, "mediaType": index, "manifests": [descriptor]}),
            json!({"schemaVersion": 2, "config": good, "layers": [], "subject": descriptor}),
        ] {
            let bench = Bench::new().await;
            let body = document.to_string();
            let digest = Digest::sha256(body.as_bytes()).to_string();
            let headers = [("docker-content-digest", digest.as_str())];
            let page = Fault::reply(200, &headers, body);
            bench.source.on("HEAD", "/manifests/1", 1, page.clone());
            bench.source.on("GET", "/manifests/", 1, page);
            let summary = bench.run(&[IMAGE]).await;
            let failures = failures(&summary);
            assert_eq!(failures.len(), 1, "{document}");
            assert!(failures[0].contains("read manifest"), "{failures:?}");
            assert_plain(&bench.source);
            let asked = [
                "HEAD /v2/app/manifests/1 404",
                "HEAD /v2/app/manifests/sha256",
            ];
            for line in bench.target.log() {
                assert!(asked.iter().any(|asked| line.starts_with(asked)), "{line}");
            }
        }

        // In a header it is as if there were none: the bytes decide.
        let bench = Bench::new().await;
        push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
        let headers = [("docker-content-digest", bad)];
        let head = Fault::reply(200, &headers, "");
        bench.source.on("HEAD", "/manifests/1", 1, head);
        let summary = bench.run(&[IMAGE]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_plain(&bench.source);
        assert_plain(&bench.target);

        // In a list of referrers it is an error, not a list without it.
        let bench = Bench::new().await;
        push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
        let list = json!({"schemaVersion": 2, "mediaType": index, "manifests": [descriptor]});
        let page = Fault::reply(200, &[("content-type", index)], list.to_string());
        bench.source.on("GET", "/referrers/", 1, page);
        let summary = bench.run(&[&format!("{IMAGE}, referrers: true")]).await;
        assert_eq!(failures(&summary).len(), 1);
        assert_plain(&bench.source);
        assert_plain(&bench.target);
    }
}

#[test]
fn a3_docker_hub_s_names_lead_to_its_api() {
    for name in [
        "alpine",
        "docker.io/alpine",
        "index.docker.io/library/alpine",
    ] {
        let reference: Reference = name.parse().unwrap();
        assert_eq!(reference.repository, repo("library/alpine"), "{name}");
        let regmirror::oci::Location::Registry(host) = reference.location else {
            panic!("{name}");
        };
        assert_eq!(default_address(&host), "registry-1.docker.io", "{name}");
    }
    for (name, address) in [
        ("localhost/x", "localhost"),
        ("h:5000/x", "h:5000"),
        ("[::1]:5000/x", "[::1]:5000"),
    ] {
        let reference: Reference = name.parse().unwrap();
        assert_eq!(reference.repository, repo("x"), "{name}");
        let regmirror::oci::Location::Registry(host) = reference.location else {
            panic!("{name}");
        };
        assert_eq!(default_address(&host), address, "{name}");
    }
}

#[tokio::test]
async fn a4_a_digest_is_pulled_whatever_its_tag_says() {
    let bench = Bench::new().await;
    let (app, source) = (repo("app"), bench.source.store());
    let old = push_image(source, &app, Some("1"), &[b"old"]).await;
    push_image(source, &app, Some("1"), &[b"new"]).await;
    let entry = format!(
        "source: 'SOURCE/app:1@{}', target: 'TARGET/app:1', type: image",
        old.digest()
    );
    let summary = bench.run(&[&entry]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert_eq!(bench.source.count("GET /v2/app/manifests/1"), 0);
    assert_eq!(bench.source.count("HEAD /v2/app/manifests/1"), 0);
    let found = tagged(bench.target.store(), &app, "1").await;
    assert_eq!(found.as_ref(), Some(old.digest()));
}

#[test]
fn a5_names_that_are_too_long_or_an_image_id_are_errors_of_the_configuration() {
    let hex = "0123456789abcdef".repeat(4);
    // One character too many, and the longest that is taken.
    let host = "registry.example.org";
    let long = format!("{host}/{}", "a".repeat(255 - host.len()));
    let fits = &long[..long.len() - 1];
    let faults = |source: &str, target: &str| {
        let text = format!("sync:\n- {{source: {source}, target: {target}, type: repository}}\n");
        Config::parse(&text, "test").map_or_else(|faults| faults.to_string(), |_| String::new())
    };
    assert_eq!(faults(fits, "r.test/b"), "");
    assert_eq!(faults("r.test/b", fits), "");
    for (source, target, words) in [
        (
            long.as_str(),
            "r.test/b",
            ["sync[0].source", "255 characters"],
        ),
        ("r.test/b", &long, ["sync[0].target", "255 characters"]),
        (
            &hex,
            "r.test/b",
            ["sync[0].source", "looks like an image ID"],
        ),
        (
            "r.test/b",
            &hex,
            ["sync[0].target", "looks like an image ID"],
        ),
    ] {
        let text = faults(source, target);
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

/// A document that is two things, or says one thing twice, goes no further.
#[tokio::test]
async fn a6_what_can_be_read_in_two_ways_is_not_mirrored() {
    let other = Digest::sha256(b"other");
    let blob = json!({"mediaType": "a/b", "digest": Digest::sha256(b"abc"), "size": 3});
    let twice = format!(
        r#"{{"schemaVersion":2,"config":{blob},"layers":[{{"mediaType":"a/b","size":3,"digest":"{}","DIGEST":"{other}"}}]}}"#,
        Digest::sha256(b"abc")
    );
    for (body, words) in [
        (
            json!({"schemaVersion": 2, "config": blob, "layers": [], "manifests": []}).to_string(),
            "two kinds of manifest at once",
        ),
        (
            json!({"schemaVersion": 2, "fsLayers": [], "manifests": []}).to_string(),
            "two kinds of manifest at once",
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{blob},"config":{blob},"layers":[]}}"#),
            "duplicate field `config`",
        ),
        (twice, "\"layers.0.DIGEST\" is \"digest\""),
    ] {
        let bench = Bench::new().await;
        let page = Fault::reply(200, &[], body);
        for method in ["HEAD", "GET"] {
            bench.source.on(method, "/manifests/", 2, page.clone());
        }
        let summary = bench.run(&[IMAGE]).await;
        let failures = failures(&summary);
        assert_eq!(failures.len(), 1);
        assert!(failures[0].contains(words), "{words}: {failures:?}");
        assert_eq!(bench.target.count("P"), 0, "nothing is sent");
    }
}

/// How a server answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// With this status, this Content-Type, and a body without an end.
    Endless(u16, &'static str),
    /// With this status and nothing else.
    Status(u16),
    /// That a token is needed, which its `/token` hands out.
    Challenge,
}

/// A server whose bodies do not end, and how much it got rid of.
struct Endless {
    address: String,
    served: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Endless {
    /// Far beyond every limit: where a client that has none is stopped.
    const ENOUGH: usize = 256 << 20;

    async fn start(answers: fn(&Method, &str) -> Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (served, requests): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let router = Router::new().fallback({
            let (address, served, requests) =
                (address.clone(), Arc::clone(&served), Arc::clone(&requests));
            move |request: Request| {
                requests.fetch_add(1, Ordering::SeqCst);
                let answer = answers(request.method(), request.uri().path());
                let answer = respond(answer, &address, &served);
                async move { answer }
            }
        });
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            served,
            requests,
            _server: server,
        }
    }

    fn client(&self) -> Registry {
        let options = HostOptions::new(&self.address).with_tls(Tls::Disabled);
        let client = HttpClient::new("regmirror-test").unwrap();
        let host = self.address.parse().unwrap();
        let (credential, retry) = (Credential::Anonymous, RetryPolicy::none());
        Registry::new(host, &options, credential, &client, retry).unwrap()
    }
}

fn respond(answer: Answer, address: &str, served: &Arc<AtomicUsize>) -> Response {
    let response = Response::builder();
    match answer {
        Answer::Status(status) => response.status(status).body(Body::empty()),
        Answer::Challenge => {
            let realm = format!("Bearer realm=\"http://{address}/token\",service=\"x\"");
            let response = response.status(401).header("www-authenticate", realm);
            response.body(Body::empty())
        }
        Answer::Endless(status, kind) => {
            let served = Arc::clone(served);
            let pieces = stream::repeat_with(move || {
                let piece = Bytes::from_static(&[b'x'; 64 << 10]);
                served.fetch_add(piece.len(), Ordering::SeqCst);
                Ok::<_, std::io::Error>(piece)
            });
            let body = Body::from_stream(pieces.take(Endless::ENOUGH >> 16));
            let response = response.status(status).header("content-type", kind);
            response.body(body)
        }
    }
    .unwrap()
}

/// What a client says of a server that does not end, and that it stops reading
/// at `cap` bytes. What the kernel holds for a connection comes on top.
async fn stops<T: std::fmt::Debug>(
    answers: fn(&Method, &str) -> Answer,
    cap: usize,
    call: impl AsyncFnOnce(Registry, Repository) -> Result<T, StoreError>,
) -> StoreError {
    const KERNEL: usize = 24 << 20;
    let server = Endless::start(answers).await;
    let call = call(server.client(), repo("app"));
    let result = tokio::time::timeout(Duration::from_secs(60), call).await;
    let error = result.expect("it gives up").unwrap_err();
    let served = server.served.load(Ordering::SeqCst);
    assert!(served >= cap.min(64 << 10), "{served}: {error:?}");
    assert!(served <= cap + KERNEL, "{served}: {error:?}");
    let requests = server.requests.load(Ordering::SeqCst);
    assert!(requests <= 3, "{requests} requests");
    error
}

#[tokio::test]
async fn a7_bodies_without_an_end_are_cut_at_their_cap() {
    const PAGE: usize = 8 << 20;
    let by_tag = async |client: Registry, app: Repository| {
        client.resolve(&app, &TagOrDigest::Tag(tag("1"))).await
    };
    let head_does_not_tell: fn(&Method, &str) -> Answer = |method, _| match *method {
        Method::HEAD => Answer::Status(405),
        _ => Answer::Endless(200, "application/vnd.oci.image.manifest.v1+json"),
    };
    let manifest = async |client: Registry, app: Repository| {
        client.manifest(&app, &Digest::sha256(b"x")).await
    };
    let tags = async |client: Registry, app: Repository| {
        let mut pages = client.tags(&app);
        pages.next().await.expect("a page or an error")
    };
    let referrers = async |client: Registry, app: Repository| {
        client.referrers(&app, &Digest::sha256(b"x")).await
    };
    let token: fn(&Method, &str) -> Answer = |_, path| match path {
        "/token" => Answer::Endless(200, "application/json"),
        _ => Answer::Challenge,
    };
    let list: fn(&Method, &str) -> Answer =
        |_, _| Answer::Endless(200, "application/vnd.oci.image.index.v1+json");

    for (error, cap) in [
        (stops(head_does_not_tell, PAGE, by_tag).await, PAGE),
        (stops(head_does_not_tell, PAGE, manifest).await, PAGE),
        (stops(list, PAGE, tags).await, PAGE),
        (stops(list, PAGE, referrers).await, PAGE),
        (stops(token, 128 << 10, manifest).await, 128 << 10),
    ] {
        let text = error.one_line();
        let words = format!("longer than the {cap} bytes");
        assert!(text.contains(&words), "{words}: {text}");
        assert!(text.len() < 1000, "{text}");
    }
}

#[tokio::test]
async fn a7_of_an_error_without_an_end_a_part_is_read_and_less_is_shown() {
    let refused: fn(&Method, &str) -> Answer = |_, _| Answer::Endless(418, "text/plain");
    let token: fn(&Method, &str) -> Answer = |_, path| match path {
        "/token" => Answer::Endless(400, "text/plain"),
        _ => Answer::Challenge,
    };
    for answers in [refused, token] {
        let manifest = async |client: Registry, app: Repository| {
            client.manifest(&app, &Digest::sha256(b"x")).await
        };
        let error = stops(answers, 64 << 10, manifest).await;
        assert_ne!(error.kind(), ErrorKind::NotFound);
        let text = error.one_line();
        let shown = text.matches('x').count();
        assert!((1000..1100).contains(&shown), "{shown}: {text}");
    }
}
