//! Metrics of jobs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{Gauge, GaugeVec, HistogramVec, IntCounterVec};

use super::family::{Counters, Each, Families, Gauges, keep};

const RESULTS: [&str; 4] = ["success", "partial", "failure", "canceled"];
const SKIPS: [&str; 2] = ["still_running", "paused"];
const STATES: [&str; 3] = ["in_sync", "pending", "failed"];
const PROCESSED: [&str; 4] = ["copied", "unchanged", "skipped", "failed"];
const BACKUPS: [&str; 2] = ["success", "failure"];

/// From a look at one tag to a first copy of everything, in seconds.
const DURATIONS: [f64; 12] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 10800.0, 43200.0,
];

/// The families, and the series of the jobs of the configuration.
#[derive(Debug)]
pub struct JobMetrics {
    last_success: GaugeVec,
    last_completion: GaugeVec,
    last_start: GaugeVec,
    last_duration: GaugeVec,
    expected_interval: GaugeVec,
    next_run: GaugeVec,
    running: GaugeVec,
    runs: IntCounterVec,
    skipped: IntCounterVec,
    durations: HistogramVec,
    tags: GaugeVec,
    processed: IntCounterVec,
    backups: IntCounterVec,
    series: RwLock<HashMap<String, Arc<JobSeries>>>,
}

/// The series of one job. Times are Unix times in seconds.
#[derive(Debug)]
pub struct JobSeries {
    /// When it last completed with no failed tag.
    pub last_success: Gauge,
    /// When it last completed.
    pub last_completion: Gauge,
    /// When it last started.
    pub last_start: Gauge,
    /// How long its last run took, in seconds.
    pub last_duration: Gauge,
    /// The time between two runs, in seconds.
    pub expected_interval: Gauge,
    /// When it is next due.
    pub next_run: Gauge,
    /// Whether it runs.
    pub running: Gauge,
    /// Runs by `success`, `partial`, `failure` and `canceled`.
    pub runs: Counters<4>,
    /// Runs that did not start, by `still_running` and `paused`.
    pub skipped: Counters<2>,
    /// Tags at the end of the last run by `in_sync`, `pending` and `failed`.
    pub tags: Gauges<3>,
    /// Tags by `copied`, `unchanged`, `skipped` and `failed`.
    pub processed: Counters<4>,
    /// Backups by `success` and `failure`.
    pub backups: Counters<2>,
}

impl JobMetrics {
    pub(super) fn new(families: &Families<'_>) -> Self {
        const JOB: &[&str] = &["sync_job"];
        Self {
            last_success: families.gauges(
                "regmirror_sync_last_success_timestamp_seconds",
                JOB,
                "Unix time the job last completed with no failed tag, 0 if never since start.",
            ),
            last_completion: families.gauges(
                "regmirror_sync_last_completion_timestamp_seconds",
                JOB,
                "Unix time the job last completed with any result, 0 if never since start.",
            ),
            last_start: families.gauges(
                "regmirror_sync_last_start_timestamp_seconds",
                JOB,
                "Unix time the job last started, 0 if never since start.",
            ),
            last_duration: families.gauges(
                "regmirror_sync_last_duration_seconds",
                JOB,
                "Duration of the last completed run of the job.",
            ),
            expected_interval: families.gauges(
                "regmirror_sync_expected_interval_seconds",
                JOB,
                "Configured interval, or the time between the next two cron occurrences, of the \
                 job.",
            ),
            next_run: families.gauges(
                "regmirror_sync_next_run_timestamp_seconds",
                JOB,
                "Unix time at which the job is next due, 0 if it has no schedule.",
            ),
            running: families.gauges(
                "regmirror_sync_running",
                JOB,
                "Whether a run of the job is in progress (1) or not (0).",
            ),
            runs: families.counters(
                "regmirror_sync_runs_total",
                &["sync_job", "result"],
                "Completed runs by result: success, partial, failure or canceled.",
            ),
            skipped: families.counters(
                "regmirror_sync_runs_skipped_total",
                &["sync_job", "reason"],
                "Due runs that did not start: still_running, paused or not_leader.",
            ),
            durations: families.histograms(
                "regmirror_sync_run_duration_seconds",
                &["result"],
                &DURATIONS,
                "Duration of completed runs over all jobs.",
            ),
            tags: families.gauges(
                "regmirror_sync_tags",
                &["sync_job", "state"],
                "Tags at the end of the last run by state: in_sync, pending or failed.",
            ),
            processed: families.counters(
                "regmirror_sync_tags_processed_total",
                &["sync_job", "result"],
                "Tags handled by result: copied, unchanged, skipped or failed.",
            ),
            backups: families.counters(
                "regmirror_sync_backups_total",
                &["sync_job", "result"],
                "Backups of overwritten target tags by result: success or failure.",
            ),
            series: RwLock::default(),
        }
        .with_results()
    }

    fn with_results(self) -> Self {
        for result in RESULTS {
            self.durations.with_label_values(&[result]);
        }
        self
    }

    /// Gives each of these jobs its series, and takes those of all others away.
    pub fn keep<'a>(&self, jobs: impl IntoIterator<Item = &'a str>) {
        let jobs: HashSet<&str> = jobs.into_iter().collect();
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        for job in &jobs {
            if !series.contains_key(*job) {
                series.insert((*job).to_owned(), Arc::new(self.new_series(job)));
            }
        }
        if series.len() == jobs.len() {
            return;
        }
        series.retain(|job, _| jobs.contains(job.as_str()));
        let stays = |job: &str| jobs.contains(job);
        for family in [
            &self.last_success,
            &self.last_completion,
            &self.last_start,
            &self.last_duration,
            &self.expected_interval,
            &self.next_run,
            &self.running,
            &self.tags,
        ] {
            keep(family, "sync_job", stays);
        }
        for family in [&self.runs, &self.skipped, &self.processed, &self.backups] {
            keep(family, "sync_job", stays);
        }
    }

    /// The series of a job, if the configuration has it.
    pub fn of(&self, job: &str) -> Option<Arc<JobSeries>> {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.get(job).cloned()
    }

    /// Notes how long a run took, in seconds.
    pub fn took(&self, result: &str, seconds: f64) {
        self.durations.with_label_values(&[result]).observe(seconds);
    }

    fn new_series(&self, job: &str) -> JobSeries {
        let gauge = |family: &GaugeVec| family.with_label_values(&[job]);
        let each = |family: &IntCounterVec, value: &str| family.with_label_values(&[job, value]);
        JobSeries {
            last_success: gauge(&self.last_success),
            last_completion: gauge(&self.last_completion),
            last_start: gauge(&self.last_start),
            last_duration: gauge(&self.last_duration),
            expected_interval: gauge(&self.expected_interval),
            next_run: gauge(&self.next_run),
            running: gauge(&self.running),
            runs: Each::of(RESULTS, |value| each(&self.runs, value)),
            skipped: Each::of(SKIPS, |value| each(&self.skipped, value)),
            tags: Each::of(STATES, |value| self.tags.with_label_values(&[job, value])),
            processed: Each::of(PROCESSED, |value| each(&self.processed, value)),
            backups: Each::of(BACKUPS, |value| each(&self.backups, value)),
        }
    }
}
