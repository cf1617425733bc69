//! The board, for those who look at it.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Board, Entry, State, stamp};
use crate::daemon::{Engine, Known};
use crate::report::{
    Effective, JobCounts, JobState, JobStatus, Pool, RegistryStatus, Run, SCHEMA_VERSION, Status,
    Trigger, Waiting,
};
use crate::sync::PoolStatus;

/// How many transfers are shown.
const TRANSFERS: usize = 50;

/// What has changed since somebody looked last.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version of what there is now.
    pub version: u64,
    /// Whether these are all jobs there are.
    pub all: bool,
    /// The jobs that changed.
    pub jobs: Vec<JobStatus>,
    /// Whether runs were added.
    pub runs: bool,
}

impl Board {
    /// How the daemon is.
    pub fn status(&self, pool: PoolStatus, changeable: bool) -> Status {
        let state = self.lock();
        let mut jobs = JobCounts {
            total: state.jobs.len(),
            ..JobCounts::default()
        };
        for entry in state.jobs.values() {
            jobs.running += usize::from(!entry.runs.is_empty());
            jobs.failing += usize::from(entry.is_failing());
            jobs.paused += usize::from(entry.record.paused);
            jobs.unknown += usize::from(entry.record.last_completion.is_none());
        }
        Status {
            schema_version: SCHEMA_VERSION,
            regmirror: env!("CARGO_PKG_VERSION").to_owned(),
            started: stamp(state.began),
            now: stamp(self.clock.now()),
            draining: state.draining,
            healthy: jobs.failing == 0 && state.config.error.is_none() && !state.draining,
            config_loaded: stamp(state.config.at),
            config_hash: format!("{:012x}", state.config.hash),
            config_error: state.config.error.clone(),
            changeable,
            pool: Pool {
                workers: pool.places,
                busy: pool.busy,
                queued: pool.waiting,
            },
            jobs,
            transfers: state.transfers.values().take(TRANSFERS).cloned().collect(),
        }
    }

    /// How all jobs are.
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.since(None).jobs
    }

    /// How a job is.
    pub fn job(&self, name: &str) -> Option<JobStatus> {
        let state = self.lock();
        let entry = state.jobs.get(name)?;
        Some(entry.status(name, &state))
    }

    /// What has changed since a version, or everything.
    pub fn since(&self, version: Option<u64>) -> Change {
        let state = self.lock();
        let before = version.filter(|version| *version >= state.rebuilt);
        let new = |entry: &Entry| before.is_none_or(|before| entry.version > before);
        let jobs = state.jobs.iter().filter(|(_, entry)| new(entry));
        Change {
            version: state.version,
            all: before.is_none(),
            jobs: jobs
                .map(|(name, entry)| entry.status(name, &state))
                .collect(),
            runs: before.is_none_or(|before| state.recorded > before),
        }
    }

    /// The runs that are remembered, or those of them that failed, the latest first.
    pub fn runs(&self, failed: bool) -> Vec<Arc<Run>> {
        let state = self.lock();
        match failed {
            true => state.history.failures().cloned().collect(),
            false => state.history.all(),
        }
    }

    /// A run that is remembered.
    pub fn run(&self, id: &str) -> Option<Arc<Run>> {
        self.lock().history.find(id).cloned()
    }

    /// The configuration.
    pub fn configuration(&self) -> Effective {
        Effective {
            schema_version: SCHEMA_VERSION,
            yaml: self.lock().config.yaml.clone(),
        }
    }

    /// The metrics as they are now, as text.
    pub fn metrics_text(&self, engine: &dyn Engine) -> String {
        self.registries(engine.registries());
        let (pool, metrics) = (engine.pool(), &self.metrics.pool);
        #[expect(clippy::cast_precision_loss, reason = "no pool has 2^53 places")]
        let set = |gauge: &prometheus::Gauge, count: usize| gauge.set(count as f64);
        set(&metrics.workers, pool.places);
        set(&metrics.busy, pool.busy);
        set(&metrics.queued, pool.waiting);
        self.metrics.text()
    }

    /// How the registries are that somebody asked something. Sets their metrics.
    pub fn registries(&self, known: Vec<Known>) -> Vec<RegistryStatus> {
        let now = self.clock.now();
        let state = self.lock();
        let mut shown: Vec<_> = known
            .into_iter()
            .map(|known| state.registry(&known, now))
            .collect();
        drop(state);
        shown.sort_by(|a, b| a.1.registry.cmp(&b.1.registry));
        for (known, status) in &shown {
            let series = self.metrics.registries.of(&status.registry);
            series.paused.set(f64::from(u8::from(status.paused)));
            if let Some(quota) = &known.quota {
                self.metrics.registries.limited(&status.registry, quota);
            }
        }
        shown.into_iter().map(|(_, status)| status).collect()
    }
}

impl State {
    fn registry(&self, known: &Known, now: DateTime<Utc>) -> (Known, RegistryStatus) {
        let held = self.holds.iter();
        let held = held.filter(|((store, _), _)| *store == known.registry);
        let (mut waiting, mut resumes) = (Vec::new(), None);
        for ((_, job), (images, until)) in held {
            resumes = resumes.max(Some(*until));
            waiting.push(Waiting {
                sync_job: job.clone(),
                images: *images,
            });
        }
        let quiet = known.quiet.and_then(|wait| TimeDelta::from_std(wait).ok());
        let resumes = resumes.max(quiet.and_then(|wait| now.checked_add_signed(wait)));
        let quota = known.quota;
        let time = |seconds: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "a time")]
            let milliseconds = (seconds * 1000.0) as i64;
            DateTime::from_timestamp_millis(milliseconds).map(stamp)
        };
        let status = RegistryStatus {
            registry: known.registry.clone(),
            paused: resumes.is_some(),
            resumes: resumes.map(stamp),
            waiting,
            pulls_allowed: quota.and_then(|quota| quota.limit),
            pulls_left: quota.map(|quota| quota.remaining),
            window_s: quota.and_then(|quota| Some(quota.window?.as_secs())),
            resets: quota.and_then(|quota| time(quota.reset?)),
            observed: quota.and_then(|quota| time(quota.observed)),
        };
        (known.clone(), status)
    }
}

impl Entry {
    fn status(&self, name: &str, state: &State) -> JobStatus {
        let waits_for: BTreeSet<String> = state
            .holds
            .keys()
            .filter(|(_, job)| job == name)
            .map(|(store, _)| store.clone())
            .collect();
        // The one that was due or asked for, if there are two.
        let mut runs = self.runs.iter().map(|run| &run.progress);
        let running = runs
            .clone()
            .find(|run| run.trigger != Trigger::Start)
            .or_else(|| runs.next());
        let state = match () {
            () if running.is_some() && !waits_for.is_empty() => JobState::Waiting,
            () if running.is_some() => JobState::Running,
            () if self.record.paused => JobState::Paused,
            () if self.is_failing() => JobState::Failing,
            () if self.record.last_completion.is_none() => JobState::Unknown,
            () => JobState::Ok,
        };
        JobStatus {
            sync_job: name.to_owned(),
            source: self.source.clone(),
            target: self.target.clone(),
            state,
            paused: self.record.paused,
            schedule: self.schedule.clone(),
            next_run: self.next.map(stamp),
            running: running.cloned(),
            last_run: self.record.last_run.clone(),
            last_success: self.record.last_success.map(stamp),
            tags: self.record.tags,
            waits_for,
        }
    }
}
