//! How far a run is: bars on a terminal, now and then a log line elsewhere.

use std::collections::{HashMap, VecDeque};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState,
    ProgressStyle,
};
use tokio::time::Instant;

use super::output::bytes;
use super::terminal;
use crate::sync::{Event, Outcome, Watch};

/// How often a line is logged where there are no bars.
const EVERY: Duration = Duration::from_secs(30);

/// How many transfers have a bar.
const BARS: usize = 6;

/// How large a blob is, in bytes, to get a bar: smaller ones are gone before it
/// can be read.
const LARGE: u64 = 1 << 20;

/// Over how long the speed is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// How far a run is.
#[derive(Debug)]
pub(super) struct Progress {
    counts: Arc<Counts>,
    /// The large transfers under way.
    transfers: Mutex<HashMap<u64, ProgressBar>>,
    bars: Option<(MultiProgress, ProgressBar)>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Tags that are known to be there.
    known: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    /// Bytes of blobs that were read to be sent.
    bytes: AtomicU64,
    /// Transfers under way.
    transfers: AtomicU64,
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

impl Counts {
    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Bytes a second, of late.
    fn speed(&self) -> u64 {
        let now = (Instant::now(), Self::get(&self.bytes));
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(now);
        while samples.len() > 2 && samples[1].0 + WINDOW < now.0 {
            samples.pop_front();
        }
        let first = samples[0];
        let milliseconds = u64::try_from((now.0 - first.0).as_millis()).unwrap_or(u64::MAX);
        match milliseconds {
            0 => 0,
            time => (now.1 - first.1).saturating_mul(1000) / time,
        }
    }

    /// `1.5 MiB sent, 3.0 MiB/s, 2 transfers, 1 failed`.
    fn tell(&self, text: &mut dyn std::fmt::Write) {
        let _ = write!(
            text,
            "{} sent, {}/s",
            bytes(Self::get(&self.bytes)),
            bytes(self.speed())
        );
        for (count, noun) in [(&self.transfers, "under way"), (&self.failed, "failed")] {
            let count = Self::get(count);
            if count > 0 {
                let _ = write!(text, ", {count} {noun}");
            }
        }
    }
}

impl Progress {
    /// Progress that draws bars if standard error is a terminal and the log leaves
    /// room for them.
    pub(super) fn new(quiet_log: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let counts = Arc::<Counts>::default();
        let bars = (std::io::stderr().is_terminal() && !dumb && quiet_log).then(|| {
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let overall = bars.add(overall(&counts));
            overall.enable_steady_tick(Duration::from_millis(200));
            terminal::draw(bars.clone());
            (bars, overall)
        });
        Self {
            counts,
            transfers: Mutex::default(),
            bars,
        }
    }

    /// Logs a line now and then, if there are no bars. Never ends.
    pub(super) async fn log<T>(&self) -> T {
        if self.bars.is_some() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(EVERY).await;
            let counts = &self.counts;
            tracing::info!(
                tags_done = Counts::get(&counts.done),
                tags_known = Counts::get(&counts.known),
                failed = Counts::get(&counts.failed),
                bytes = Counts::get(&counts.bytes),
                bytes_per_second = counts.speed(),
                transfers = Counts::get(&counts.transfers),
                "under way"
            );
        }
    }

