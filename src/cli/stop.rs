//! What makes a run stop before it is done. The first signal drains, the second
//! one ends at once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::output;
use crate::report::Stopped;
use crate::sync::{Event, Outcome, Watch};

/// Why a run was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// This signal.
    Signal(u8),
    /// The time is over.
    MaxDuration,
    /// Something failed.
    Error,
    /// Nobody reads what is printed.
    Output,
}

impl From<Cause> for Stopped {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Signal(_) => Self::Signal,
            Cause::MaxDuration => Self::MaxDuration,
            Cause::Error => Self::Error,
            Cause::Output => Self::Output,
        }
    }
}

/// Tells a run to stop, once.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Cancelled when the run is to stop.
    pub(super) token: CancellationToken,
    cause: Arc<OnceLock<Cause>>,
}

impl Stop {
    /// Stops the run. The first cause is the one that counts. Returns whether this
    /// was it.
    pub(super) fn because(&self, cause: Cause) -> bool {
        let first = self.cause.set(cause).is_ok();
        self.token.cancel();
        first
    }

    /// Why the run was told to stop, if it was.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }

    /// Stops the run after `limit`, if there is one. Never ends.
    pub(super) async fn after<T>(&self, limit: Option<Duration>) -> T {
        if let Some(limit) = limit {
            tokio::time::sleep(limit).await;
            if self.because(Cause::MaxDuration) {
                tracing::warn!("the time is over: what is under way is finished");
            }
        }
        std::future::pending().await
    }
}

/// Stops the run when something fails.
#[derive(Debug)]
pub(super) struct StopOnError(pub(super) Stop);

impl Watch for StopOnError {
    fn see(&self, event: Event<'_>) {
        if let Event::Tag { tag, .. } = event
            && matches!(tag.outcome, Outcome::Failed { .. })
            && self.0.because(Cause::Error)
        {
            tracing::warn!("something failed: what is under way is finished");
        }
    }
}

/// Watches for SIGINT and SIGTERM as long as it lives.
pub(super) struct Signals {
    /// Told by the first signal.
    pub(super) stop: Stop,
    /// The number of the first signal.
    seen: Arc<OnceLock<u8>>,
    signalled: CancellationToken,
    _watch: JoinSet<()>,
}

impl Signals {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// How to end when the handlers cannot be installed, which is told.
    pub(super) fn watch() -> Result<Self, Exit> {
        Self::install().map_err(|error| {
            output::error(&format!("could not watch for signals: {error}"));
            Exit::Failed
        })
    }

    fn install() -> std::io::Result<Self> {
        let mut signals = Self {
            stop: Stop::default(),
            seen: Arc::default(),
            signalled: CancellationToken::new(),
            _watch: JoinSet::new(),
        };
        for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15)] {
            let mut stream = signal(kind)?;
            let (stop, seen) = (signals.stop.clone(), Arc::clone(&signals.seen));
            let signalled = signals.signalled.clone();
            signals._watch.spawn(async move {
                while stream.recv().await.is_some() {
                    if seen.set(number).is_err() {
                        // Nothing at a target is half-written at any moment,
                        // so there is nothing to tidy up.
                        std::process::exit(i32::from(128 + number));
                    }
                    stop.because(Cause::Signal(number));
                    signalled.cancel();
                    tracing::warn!(
                        "stopping when what is under way is done; a second signal stops at once"
                    );
                }
            });
        }
        Ok(signals)
    }

    /// Ends when `grace` has passed since the first signal.
    pub(super) async fn overdue(&self, grace: Duration) {
        self.signalled.cancelled().await;
        tokio::time::sleep(grace).await;
    }

    /// The first signal's number, if there was one.
    pub(super) fn seen(&self) -> Option<u8> {
        self.seen.get().copied()
    }
}
