//! A registry with a request log, and faults on demand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::TryStreamExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use regmirror::embedded::{Options, router};
use regmirror::store::{Hosted, MemoryStore};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::auth::{Auth, Guard};
use super::fault::{self, Fault, reply};
use super::storm::Storm;
use super::wire::{Ending, Wires};

/// A request that has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    /// A header; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// The embedded registry on a port of its own, over a store in memory. It ends
/// when it is dropped.
#[derive(Debug)]
pub(crate) struct TestRegistry {
    address: String,
    store: MemoryStore,
    script: Arc<Script>,
    _server: JoinSet<std::io::Result<()>>,
}

#[derive(Debug, Default)]
struct Script {
    scenario: Mutex<Scenario>,
    /// A request is being held.
    holding: Notify,
    /// It may go on.
    released: Notify,
    /// A request has been answered.
    answered: Notify,
}

#[derive(Debug, Default)]
struct Scenario {
    log: Vec<String>,
    seen: Vec<Seen>,
    requests: usize,
    matching: Vec<Matching>,
    numbered: HashMap<usize, Fault>,
    dead_from: Option<usize>,
    guard: Option<Guard>,
    without_referrers: bool,
    pulls: Option<PullLimit>,
    storm: Option<Storm>,
    /// How many bytes of blobs were sent.
    sent: u64,
}

/// A limit on pulls as Docker Hub has it: only GETs of manifests count.
#[derive(Debug, Clone, Copy)]
struct PullLimit {
    limit: u64,
    remaining: u64,
    window: u64,
}

#[derive(Debug)]
struct Matching {
    method: String,
    path_part: String,
    times: usize,
    fault: Fault,
}

impl TestRegistry {
    pub(crate) async fn start() -> Self {
        let store = MemoryStore::new("test");
        let router = router(
            Arc::new(store.clone()) as Arc<dyn Hosted>,
            Options::default(),
        );
        Self::serving(store, router).await
    }

    /// A registry from before the referrers API: it answers 404 there, and says
    /// nothing of a subject that is stored.
    pub(crate) async fn without_referrers() -> Self {
        let registry = Self::start().await;
        registry.forget_referrers();
        registry
    }

    async fn serving(store: MemoryStore, router: Router) -> Self {
        let script = Arc::new(Script::default());
        let router = router.layer(from_fn_with_state(Arc::clone(&script), play));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut server = JoinSet::new();
        let service = router.into_make_service_with_connect_info::<Ending>();
        server.spawn(axum::serve(Wires(listener), service).into_future());
        Self {
            address,
            store,
            script,
            _server: server,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// What was answered, in that order: `HEAD /v2/a/manifests/1 200`. The
    /// status of a dropped request is `dropped`.
    pub(crate) fn log(&self) -> Vec<String> {
        self.script.lock().log.clone()
    }

    /// The requests that have arrived, in that order, those for tokens too.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().seen.clone()
    }

    pub(crate) fn clear_log(&self) {
        let mut script = self.script.lock();
        script.log.clear();
        script.seen.clear();
    }

    /// How many log lines start with `prefix`.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        let script = self.script.lock();
        script
            .log
            .iter()
            .filter(|line| line.starts_with(prefix))
            .count()
    }

    /// How many requests have arrived.
    pub(crate) fn requests(&self) -> usize {
        self.script.lock().requests
    }

    /// The next `times` requests with this method, and `path_part` somewhere
    /// in path and query, get `fault`. The oldest rule that fits counts.
    pub(crate) fn on(&self, method: &str, path_part: &str, times: usize, fault: Fault) {
        self.script.lock().matching.push(Matching {
            method: method.to_owned(),
            path_part: path_part.to_owned(),
            times,
            fault,
        });
    }

    /// Request number `n`, counted from 0 and from now, gets `fault`.
    pub(crate) fn fail_request(&self, n: usize, fault: Fault) {
        let mut script = self.script.lock();
        let at = script.requests + n;
        script.numbered.insert(at, fault);
    }

    /// From request number `n` on, counted from 0 and from now, all are
    /// answered 503, as by a dead server behind its proxy.
    pub(crate) fn fail_from(&self, n: usize) {
        let mut script = self.script.lock();
        script.dead_from = Some(script.requests + n);
    }

