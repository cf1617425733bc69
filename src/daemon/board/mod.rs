//! What there is to show of the daemon: how jobs, registries and transfers are.
//!
//! The supervisor and whatever it runs tell the [`Board`] what happens; the HTTP
//! surface reads it. Metrics of jobs are set here and nowhere else, so that they
//! and the API cannot disagree.

mod events;
mod history;
mod saved;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use self::history::History;
use self::saved::Record;
pub use self::saved::{Keeper, StateError};
pub use self::view::Change;
use super::agenda::{Agenda, Skip};
use super::clock::Clock;
use super::supervisor::Kind;
use crate::config::Config;
use crate::report::{Job as Ran, Progress, Run, RunResult, Transfer, Trigger};
use crate::sync::{RunId, RunReport};
use crate::telemetry::metrics::{JobSeries, Metrics};

/// How often the log says that all goes on.
const HEARTBEAT: TimeDelta = TimeDelta::hours(1);

/// What there is to show.
#[derive(Debug)]
pub struct Board {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// The version of what there is to show.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    began: DateTime<Utc>,
    /// Grows with each change.
    version: u64,
    /// The version with which jobs came or went.
    rebuilt: u64,
    /// The version with which the history grew, or a record changed.
    recorded: u64,
    jobs: BTreeMap<String, Entry>,
    /// The images that wait: for which store and of which job, how many, and
    /// until when.
    holds: BTreeMap<(String, String), (usize, DateTime<Utc>)>,
    transfers: BTreeMap<u64, Transfer>,
    history: History,
    config: Loaded,
    /// What earlier processes knew of jobs that are not in the configuration.
    others: BTreeMap<String, Record>,
    tick: Instant,
    heartbeat: DateTime<Utc>,
    /// Runs that completed since the last heartbeat.
    since: BTreeMap<&'static str, u64>,
    draining: bool,
}

/// The configuration.
#[derive(Debug, Default)]
struct Loaded {
    at: DateTime<Utc>,
    hash: u64,
    yaml: String,
    /// Why the one that is there now cannot be used.
    error: Option<String>,
}

#[derive(Debug)]
struct Entry {
    version: u64,
    source: String,
    target: String,
    schedule: Option<String>,
    next: Option<DateTime<Utc>>,
    runs: Vec<Under>,
    record: Record,
    series: Arc<JobSeries>,
}

/// A run under way.
#[derive(Debug)]
struct Under {
    progress: Progress,
    began: DateTime<Utc>,
    lag: TimeDelta,
}

