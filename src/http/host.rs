//! What all requests to one host share, and how a request is made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::{Method, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::error::transport;
use super::guard::{Reach, literal};
use super::meter::{Brake, Flight, Meter, Setback, Traffic};
use super::tls::Trust;
use super::{
    HostOptions, HttpClient, HttpError, Request, Response, RetryPolicy, Trail, Verdict,
    verdict_of_status,
};

/// The two kinds of requests that are counted separately, so that a copy that
/// is reading and waits for its turn to write cannot wait for itself when both
/// ends are one host. A write may therefore never wait for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Requests that change nothing.
    Read,
    /// Requests that change something.
    Write,
}

impl Class {
    /// The class of a method.
    pub fn of(method: &Method) -> Self {
        match method.is_safe() {
            true => Self::Read,
            false => Self::Write,
        }
    }
}

/// The right to have one request under way, until its answer has been read.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// One host, as its requests see it. Clones share everything.
#[derive(Debug, Clone)]
pub struct HostClient {
    client: HttpClient,
    /// Where the host is; `trust` is put in this origin and in no other.
    own: Url,
    trust: Trust,
    idle: Duration,
    policy: RetryPolicy,
    meter: Arc<dyn Meter>,
    state: Arc<HostState>,
}

/// What the host's requests share.
#[derive(Debug)]
struct HostState {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    concurrent: usize,
    /// No request begins before this: the host asked to be left alone.
    not_before: Mutex<Option<Instant>>,
    /// How much time lies between the beginnings of two requests at least.
    spacing: Duration,
    /// When the next request may begin by that.
    next: Mutex<Option<Instant>>,
}

impl HostState {
    fn new(concurrent: usize, spacing: Duration) -> Arc<Self> {
        Arc::new(Self {
            reads: Arc::new(Semaphore::new(concurrent)),
            writes: Arc::new(Semaphore::new(concurrent)),
            concurrent,
            not_before: Mutex::new(None),
            spacing,
            next: Mutex::new(None),
        })
    }

    /// When a request may begin that wants to now. Each gets a time of its own.
    fn slot(&self) -> Option<Instant> {
        if self.spacing.is_zero() {
            return None;
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let slot = next.map_or(now, |next| next.max(now));
        *next = Some(slot + self.spacing);
        Some(slot)
    }

    fn not_before(&self) -> Option<Instant> {
        let until = *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }

    fn leave_alone(&self, until: Instant) {
        let mut not_before = self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *not_before = (*not_before).max(Some(until));
    }
}

impl HostClient {
    /// The host at `own`, reached as `options` say; it gets at least one
    /// request at once in each direction.
    pub fn new(client: &HttpClient, own: Url, options: &HostOptions, policy: RetryPolicy) -> Self {
        Self {
            client: client.clone(),
            own,
            trust: options.trust(),
            idle: options.idle,
            policy,
            meter: Arc::new(()),
            state: HostState::new(options.concurrent.max(1), options.spacing),
        }
    }

    /// The same host, whose requests are counted by `meter`, as are those to hosts
    /// that it leads to.
    #[must_use]
    pub fn metered(self, meter: Arc<dyn Meter>) -> Self {
        Self { meter, ..self }
    }

    /// What counts its requests.
    pub fn meter(&self) -> &dyn Meter {
        &*self.meter
    }

    /// Another host that this one led to, such as the storage behind it: the
    /// same pools and policy, and a state of its own.
    #[must_use]
    pub fn stranger(&self) -> Self {
        Self {
            state: HostState::new(self.state.concurrent, Duration::ZERO),
            ..self.clone()
        }
    }

    /// Sends nothing to the host for so long: it asked for that in a way that
    /// only the caller understands.
    pub fn leave_alone(&self, wait: Duration) {
        self.state.leave_alone(Instant::now() + wait);
    }

    /// Until when the host asked to be left alone, if it did.
    pub fn quiet_until(&self) -> Option<Instant> {
        self.state.not_before()
    }

    /// What is believed at `url`, and how far it may lead. It goes by the URL,
    /// not by who asks: what this host leads to was never called insecure, and
    /// its token server may be the host itself.
    fn terms(&self, url: &Url) -> (Trust, Reach) {
        if url.origin() == self.own.origin() {
            return (self.trust.clone(), Reach::Anywhere);
        }
        if let Some(trust) = self.client.listed(url) {
            return (trust.clone(), Reach::Inside);
        }
        let trust = Trust {
            verify: true,
            ca: self.trust.ca.clone(),
            identity: None,
        };
        match self.client.is_private(&self.own) {
            true => (trust, Reach::Inside),
            false => (trust, Reach::Outside),
        }
    }