    /// One request in five fails, in one way or another.
    pub(crate) fn storm(&self, seed: u64) {
        self.script.lock().storm = Some(Storm::new(seed));
    }

    /// How many requests the storm struck.
    pub(crate) fn struck(&self) -> usize {
        let script = self.script.lock();
        script.storm.as_ref().map_or(0, |storm| storm.faults)
    }

    /// How many bytes of blobs were sent, those in vain too.
    pub(crate) fn sent(&self) -> u64 {
        self.script.lock().sent
    }

    /// Ends a storm.
    pub(crate) fn calm(&self) {
        self.script.lock().storm = None;
    }

    /// No fault is to happen any more.
    pub(crate) fn heal(&self) {
        let mut script = self.script.lock();
        script.matching.clear();
        script.numbered.clear();
        script.dead_from = None;
    }

    /// Knows nothing of referrers from now on, as registries of before
    /// distribution-spec 1.1.
    pub(crate) fn forget_referrers(&self) {
        self.script.lock().without_referrers = true;
    }

    /// Lets so many manifests be pulled out of `limit` in `window` seconds, and
    /// says so with every answer about one.
    pub(crate) fn limit_pulls(&self, remaining: u64, limit: u64, window: u64) {
        self.script.lock().pulls = Some(PullLimit {
            limit,
            remaining,
            window,
        });
    }

    /// Waits until `holds` of what has been answered.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let answered = self.script.answered.notified();
                if holds(self) {
                    return;
                }
                answered.await;
            }
        });
        assert!(
            waited.await.is_ok(),
            "not within a minute: {:#?}",
            self.log()
        );
    }

    /// Waits until a request is held.
    pub(crate) async fn held(&self) {
        self.script.holding.notified().await;
    }

    /// Lets the request that is held go on.
    pub(crate) fn release(&self) {
        self.script.released.notify_one();
    }

    /// Serves nobody without credentials from now on.
    pub(crate) fn require_auth(&self, auth: Auth) {
        self.script.lock().guard = Some(Guard::new(auth, &self.address));
    }

    /// Makes `token` good for these scopes, as `repository:a:pull,push`: for
    /// tokens that a scripted answer hands out.
    pub(crate) fn accept_token(&self, token: &str, scopes: &[&str]) {
        let mut script = self.script.lock();
        let guard = script.guard.as_mut().expect("somebody to show it to");
        guard.accept(token, scopes);
    }
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Scenario> {
        self.scenario
            .lock()
            .expect("no test panics while it holds the lock")
    }

    fn log(&self, line: String) {
        self.lock().log.push(line);
        self.answered.notify_waiters();
    }
}

impl Scenario {
    /// Counts a pull. The answer when there is none left, and the headers that
    /// go with any.
    fn pull(&mut self, method: &Method, path: &str) -> (Option<Response>, Option<[String; 2]>) {
        let Some(pulls) = self.pulls.as_mut().filter(|_| path.contains("/manifests/")) else {
            return (None, None);
        };
        let refused = method == Method::GET && pulls.remaining == 0;
        if method == Method::GET {
            pulls.remaining = pulls.remaining.saturating_sub(1);
        }
        let PullLimit {
            limit,
            remaining,
            window,
        } = *pulls;
        let headers = [limit, remaining].map(|pulls| format!("{pulls};w={window}"));
        let text = "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"You have reached your \
                    pull rate limit. You may increase the limit by authenticating and upgrading: \
                    https://www.docker.com/increase-rate-limit\"}]}";
        (refused.then(|| reply(429, &[], text.into())), Some(headers))
    }

    /// Counts a request and says what is to go wrong with it.
    fn next_fault(&mut self, method: &str, path: &str) -> Option<Fault> {
        let number = self.requests;
        self.requests += 1;
        if let Some(fault) = self.numbered.remove(&number) {
            return Some(fault);
        }
        if self.dead_from.is_some_and(|from| number >= from) {
            return Some(Fault::Status(503));
        }
        let fits = |rule: &&mut Matching| {
            rule.times > 0 && rule.method == method && path.contains(&rule.path_part)
        };
        if let Some(rule) = self.matching.iter_mut().find(fits) {
            rule.times -= 1;
            return Some(rule.fault.clone());
        }
        self.storm.as_mut()?.strike(method, path)
    }
}