impl Board {
    /// An empty board.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self {
            state: Mutex::new(State {
                began: now,
                version: 0,
                rebuilt: 0,
                recorded: 0,
                jobs: BTreeMap::new(),
                holds: BTreeMap::new(),
                transfers: BTreeMap::new(),
                history: History::default(),
                config: Loaded::default(),
                others: BTreeMap::new(),
                tick: Instant::now(),
                heartbeat: now,
                since: BTreeMap::new(),
                draining: false,
            }),
            changed: watch::Sender::new(0),
            clock,
            metrics,
        }
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells when something has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How long ago the scheduler looked at its clock.
    pub fn since_tick(&self) -> Duration {
        self.lock().tick.elapsed()
    }

    /// Whether the process was told to end.
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// A configuration cannot be used, and why.
    pub fn rejected(&self, why: &str) {
        let metrics = &self.metrics.config;
        metrics.reloads.get("failure").inc();
        metrics.last_reload_successful.set(0.0);
        self.change(|state| state.config.error = Some(why.to_owned()));
    }

    /// A configuration is in use from now on.
    pub(super) fn configured(&self, config: &Config, agenda: &Agenda) {
        let now = self.clock.now();
        let names = || config.jobs.iter().map(|job| job.name.as_str());
        self.metrics.jobs.keep(names());
        let stores = config
            .jobs
            .iter()
            .flat_map(|job| [job.scope.source(), job.scope.target()]);
        let stores: Vec<String> = stores
            .map(ToString::to_string)
            .filter(|name| !is_layout(name))
            .chain(config.registries.keys().map(ToString::to_string))
            .collect();
        let registries = stores.iter().map(String::as_str);
        self.metrics.registries.keep(registries);
        let yaml = config.effective();
        let hash = hash_of(&yaml);
        let metrics = &self.metrics.config;
        metrics.reloads.get("success").inc();
        metrics.last_reload_successful.set(1.0);
        metrics.last_reload_success.set(seconds(now));
        #[expect(clippy::cast_precision_loss, reason = "48 bits fit")]
        {
            metrics.hash.set(hash as f64);
            metrics.jobs.set(config.jobs.len() as f64);
        }
        self.change(|state| {
            state.rebuilt = state.version;
            state.config = Loaded {
                at: now,
                hash,
                yaml,
                error: None,
            };
            let mut before = std::mem::take(&mut state.jobs);
            for job in &config.jobs {
                let Some(series) = self.metrics.jobs.of(&job.name) else {
                    continue;
                };
                let known = before.remove(&job.name);
                let (runs, record) = match known {
                    Some(known) => (known.runs, known.record),
                    None => (
                        Vec::new(),
                        state.others.remove(&job.name).unwrap_or_default(),
                    ),
                };
                let (source, target) = job.scope.ends();
                let schedule = config.schedules.get(&job.name);
                let entry = Entry {
                    version: state.version,
                    source,
                    target,
                    schedule: schedule.map(ToString::to_string),
                    next: None,
                    runs,
                    record,
                    series,
                };
                entry.show();
                state.jobs.insert(job.name.clone(), entry);
            }
            // Should one come back, what is known of it still holds.
            let gone = before.into_iter().map(|(name, entry)| (name, entry.record));
            state.others.extend(gone);
        });
        for name in names() {
            self.scheduled(name, agenda);
        }
    }

    /// A job is due at another time.
    pub(super) fn scheduled(&self, job: &str, agenda: &Agenda) {
        let next = agenda.due_of(job);
        let interval = agenda.interval_of(job);
        self.change_job(job, |entry| {
            entry.next = next;
            entry.series.next_run.set(next.map_or(0.0, seconds));
            let interval = interval.map_or(0.0, |interval| interval.as_secs_f64());
            entry.series.expected_interval.set(interval);
        });
    }

    /// The scheduler looked at the clock.
    pub(super) fn ticked(&self, now: DateTime<Utc>) {
        self.metrics.pool.last_tick.set(seconds(now));
        let mut state = self.lock();
        state.tick = Instant::now();
        // A clock that was set back must not silence it.
        let passed = now - state.heartbeat;
        if passed >= HEARTBEAT || passed < TimeDelta::zero() {
            state.heartbeat = now;
            let ran = std::mem::take(&mut state.since);
            let count = |result| ran.get(result).copied().unwrap_or_default();
            tracing::info!(
                jobs = state.jobs.len(),
                failing = state.jobs.values().filter(|job| job.is_failing()).count(),
                success = count("success"),
                partial = count("partial"),
                failure = count("failure"),
                canceled = count("canceled"),
                "alive; runs since it last said so"
            );
        }
    }

    /// The process was told to end.
    pub(super) fn drains(&self) {
        self.change(|state| state.draining = true);
    }

    /// A due run does not begin.
    pub(super) fn skipped(&self, job: &str, why: Skip) {
        let reason = match why {
            Skip::StillRunning => {
                tracing::warn!(sync_job = job, "due, but still running: skipped");
                "still_running"
            }
            Skip::Paused => {
                tracing::info!(sync_job = job, "due, but paused: skipped");
                "paused"
            }
        };
        let now = self.clock.now();
        self.change_job(job, |entry| {
            entry.series.skipped.get(reason).inc();
            entry.was_due(now);
        });
    }

    /// Somebody paused a job, or goes on with it.
    pub(super) fn paused(&self, job: &str, paused: bool) {
        self.change_job(job, |entry| entry.record.paused = paused);
        self.record();
    }

    /// Whether a job is to be paused from the beginning.
    pub(super) fn was_paused(&self, job: &str) -> bool {
        let state = self.lock();
        state.jobs.get(job).is_some_and(|entry| entry.record.paused)
    }

    /// A run begins that was due at such a time, or that somebody asked for.
    pub(super) fn began(&self, job: &str, id: &RunId, kind: Kind, due: Option<DateTime<Utc>>) {
        let now = self.clock.now();
        self.change_job(job, |entry| {
            entry.runs.push(Under {
                progress: Progress {
                    run_id: id.to_string(),
                    trigger: kind.into(),
                    started: stamp(now),
                    tags_known: 0,
                    tags_done: 0,
                    copied: 0,
                    failed: 0,
                },
                began: now,
                lag: due.map_or(TimeDelta::zero(), |due| now - due),
            });
            if let Some(due) = due {
                entry.was_due(due);
            }
            // A first pass is no run of the schedule: it does not see what changed.
            if kind != Kind::First {
                entry.record.last_start = Some(now);
                entry.show();
            }
        });
    }

    /// A run has ended.
    pub(super) fn ended(&self, job: &str, kind: Kind, report: &RunReport) {
        let now = self.clock.now();
        let mut ran = Ran::from(report);
        let result = ran.result;
        self.change(|state| {
            let version = state.version;
            let mut lag = TimeDelta::zero();
            if let Some(entry) = state.jobs.get_mut(job) {
                entry.version = version;
                let mut runs = entry.runs.iter();
                let place = runs.position(|run| run.progress.run_id == ran.run_id);
                if let Some(run) = place.map(|place| entry.runs.remove(place)) {
                    lag = run.lag;
                    // By the clock of the schedule, whichever that is.
                    ran.started = stamp(run.began);
                }
                if kind != Kind::First {
                    let lag_ms = milliseconds(lag);
                    entry.record.completed(&ran, report, lag_ms, now);
                    entry.series.runs.get(result.as_str()).inc();
                    entry.show();
                }
            }
            let did = report.totals.copied + report.totals.failed > 0;
            if kind != Kind::First || did {
                state.history.add(Run {
                    trigger: kind.into(),
                    lag_ms: milliseconds(lag),
                    job: ran,
                });
                state.recorded = version;
            }
            if kind != Kind::First {
                *state.since.entry(result.as_str()).or_default() += 1;
            }
        });
        if kind != Kind::First {
            let took = report.took.as_secs_f64();
            self.metrics.jobs.took(result.as_str(), took);
        }
    }

    fn record(&self) {
        self.change(|state| state.recorded = state.version);
    }

    fn change_job(&self, job: &str, change: impl FnOnce(&mut Entry)) {
        self.change(|state| {
            let version = state.version;
            if let Some(entry) = state.jobs.get_mut(job) {
                entry.version = version;
                change(entry);
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.version += 1;
        let changed = change(&mut state);
        self.changed.send_replace(state.version);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_failing(&self) -> bool {
        let last = self.record.last_run.as_ref();
        last.is_some_and(|last| matches!(last.result, RunResult::Failure | RunResult::Partial))
    }

    /// It was due at a time.
    fn was_due(&mut self, time: DateTime<Utc>) {
        self.record.due_since.get_or_insert(time);
        self.show();
    }

    /// Sets the metrics to what is known.
    fn show(&self) {
        let Record {
            last_start,
            last_completion,
            last_success,
            due_since,
            last_run,
            tags,
            ..
        } = &self.record;
        let series = &self.series;
        let time = |time: &Option<DateTime<Utc>>| time.map_or(0.0, seconds);
        series.last_start.set(time(last_start));
        series.last_completion.set(time(last_completion));
        series.last_success.set(time(last_success));
        series.due_since.set(time(due_since));
        let scheduled = |run: &&Under| run.progress.trigger != Trigger::Start;
        let running = self.runs.iter().any(|run| scheduled(&run));
        series.running.set(f64::from(u8::from(running)));
        #[expect(clippy::cast_precision_loss, reason = "no job has 2^53 tags")]
        let count = |count: u64| count as f64;
        if let Some(last) = last_run {
            series.last_duration.set(count(last.duration_ms) / 1000.0);
        }
        series.tags.get("in_sync").set(count(tags.in_sync));
        series.tags.get("pending").set(count(tags.pending));
        series.tags.get("failed").set(count(tags.failed));
    }
}

impl From<Kind> for Trigger {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::First => Self::Start,
            Kind::Scheduled => Self::Schedule,
            Kind::Triggered => Self::Request,
        }
    }
}

/// Whether a store is a directory, by its name.
fn is_layout(name: &str) -> bool {
    name.starts_with("ocidir://")
}

/// The first 48 bits of the SHA-256: what a float, as metrics are, can hold.
fn hash_of(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    let bytes = digest.iter().take(6);
    bytes.fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Unix time in seconds.
fn seconds(time: DateTime<Utc>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for some 285,000 years")]
    let milliseconds = time.timestamp_millis() as f64;
    milliseconds / 1000.0
}

fn milliseconds(time: TimeDelta) -> u64 {
    u64::try_from(time.num_milliseconds()).unwrap_or_default()
}

fn stamp(time: DateTime<Utc>) -> String {
    crate::report::timestamp(time.into())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::daemon::SystemClock;
    use crate::telemetry::metrics::BuildInfo;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_says_each_hour_that_all_goes_on() {
        let metrics = Metrics::new(&BuildInfo {
            version: "1",
            revision: "2",
            rustc_version: "3",
        });
        let board = Board::new(Arc::new(metrics), Arc::new(SystemClock));
        let log = Log::default();
        let writer = log.clone();
        let logging = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(logging);
        let now = Utc::now();
        let said = |minutes| {
            board.ticked(now + TimeDelta::minutes(minutes));
            let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            log.matches("alive").count()
        };
        assert_eq!([said(1), said(59), said(61), said(119)], [0, 0, 1, 1]);
        assert_eq!([said(122), said(123)], [2, 2]);
        // A clock that is set back does not silence it for as long.
        assert_eq!([said(-600), said(-541), said(-539)], [3, 3, 4]);
    }
}
