//! What the requests to a registry are counted by.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};

/// Something that became of a request.
#[derive(Debug, Clone, Copy)]
pub enum Traffic<'a> {
    /// An attempt at one is under way.
    Began,
    /// Its answer has been read, or nobody wants it any more.
    Over,
    /// The headers of its answer came, or nothing did.
    Answered {
        /// What the request is for, as whoever made it calls that.
        operation: &'static str,
        /// Its method.
        method: &'a Method,
        /// `None` when no answer came.
        status: Option<StatusCode>,
        /// From its beginning to the headers.
        took: Duration,
    },
    /// It is sent again.
    Retried(Setback),
    /// A credential was refused, not just asked for.
    Refused,
    /// It was kept waiting before it was sent.
    Waited(Brake, Duration),
    /// So many bytes of a request's body were sent.
    Sent(&'static str, usize),
    /// So many bytes of an answer's body came.
    Received(&'static str, usize),
}

/// Why a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// The host says that there are too many.
    RateLimited,
    /// The host failed.
    Server,
    /// Nothing came in time.
    Timeout,
    /// The connection was refused, or was lost.
    Connection,
    /// It needs another token.
    Auth,
}

/// Why a request waits before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brake {
    /// The host asked to be left alone, or may only be asked so often.
    RateLimit,
    /// So many others are under way.
    Concurrency,
}

/// Is told what becomes of requests, by many tasks at once. It must not take long.
pub trait Meter: Debug + Send + Sync {
    /// Takes note of it.
    fn note(&self, traffic: Traffic<'_>);
}

/// Nobody counts.
impl Meter for () {
    fn note(&self, _traffic: Traffic<'_>) {}
}

/// A request under way, to the end of its answer.
#[derive(Debug)]
pub(super) struct Flight {
    meter: Arc<dyn Meter>,
    operation: &'static str,
}

impl Flight {
    pub(super) fn begin(meter: &Arc<dyn Meter>, operation: &'static str) -> Self {
        meter.note(Traffic::Began);
        Self {
            meter: Arc::clone(meter),
            operation,
        }
    }

    /// What counts the bytes that are sent for it.
    pub(super) fn sending(&self) -> Sending {
        Sending {
            meter: Arc::clone(&self.meter),
            operation: self.operation,
        }
    }

    pub(super) fn answered(&self, method: &Method, status: Option<StatusCode>, took: Duration) {
        self.meter.note(Traffic::Answered {
            operation: self.operation,
            method,
            status,
            took,
        });
    }

    pub(super) fn received(&self, bytes: usize) {
        self.meter.note(Traffic::Received(self.operation, bytes));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.meter.note(Traffic::Over);
    }
}

/// Counts the bytes of a request's body.
#[derive(Debug)]
pub(super) struct Sending {
    meter: Arc<dyn Meter>,
    operation: &'static str,
}

impl Sending {
    pub(super) fn sent(&self, bytes: usize) {
        self.meter.note(Traffic::Sent(self.operation, bytes));
    }
}