async fn play(
    State(script): State<Arc<Script>>,
    ConnectInfo(line_end): ConnectInfo<Ending>,
    request: Request,
    next: Next,
) -> Response {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let line = format!("{} {path}", request.method());
    let (fault, refusal) = {
        let mut script = script.lock();
        script.seen.push(Seen {
            method: request.method().clone(),
            path: path.clone(),
            headers: request.headers().clone(),
        });
        let fault = script.next_fault(request.method().as_str(), &path);
        let refusal = script
            .guard
            .as_mut()
            .and_then(|guard| guard.check(&request));
        (fault, refusal)
    };
    let without_referrers = script.lock().without_referrers;
    let served = async |request: Request| match refusal {
        Some(answer) => answer,
        None if without_referrers && path.contains("/referrers/") => reply(404, &[], Vec::new()),
        None => {
            let (spent, headers) = script.lock().pull(request.method(), &path);
            let mut answer = match spent {
                Some(answer) => answer,
                None => next.run(request).await,
            };
            for (name, value) in ["ratelimit-limit", "ratelimit-remaining"]
                .iter()
                .zip(headers.into_iter().flatten())
            {
                answer
                    .headers_mut()
                    .insert(*name, value.parse().expect("digits"));
            }
            if without_referrers {
                answer.headers_mut().remove("oci-subject");
            }
            answer
        }
    };
    let mut response = match fault {
        None => served(request).await,
        Some(Fault::Status(status)) => reply(status, &[], Vec::new()),
        Some(Fault::Reply {
            status,
            headers,
            body,
        }) => reply(status, &headers, body),
        Some(Fault::FlipBit) => fault::flip_bit(served(request).await).await,
        Some(Fault::Cut { after, how }) => {
            fault::cut(served(request).await, after, how, line_end).await
        }
        Some(Fault::Stall(after)) => fault::stall(served(request).await, after).await,
        Some(Fault::Drip { bytes, every }) => {
            fault::drip(served(request).await, bytes, every).await
        }
        Some(Fault::Length(length)) => fault::length(served(request).await, length).await,
        Some(Fault::Hold) => {
            script.holding.notify_one();
            script.released.notified().await;
            served(request).await
        }
        Some(Fault::Drop) => {
            script.log(format!("{line} dropped"));
            drop_connection()
        }
        Some(Fault::UploadCut { stored }) => {
            let request = fault::begun_upload(request, stored).await;
            let status = served(request).await.status().as_u16();
            script.log(format!("{line} cut at {stored}, {status}"));
            line_end.reset();
            drop_connection()
        }
        Some(Fault::Lose) => {
            let status = served(request).await.status().as_u16();
            script.log(format!("{line} {status} lost"));
            drop_connection()
        }
    };
    script.log(format!("{line} {}", response.status().as_u16()));
    match line.starts_with("GET ") && line.contains("/blobs/") {
        true => {
            // A stream does not tell its length.
            if let Some(length) = response.body().size_hint().exact() {
                let headers = response.headers_mut();
                headers.entry(CONTENT_LENGTH).or_insert(length.into());
            }
            response.map(|body| {
                let sent = body.into_data_stream().inspect_ok(move |piece| {
                    script.lock().sent += piece.len() as u64;
                });
                Body::from_stream(sent)
            })
        }
        false => response,
    }
}