    /// Refuses a URL that has an address for a host, though this host is
    /// public, at another place and known by name: nobody who serves the
    /// public does that, for the certificate would have to name the address.
    ///
    /// # Errors
    ///
    /// When it is such a URL.
    pub fn refuse_address(&self, url: &Url) -> Result<(), HttpError> {
        let (_, reach) = self.terms(url);
        let same = url.host() == self.own.host();
        match literal(url) {
            Some(_) if reach == Reach::Outside && !same => {
                Err(HttpError::not_listed(url, "an address instead of a name"))
            }
            _ => Ok(()),
        }
    }

    /// Waits until one more request of `class` may be under way. The permit
    /// has to be held until the answer's body has been read; it covers what
    /// that request leads to as well: redirects, another attempt, the rest of
    /// a body that broke off.
    pub async fn permit(&self, class: Class) -> Permit {
        let semaphore = match class {
            Class::Read => &self.state.reads,
            Class::Write => &self.state.writes,
        };
        if let Ok(permit) = Arc::clone(semaphore).try_acquire_owned() {
            return Permit { _permit: permit };
        }
        let began = Instant::now();
        let permit = Arc::clone(semaphore).acquire_owned().await;
        let waited = Traffic::Waited(Brake::Concurrency, began.elapsed());
        self.meter.note(waited);
        Permit {
            _permit: permit.expect("the semaphores are never closed"),
        }
    }

    /// Sends `request`, again if that may help, and gives the last answer,
    /// whatever its status.
    ///
    /// A body that streams passes once, and a request may say so of itself:
    /// then there is one attempt.
    ///
    /// # Errors
    ///
    /// When there was no answer, or the host wants to be left alone for longer
    /// than the policy's patience.
    pub async fn send(&self, request: &mut Request) -> Result<Response, HttpError> {
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            self.wait_for_turn().await?;
            attempt += 1;
            let mut sent = self.attempt(request, attempt).await?;
            if let (Ok(response), Some(limit)) = (&mut sent, request.limit())
                && response.status().is_success()
            {
                match response.hold(limit).await {
                    Ok(()) => {}
                    Err(HttpError::Transport { cause, .. }) => {
                        sent = Err((cause, Verdict::Transient));
                    }
                    Err(error) => return Err(error),
                }
            }
            let trail = Trail {
                attempts: attempt,
                elapsed: began.elapsed(),
            };
            let (verdict, setback, cause) = match &sent {
                Ok(response) => {
                    let status = response.status();
                    let verdict = verdict_of_status(status, response.headers(), SystemTime::now());
                    let setback = match status {
                        StatusCode::TOO_MANY_REQUESTS => Setback::RateLimited,
                        _ => Setback::Server,
                    };
                    (verdict, setback, status.to_string())
                }
                Err((cause, verdict)) => (*verdict, setback_of(cause), cause.clone()),
            };
            // These speak for the whole host, not for this request.
            let shared = sent.as_ref().is_ok_and(|response| {
                let status = response.status();
                status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
            });
            if let Verdict::After(wait) = verdict {
                self.state.leave_alone(Instant::now() + wait);
            }
            let delay = self.policy.next_delay(attempt, verdict, fastrand::f64());
            let Some(delay) = delay.filter(|_| request.is_repeatable()) else {
                return sent
                    .map(|response| response.after(trail))
                    .map_err(|(cause, _)| HttpError::Transport { cause, trail });
            };
            warn!(
                http.method = %request.method,
                http.host = request.url.host_str(),
                http.path = request.url.path(),
                http.attempt = attempt,
                http.wait_ms = delay.as_millis(),
                "trying again: {cause}",
            );
            drop(sent);
            self.meter.note(Traffic::Retried(setback));
            let until = Instant::now() + delay;
            if shared {
                self.state.leave_alone(until);
            }
            sleep_until(until).await;
        }
    }

    /// Waits, as between two attempts at a request, after failed attempt number
    /// `attempt` (from 1) at something that takes several. `false`, at once,
    /// when that was the last one.
    pub async fn pause(&self, attempt: u32) -> bool {
        let delay = self
            .policy
            .next_delay(attempt, Verdict::Transient, fastrand::f64());
        match delay {
            Some(delay) => sleep(delay).await,
            None => return false,
        }
        true
    }

