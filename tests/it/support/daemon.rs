//! `regmirror server` under way, its log and its HTTP surface.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::client;
use super::program::{Program, end};

/// What the API of a server takes.
pub(crate) const TOKEN: &str = "correct-horse";

/// The server under way, and what it logs.
pub(crate) struct Server {
    child: Option<Child>,
    /// Where it listens, once it was asked for.
    address: Option<String>,
    /// What its API takes; empty when it takes none.
    token: &'static str,
    log: UnboundedReceiver<String>,
    pub(crate) program: Program,
}

impl Server {
    /// Starts it on a port of its own.
    pub(crate) fn start(program: Program) -> Self {
        Self::start_at(program, "127.0.0.1:0")
    }

    fn start_at(mut program: Program, address: &str) -> Self {
        program.command.args(["--http-addr", address]);
        let mut child = program.start();
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, log) = unbounded_channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child: Some(child),
            address: None,
            token: "",
            log,
            program,
        }
    }

    /// Starts it with a token for its API.
    pub(crate) fn with_token(program: Program) -> Self {
        Self::with_token_at(program, "127.0.0.1:0")
    }

    /// The same at an address.
    pub(crate) fn with_token_at(mut program: Program, address: &str) -> Self {
        let path = program.folder.path().join("token");
        std::fs::write(path, format!("{TOKEN}\n")).expect("a file");
        program.command.args(["--admin-token-file", "token"]);
        let mut server = Self::start_at(program, address);
        server.token = TOKEN;
        server
    }

    /// Waits until a line with `part` is logged.
    pub(crate) async fn says(&mut self, part: &str) -> String {
        let mut all = String::new();
        // In all: one that waits in vain may still log.
        let limit = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let line = tokio::time::timeout_at(limit, self.log.recv()).await;
            let line = line.ok().flatten();
            let line = line.unwrap_or_else(|| panic!("no `{part}` in:\n{all}"));
            if line.contains(part) {
                return line;
            }
            all += &line;
            all.push('\n');
        }
    }

    /// Waits until it listens: `http://ADDRESS`.
    pub(crate) async fn url(&mut self) -> String {
        if self.address.is_none() {
            let line = self.says("serving").await;
            let (_, address) = line
                .split_once("http=")
                .or_else(|| line.split_once("\"http\":\""))
                .expect("the address is told");
            let address = address.split([' ', '"']).next().expect("an address");
            self.address = Some(address.to_owned());
        }
        format!("http://{}", self.address.as_deref().unwrap_or_default())
    }

    /// Asks it for something.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, token: &str) -> Response {
        let url = self.url().await + path;
        let mut request = client().request(method, url);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let answer = request.timeout(Duration::from_secs(30)).send().await;
        answer.expect("an answer")
    }

    /// The document at a path.
    pub(crate) async fn get(&mut self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, self.token).await;
        assert_eq!(answer.status(), 200, "{path}");
        document(answer).await
    }

    /// What comes of asking for a change: the status and the document.
    pub(crate) async fn post(&mut self, path: &str) -> (u16, Value) {
        let answer = self.ask(Method::POST, path, self.token).await;
        (answer.status().as_u16(), document(answer).await)
    }

    /// Runs a job to its end, and gives what it did.
    pub(crate) async fn run_job(&mut self, name: &str) -> Value {
        let job = format!("/api/v1/jobs/{}", name.replace('/', "%2F"));
        // What the pass at the start looks at is looked at once.
        self.until(&job, |job| job["running"].is_null()).await;
        let (status, accepted) = self.post(&format!("{job}/trigger")).await;
        assert_eq!(status, 202, "{accepted}");
        let run = accepted["run_id"].as_str().expect("a name");
        self.until(&format!("/api/v1/runs/{run}"), |run| run["type"] == "run")
            .await
    }

    /// Its metrics.
    pub(crate) async fn metrics(&mut self) -> String {
        let answer = self.ask(Method::GET, "/metrics", "").await;
        answer.text().await.expect("a body")
    }

    /// Waits until a document is as it should be, and gives it. It is looked at
    /// again whenever the server tells of a change.
    pub(crate) async fn until(&mut self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        let url = self.url().await + "/api/v1/events";
        // Its answer has no end.
        let events = client().get(url).bearer_auth(self.token).send().await;
        let mut events = events.expect("an answer");
        let began = Instant::now();
        loop {
            let answer = self.ask(Method::GET, path, self.token).await;
            let value = document(answer).await;
            if so(&value) {
                return value;
            }
            let event = tokio::time::timeout(Duration::from_secs(30), events.chunk()).await;
            let event = event.ok().and_then(Result::ok).flatten();
            let goes_on = event.is_some() && began.elapsed() < Duration::from_secs(120);
            assert!(goes_on, "{path} stays {value}");
        }
    }

    /// Forgets what it has logged so far.
    pub(crate) fn forget_log(&mut self) {
        while self.log.try_recv().is_ok() {}
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Waits for its end: the exit code.
    pub(crate) async fn end(mut self) -> i32 {
        end(self.child.take().expect("it runs")).await.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn document(answer: Response) -> Value {
    let text = answer.text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