/// Ends the connection's task, and so the connection. Unlike `panic!` it
/// prints nothing.
fn drop_connection() -> ! {
    std::panic::resume_unwind(Box::new("the connection is to be dropped"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use regmirror::oci::{Algorithm, Digest, MediaType};
    use regmirror::store::{Blob, Sink};

    use crate::support::{Auth, End, Fault, TestRegistry, client};

    async fn with_blob() -> (TestRegistry, String) {
        let registry = TestRegistry::start().await;
        let blob = Blob::from_bytes(MediaType::OCTET_STREAM, "0123456789");
        let path = format!("/v2/a/blobs/{}", blob.descriptor().digest);
        let repo = "a".parse().unwrap();
        registry.store().put_blob(&repo, blob).await.unwrap();
        (registry, path)
    }

    #[tokio::test]
    async fn requests_are_logged_and_fail_as_told() {
        let (registry, path) = with_blob().await;
        let url = format!("http://{}{path}", registry.address());
        let get = async || {
            client()
                .get(&url)
                .send()
                .await
                .map(|answer| answer.status().as_u16())
        };

        registry.on("GET", "/blobs/", 1, Fault::Status(429));
        registry.fail_request(2, Fault::Drop);
        registry.fail_from(3);
        assert_eq!(get().await.unwrap(), 429);
        assert_eq!(get().await.unwrap(), 200);
        assert!(get().await.is_err());
        assert_eq!(get().await.unwrap(), 503);

        let lines = ["429", "200", "dropped", "503"].map(|end| format!("GET {path} {end}"));
        assert_eq!(registry.log(), lines);
        assert_eq!(registry.requests(), 4);
        assert_eq!(registry.count("GET "), 4);
        registry.clear_log();
        assert_eq!(registry.count("GET "), 0);
    }

    #[tokio::test]
    async fn bodies_are_damaged_as_told() {
        let (registry, path) = with_blob().await;
        let url = format!("http://{}{path}", registry.address());
        registry.on("GET", "/a/", 1, Fault::FlipBit);
        registry.on("GET", "/a/", 1, Fault::cut(4));
        registry.on("GET", "/a/", 1, Fault::reply(418, &[("x-y", "z")], "other"));

        let answer = client().get(&url).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), "0123446789");

        let mut answer = client().get(&url).send().await.unwrap();
        assert_eq!(answer.content_length(), Some(10));
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "0123");
        assert!(answer.chunk().await.is_err());

        let answer = client().get(&url).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-y"]),
            (418, &"z".parse().unwrap())
        );
        assert_eq!(answer.text().await.unwrap(), "other");
    }
    #[tokio::test]
    async fn bodies_end_and_falter_as_told() {
        let (registry, path) = with_blob().await;
        let url = format!("http://{}{path}", registry.address());
        let reset = Fault::Cut {
            after: 3,
            how: End::Reset,
        };
        registry.on("GET", "/a/", 1, reset);
        registry.on("GET", "/a/", 1, Fault::Stall(2));
        let drip = Fault::Drip {
            bytes: 4,
            every: Duration::from_millis(1),
        };
        registry.on("GET", "/a/", 1, drip);
        registry.on("GET", "/a/", 1, Fault::Length(5));

        let mut answer = client().get(&url).send().await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "012");
        let error = answer.chunk().await.unwrap_err();
        assert!(
            format!("{error:?}").contains("ConnectionReset"),
            "{error:?}"
        );

        let mut answer = client().get(&url).send().await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "01");
        assert!(answer.chunk().now_or_never().is_none());

        let mut answer = client().get(&url).send().await.unwrap();
        for piece in ["0123", "4567", "89"] {
            assert_eq!(answer.chunk().await.unwrap().unwrap(), piece);
        }

        let answer = client().get(&url).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), "01234");
    }

    #[tokio::test]
    async fn an_upload_is_cut_as_told() {
        let registry = TestRegistry::start().await;
        let start = format!("http://{}/v2/a/blobs/uploads/", registry.address());
        let begun = client().post(start).send().await.unwrap();
        let session = begun.headers()["location"].to_str().unwrap().to_owned();
        let session = format!("http://{}{session}", registry.address());
        let digest = Digest::of(Algorithm::Sha256, b"0123456789");
        let separator = if session.contains('?') { '&' } else { '?' };
        registry.on("PUT", "/uploads/", 1, Fault::UploadCut { stored: 4 });
        let put = client()
            .put(format!("{session}{separator}digest={digest}"))
            .header("x-y", "z")
            .body("0123456789");
        assert!(put.send().await.is_err());
        let stands = client().get(session).send().await.unwrap();
        assert_eq!(stands.headers()["range"], "0-3");
        let seen = registry.seen();
        assert_eq!(seen[1].method, "PUT");
        assert_eq!(seen[1].header("x-y"), "z");
        assert!(seen[1].path.ends_with(&format!("digest={digest}")));
    }

    #[tokio::test]
    async fn a_scripted_token_is_accepted() {
        let registry = TestRegistry::start().await;
        registry.require_auth(Auth::Anonymous);
        registry.accept_token("T1", &["repository:a:pull,push"]);
        let start = format!("http://{}/v2/a/blobs/uploads/", registry.address());
        let begun = client().post(start).bearer_auth("T1").send().await.unwrap();
        assert_eq!(begun.status(), 202);
    }
}