    /// Sends `request` at most once and without waiting: for what is only a
    /// courtesy.
    ///
    /// # Errors
    ///
    /// When there was no answer.
    pub async fn send_once(&self, request: &mut Request) -> Result<Response, HttpError> {
        let courtesy = Self {
            policy: RetryPolicy {
                patience: Duration::ZERO,
                ..RetryPolicy::none()
            },
            ..self.clone()
        };
        courtesy.send(request).await
    }

    /// Waits out what the host asked for; others may have been told meanwhile.
    async fn wait_for_turn(&self) -> Result<(), HttpError> {
        while let Some(until) = self.state.not_before() {
            let wait = until - Instant::now();
            if wait > self.policy.patience {
                return Err(HttpError::LeftAlone(wait));
            }
            self.brake(until).await;
        }
        if let Some(slot) = self.state.slot() {
            self.brake(slot).await;
        }
        Ok(())
    }

    async fn brake(&self, until: Instant) {
        let began = Instant::now();
        sleep_until(until).await;
        let waited = Traffic::Waited(Brake::RateLimit, began.elapsed());
        self.meter.note(waited);
    }

    /// One attempt; the inner error is a failure of the transport.
    async fn attempt(
        &self,
        request: &mut Request,
        attempt: u32,
    ) -> Result<Result<Response, (String, Verdict)>, HttpError> {
        let (trust, reach) = self.terms(&request.url);
        let client = self.client.pool(&request.url, &trust, reach)?;
        let began = Instant::now();
        let (built, progress) = request.build()?;
        let flight = Flight::begin(&self.meter, request.operation);
        if let Some(progress) = &progress {
            progress.begin(flight.sending());
        }
        let executed = client.execute(built);
        let closing = request.closing(self.idle);
        // reqwest's own `read_timeout` runs while a body is being sent, too,
        // and would end every upload that takes longer.
        let kept_waiting = async {
            match progress {
                Some(progress) => progress.stalled(self.idle, closing).await,
                None => {
                    sleep(closing).await;
                    let seconds = closing.as_secs_f64();
                    format!("no answer for {seconds} s: operation timed out")
                }
            }
        };
        let sent = tokio::select! {
            biased;
            sent = executed => match sent {
                Ok(answer) => Ok(answer),
                Err(error) => Err(transport(error, &request.url)),
            },
            cause = kept_waiting => Err(Ok((cause, Verdict::Transient))),
        };
        let status = sent.as_ref().ok().map(reqwest::Response::status);
        flight.answered(&request.method, status, began.elapsed());
        let sent = match sent {
            Ok(answer) => Ok(Response::new(answer, flight, self.idle)),
            Err(failed) => Err(failed?),
        };
        debug!(
            http.method = %request.method,
            http.host = request.url.host_str(),
            http.path = request.url.path(),
            http.attempt = attempt,
            http.status = status.map(|status| status.as_u16()),
            http.ms = began.elapsed().as_millis(),
            "request",
        );
        Ok(sent)
    }
}

