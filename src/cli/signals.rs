//! Signals: the first one drains, the second one ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Watches for SIGINT and SIGTERM as long as it lives.
pub(super) struct Signals {
    /// Cancelled by the first signal.
    pub(super) stop: CancellationToken,
    /// The number of the first signal, or 0.
    seen: Arc<AtomicU8>,
    _watch: JoinSet<()>,
}

impl Signals {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// When the handlers cannot be installed.
    pub(super) fn watch() -> std::io::Result<Self> {
        let mut signals = Self {
            stop: CancellationToken::new(),
            seen: Arc::default(),
            _watch: JoinSet::new(),
        };
        for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15)] {
            let mut stream = signal(kind)?;
            let (stop, seen) = (signals.stop.clone(), Arc::clone(&signals.seen));
            signals._watch.spawn(async move {
                while stream.recv().await.is_some() {
                    let first =
                        seen.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
                    if first.is_err() {
                        // Nothing at a target is half-written at any moment,
                        // so there is nothing to tidy up.
                        std::process::exit(i32::from(128 + number));
                    }
                    stop.cancel();
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
        self.stop.cancelled().await;
        tokio::time::sleep(grace).await;
    }

    /// The first signal's number, if there was one.
    pub(super) fn seen(&self) -> Option<u8> {
        match self.seen.load(Ordering::SeqCst) {
            0 => None,
            number => Some(number),
        }
    }
}
