//! A daemon elsewhere, by its API.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::http::{
    HostClient, HostOptions, HttpClient, Payload, Request, RetryPolicy, Tls, printable,
};

/// How long an answer may be, in bytes: that of some thousand jobs.
const ANSWER: usize = 64 << 20;

/// A daemon, as its clients see it.
#[derive(Debug)]
pub struct Remote {
    http: HostClient,
    root: Url,
    token: Option<HeaderValue>,
}

/// What a daemon answered: the status, and the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The document; `null` when there is none.
    pub document: Value,
}

impl Remote {
    /// The daemon at a URL such as `http://127.0.0.1:9090`, which gets `patience` for
    /// each answer.
    ///
    /// # Errors
    ///
    /// When it is no such URL, or the token cannot stand in a header.
    pub fn new(url: &str, token: Option<&str>, patience: Duration) -> Result<Self, String> {
        let wrong = || format!("{url:?} is no URL such as http://127.0.0.1:9090");
        let mut root: Url = url.parse().map_err(|_| wrong())?;
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let tls = match root.scheme() {
            "http" => Tls::Disabled,
            "https" => Tls::Enabled,
            _ => return Err(wrong()),
        };
        let host = root.host_str().ok_or_else(wrong)?;
        let address = match root.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let options = HostOptions {
            idle: patience,
            ..HostOptions::new(address).with_tls(tls)
        };
        let token = token.map(|token| {
            let mut header = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| "the token cannot stand in a header".to_owned())?;
            header.set_sensitive(true);
            Ok::<_, String>(header)
        });
        let client = HttpClient::new(crate::config::Config::USER_AGENT);
        let client = client.map_err(|error| error.to_string())?;
        let own = options.url().ok_or_else(wrong)?;
        Ok(Self {
            http: HostClient::new(&client, own, &options, RetryPolicy::none()),
            root,
            token: token.transpose()?,
        })
    }

    /// Asks for the path of these parts, which may hold any character.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<String>,
    ) -> Result<Answer, String> {
        let mut url = self.root.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        let mut request = Request::new("api", method, url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(body) = body {
            request = request.payload(Payload::Bytes(body.into()));
        }
        let failed = |error: String| format!("no answer from {}: {error}", self.root);
        let answer = self.http.send_once(&mut request).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status().as_u16();
        let body = answer.bytes(ANSWER).await;
        let body = body.map_err(|error| failed(error.to_string()))?;
        let document = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status, document })
    }
}

impl Answer {
    /// The document.
    ///
    /// # Errors
    ///
    /// What the daemon said, when it does not do what it was asked for.
    pub fn success(self) -> Result<Value, String> {
        match self.status {
            200..300 => Ok(self.document),
            status => Err(match self.document.get("error").and_then(Value::as_str) {
                Some(error) => {
                    let lines = error.lines().map(|line| printable(line, 1000));
                    lines.collect::<Vec<_>>().join("\n")
                }
                None => format!("the answer was {status}: is it regmirror that listens there?"),
            }),
        }
    }
}