/// What a failure of the transport was.
fn setback_of(cause: &str) -> Setback {
    match cause.contains("timed out") || cause.contains("no progress") {
        true => Setback::Timeout,
        false => Setback::Connection,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream::{self, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::http::{Payload, Tls, exact_body};

    const PIECE: usize = 64 << 10;

    /// Uploads that many pieces, which the source has after `pause` each, to a
    /// host that takes `taken` of them and answers after `closing`. Gives the
    /// seconds it took.
    async fn upload(
        pieces: usize,
        pause: Duration,
        taken: usize,
        closing: Duration,
    ) -> (Result<StatusCode, String>, u64) {
        upload_with(HostOptions::IDLE, pieces, pause, taken, closing).await
    }

    async fn upload_with(
        idle: Duration,
        pieces: usize,
        pause: Duration,
        taken: usize,
        closing: Duration,
    ) -> (Result<StatusCode, String>, u64) {
        let source = stream::iter(0..pieces).then(move |_| async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; PIECE]))
        });
        let body = exact_body(source.boxed(), (pieces * PIECE) as u64);
        let payload = Payload::Stream(Some(body));
        send(idle, taken, Duration::ZERO, closing, |request| {
            request.patient().payload(payload)
        })
        .await
    }

    /// What comes of a request, and after how many seconds, at a host that
    /// takes that many pieces of its body, each after `slow`, and answers after
    /// `closing`.
    async fn send(
        idle: Duration,
        taken: usize,
        slow: Duration,
        closing: Duration,
        put: impl FnOnce(Request) -> Request,
    ) -> (Result<StatusCode, String>, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let url: Url = url.parse().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            let mut buffer = vec![0; PIECE];
            while !seen.ends_with(b"\r\n\r\n") {
                seen.push(socket.read_u8().await.unwrap());
            }
            for _ in 0..taken {
                sleep(slow).await;
                socket.read_exact(&mut buffer).await.unwrap();
            }
            sleep(closing).await;
            let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
            let _ = socket.write_all(answer).await;
            std::future::pending::<()>().await;
        });
        let client = HttpClient::new("test/1").unwrap();
        let options = HostOptions {
            idle,
            ..HostOptions::new("").with_tls(Tls::Disabled)
        };
        let host = HostClient::new(&client, url.clone(), &options, RetryPolicy::default());
        let mut request = put(Request::new("test", Method::PUT, url).once());
        let began = Instant::now();
        let sent = host.send(&mut request).await;
        drop(server);
        let sent = sent.map(|answer| answer.status());
        (
            sent.map_err(|error| error.to_string()),
            began.elapsed().as_secs(),
        )
    }

    const NEVER: Duration = Duration::from_secs(1 << 30);

    #[tokio::test(start_paused = true)]
    async fn a_host_that_takes_nothing_more_is_given_up() {
        let (sent, seconds) = upload(1 << 14, Duration::ZERO, 100, NEVER).await;
        assert!(sent.unwrap_err().contains("no progress for 60 s"));
        assert!((60..=61).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_may_take_its_time_to_close_a_blob() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let (sent, seconds) = upload(10, Duration::ZERO, 10, minutes(14)).await;
        assert_eq!(sent, Ok(StatusCode::CREATED));
        assert_eq!(seconds, 14 * 60);
        let (sent, seconds) = upload(10, Duration::ZERO, 10, NEVER).await;
        assert!(sent.unwrap_err().contains("after the last byte"));
        assert!((900..=901).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn how_long_a_host_may_keep_silent_is_its_own() {
        let idle = Duration::from_millis(5500);
        let none = Duration::ZERO;
        let (sent, seconds) = upload_with(idle, 1 << 14, none, 100, NEVER).await;
        assert!(sent.unwrap_err().contains("no progress for 5.5 s"));
        assert!((5..=6).contains(&seconds), "{seconds}");
        // No less than stores take to close a blob, and no less than it says.
        let hour = Duration::from_secs(3600);
        for (idle, limit) in [(idle, 900), (hour, 3600)] {
            let (sent, seconds) = upload_with(idle, 10, none, 10, NEVER).await;
            assert!(sent.unwrap_err().contains("after the last byte"));
            assert!((limit..=limit + 1).contains(&seconds), "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_host_takes_of_a_body_in_memory_is_a_sign_of_life() {
        let chunk = || Payload::Bytes(vec![b'x'; 512 * PIECE].into());
        let (slow, idle) = (Duration::from_secs(2), HostOptions::IDLE);
        // The last of it is on the way for a while.
        let put = |request: Request| request.payload(chunk()).patient();
        let (sent, seconds) = send(idle, 512, slow, Duration::ZERO, put).await;
        assert_eq!(sent, Ok(StatusCode::CREATED));
        assert!(seconds > 1000, "{seconds}");
        let (sent, _) = send(idle, 100, Duration::ZERO, NEVER, put).await;
        assert!(sent.unwrap_err().contains("no progress for 60 s"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_much_to_do_is_given_time_for_it() {
        let idle = HostOptions::IDLE;
        let closing = Duration::from_secs(14 * 60);
        let patient = send(idle, 0, Duration::ZERO, closing, Request::patient).await;
        assert_eq!(patient, (Ok(StatusCode::CREATED), 14 * 60));
        let (sent, seconds) = send(idle, 0, Duration::ZERO, closing, |request| request).await;
        assert!(sent.unwrap_err().contains("no answer for 60 s"));
        assert_eq!(seconds, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_source_is_not_the_host_s_fault() {
        // In all longer than any limit.
        let pause = Duration::from_secs(1000);
        let (sent, seconds) = upload(50, pause, 50, Duration::ZERO).await;
        assert_eq!(sent, Ok(StatusCode::CREATED));
        assert!((50_000..50_100).contains(&seconds), "{seconds}");
    }

    fn terms(own: &HostOptions, listed: &[HostOptions], url: &str) -> (Trust, Reach) {
        let client = HttpClient::with_hosts("test/1", listed.iter().cloned()).unwrap();
        let host = HostClient::new(&client, own.url().unwrap(), own, RetryPolicy::none());
        let url = url.parse().unwrap();
        let terms = host.terms(&url);
        // A token server on the registry itself is asked by the stranger, and
        // a redirect may lead the host to another one.
        assert_eq!(host.stranger().terms(&url), terms, "{url}");
        terms
    }

    #[test]
    fn insecure_is_said_of_one_origin_only() {
        let host = |tls| HostOptions::new("r.io:5000").with_tls(tls);
        for (url, own) in [
            ("https://r.io:5000/service/token", true),
            ("https://R.IO:5000/", true),
            ("https://r.io/", false),
            ("https://r.io:5001/", false),
            ("https://s.r.io:5000/", false),
            ("https://r.io.evil.example:5000/", false),
        ] {
            let (trust, reach) = terms(&host(Tls::Insecure), &[], url);
            assert_eq!(
                (trust.verify, reach == Reach::Anywhere),
                (!own, own),
                "{url}"
            );
            assert!(terms(&host(Tls::Enabled), &[], url).0.verify, "{url}");
        }
    }

    #[test]
    fn what_was_said_of_a_listed_host_holds_whoever_leads_there() {
        let own = HostOptions::new("r.io");
        let listed = [
            HostOptions::new("10.0.0.1:9000").with_tls(Tls::Insecure),
            HostOptions::new("10.0.0.2").with_tls(Tls::Disabled),
        ];
        for (url, listed_there) in [
            ("https://10.0.0.1:9000/x", true),
            ("http://10.0.0.2:80/", true),
            ("https://10.0.0.1/", false),
            ("http://10.0.0.1:9000/", false),
            ("http://10.0.0.2:6379/", false),
        ] {
            let (trust, reach) = terms(&own, &listed, url);
            let want = match listed_there {
                true => Reach::Inside,
                false => Reach::Outside,
            };
            assert_eq!(reach, want, "{url}");
            assert_eq!(trust.verify, url != "https://10.0.0.1:9000/x", "{url}");
        }
    }

    #[test]
    fn a_private_host_may_lead_inside() {
        for (own, reach) in [
            ("127.0.0.1:5000", Reach::Inside),
            ("localhost", Reach::Inside),
            ("10.1.2.3", Reach::Inside),
            ("[::1]:5000", Reach::Inside),
            ("8.8.8.8", Reach::Outside),
            ("r.io", Reach::Outside),
        ] {
            let own = HostOptions::new(own);
            assert_eq!(terms(&own, &[], "https://s.io/").1, reach, "{own:?}");
        }
    }

    #[test]
    fn f11_a_token_server_has_a_name() {
        let refused = |own: &str, url: &str| {
            let own = HostOptions::new(own);
            let listed = [HostOptions::new("9.9.9.9")];
            let client = HttpClient::with_hosts("test/1", listed).unwrap();
            let host = HostClient::new(&client, own.url().unwrap(), &own, RetryPolicy::none());
            let refused = host.stranger().refuse_address(&url.parse().unwrap());
            refused.map_err(|error| error.to_string()).err()
        };
        let error = refused("r.io", "https://8.8.8.8:444/token?x=secret").unwrap();
        assert!(error.contains("https://8.8.8.8:444, "), "{error}");
        assert!(error.contains("list 8.8.8.8:444 under creds"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        for (own, url, is) in [
            ("r.io", "https://[2606:4700::1111]/token", true),
            ("r.io", "https://134744072/token", true),
            ("r.io", "https://auth.r.io/token", false),
            ("r.io", "https://9.9.9.9/token", false),
            ("8.8.8.8:5000", "https://8.8.8.8:5001/token", false),
            ("8.8.8.8:5000", "https://8.8.4.4:5001/token", true),
            ("10.0.0.1", "https://10.0.0.2/token", false),
        ] {
            assert_eq!(refused(own, url).is_some(), is, "{own} {url}");
        }
    }
}