    /// Takes the bars away.
    pub(super) fn clear(&self) {
        if let Some((bars, overall)) = &self.bars {
            for (_, bar) in self.lock().drain() {
                bar.finish_and_clear();
            }
            overall.finish_and_clear();
            let _ = bars.clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, ProgressBar>> {
        self.transfers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Progress {
    fn see(&self, event: Event<'_>) {
        let add = |counter: &AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
        let counts = &self.counts;
        match event {
            Event::Listed { count, .. } => {
                let before = add(&counts.known, count);
                if let Some((_, overall)) = &self.bars {
                    overall.set_length(before + count);
                }
            }
            Event::Tag { tag, .. } => {
                if matches!(tag.outcome, Outcome::Failed { .. }) {
                    add(&counts.failed, 1);
                }
                let before = add(&counts.done, 1);
                // A listing that failed is told of as a tag.
                let known = counts.known.fetch_max(before + 1, Ordering::Relaxed);
                if let Some((_, overall)) = &self.bars {
                    overall.set_length(known.max(before + 1));
                    overall.set_position(before + 1);
                }
            }
            Event::Sending {
                transfer,
                blob,
                target,
            } => {
                add(&counts.transfers, 1);
                if let Some((bars, _)) = &self.bars
                    && blob.size >= LARGE
                {
                    let mut transfers = self.lock();
                    if transfers.len() < BARS {
                        let bar = bars.add(one(blob.size));
                        bar.set_prefix(format!("{target} {}", blob.digest.short()));
                        transfers.insert(transfer, bar);
                    }
                }
            }
            Event::Sent { transfer, bytes } => {
                add(&counts.bytes, bytes);
                if let Some(bar) = self.lock().get(&transfer) {
                    bar.inc(bytes);
                }
            }
            Event::Over { transfer } => {
                counts.transfers.fetch_sub(1, Ordering::Relaxed);
                let bar = self.lock().remove(&transfer);
                if let (Some(bar), Some((bars, _))) = (bar, &self.bars) {
                    bars.remove(&bar);
                }
            }
            Event::Started { .. }
            | Event::Held { .. }
            | Event::Released { .. }
            | Event::Placed(_)
            | Event::Backup { .. }
            | Event::Blob { .. }
            | Event::Ended { .. } => {}
        }
    }
}

fn overall(counts: &Arc<Counts>) -> ProgressBar {
    let counts = Arc::clone(counts);
    let style = ProgressStyle::with_template("{spinner} {pos}/{len} tags, {told}{left}")
        .expect("a template that is one")
        .with_key(
            "told",
            move |_: &ProgressState, text: &mut dyn std::fmt::Write| counts.tell(text),
        )
        .with_key(
            "left",
            |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                // Before the first is done nobody knows.
                if state.pos() > 0 {
                    let _ = write!(text, ", {:#} left", HumanDuration(state.eta()));
                }
            },
        );
    let bar = ProgressBar::new(0).with_finish(ProgressFinish::AndClear);
    bar.set_style(style);
    bar
}

fn one(size: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("  {bar:12} {binary_bytes}/{binary_total_bytes} {prefix}")
            .expect("a template that is one")
            .progress_chars("=> ");
    let bar = ProgressBar::new(size).with_finish(ProgressFinish::AndClear);
    bar.set_style(style);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::RunId;

    #[tokio::test(start_paused = true)]
    async fn speed_is_that_of_the_last_seconds() {
        let counts = Counts::default();
        assert_eq!(counts.speed(), 0);
        let send = |count| counts.bytes.fetch_add(count, Ordering::Relaxed);
        let mut speed = 0;
        for second in 1..=20u64 {
            tokio::time::advance(Duration::from_secs(1)).await;
            send(if second <= 10 { 1000 } else { 10 });
            speed = counts.speed();
            if second == 10 {
                assert_eq!(speed, 1000);
            }
        }
        assert_eq!(speed, 10);
        assert!(counts.samples.lock().unwrap().len() < 10);
        let mut text = String::new();
        counts.transfers.store(2, Ordering::Relaxed);
        counts.tell(&mut text);
        assert_eq!(text, "9.9 KiB sent, 10 B/s, 2 under way");
    }

    /// What was logged.
    #[derive(Debug, Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_terminal_a_line_is_logged_every_thirty_seconds() {
        let log = Log::default();
        let writer = log.clone();
        let logging = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(logging);
        let progress = Progress {
            counts: Arc::default(),
            transfers: Mutex::default(),
            bars: None,
        };
        let (job, run, count) = ("a", &RunId::new(), 7);
        progress.see(Event::Listed { job, run, count });
        progress.see(Event::Sent {
            transfer: 1,
            bytes: 3000,
        });
        let limit = tokio::time::timeout(Duration::from_secs(95), progress.log::<()>());
        assert!(limit.await.is_err(), "it never ends");
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 3, "{log}");
        let told = "under way tags_done=0 tags_known=7 failed=0 bytes=3000";
        assert!(log.lines().all(|line| line.contains(told)), "{log}");
    }
}
