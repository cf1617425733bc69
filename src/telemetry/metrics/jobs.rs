//! Metrics of jobs.
//!
//! With a thousand jobs these are twenty thousand series. They are written out
//! here: to have them gathered, which copies each with its labels, takes many times
//! as long.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::HistogramVec;

use super::cell::{Count, Number};
use super::family::{Each, Families};

const RESULTS: [&str; 4] = ["success", "partial", "failure", "canceled"];
const SKIPS: [&str; 2] = ["still_running", "paused"];
const STATES: [&str; 3] = ["in_sync", "pending", "failed"];
const PROCESSED: [&str; 4] = ["copied", "unchanged", "skipped", "failed"];
const BACKUPS: [&str; 2] = ["success", "failure"];

/// From a look at one tag to a first copy of everything, in seconds.
const DURATIONS: [f64; 12] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 10800.0, 43200.0,
];

/// The series of the jobs of the configuration.
#[derive(Debug)]
pub struct JobMetrics {
    durations: HistogramVec,
    series: RwLock<BTreeMap<String, Arc<JobSeries>>>,
}

/// The series of one job. Times are Unix times in seconds.
#[derive(Debug)]
pub struct JobSeries {
    /// The job, as a label of its series.
    label: String,
    /// When it last completed with no failed tag.
    pub last_success: Number,
    /// When it last completed.
    pub last_completion: Number,
    /// When it last started.
    pub last_start: Number,
    /// How long its last run took, in seconds.
    pub last_duration: Number,
    /// The time between two runs, in seconds.
    pub expected_interval: Number,
    /// When it is next due.
    pub next_run: Number,
    /// When it was first due since it last succeeded.
    pub due_since: Number,
    /// Whether it runs.
    pub running: Number,
    /// Runs by `success`, `partial`, `failure` and `canceled`.
    pub runs: Each<Count, 4>,
    /// Runs that did not start, by `still_running` and `paused`.
    pub skipped: Each<Count, 2>,
    /// Tags at the end of the last run by `in_sync`, `pending` and `failed`.
    pub tags: Each<Number, 3>,
    /// Tags by `copied`, `unchanged`, `skipped` and `failed`.
    pub processed: Each<Count, 4>,
    /// Backups by `success` and `failure`.
    pub backups: Each<Count, 2>,
}

impl JobMetrics {
    pub(super) fn new(families: &Families<'_>) -> Self {
        let durations = families.histograms(
            "regmirror_sync_run_duration_seconds",
            &["result"],
            &DURATIONS,
            "Duration of completed runs over all jobs.",
        );
        for result in RESULTS {
            durations.with_label_values(&[result]);
        }
        Self {
            durations,
            series: RwLock::default(),
        }
    }

    /// Gives each of these jobs its series, and takes those of all others away.
    pub fn keep<'a>(&self, jobs: impl IntoIterator<Item = &'a str>) {
        let jobs: HashSet<&str> = jobs.into_iter().collect();
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        series.retain(|job, _| jobs.contains(job.as_str()));
        for job in jobs {
            if !series.contains_key(job) {
                series.insert(job.to_owned(), Arc::new(JobSeries::new(job)));
            }
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

    /// Adds all series to `text`, as Prometheus' text format has them.
    pub(super) fn write(&self, text: &mut String) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut page = Page {
            jobs: series.values().map(AsRef::as_ref).collect(),
            text,
        };
        page.gauge(
            "regmirror_sync_last_success_timestamp_seconds",
            "Unix time the job last completed with no failed tag, 0 if never since start.",
            |job| &job.last_success,
        );
        page.gauge(
            "regmirror_sync_last_completion_timestamp_seconds",
            "Unix time the job last completed with any result, 0 if never since start.",
            |job| &job.last_completion,
        );
        page.gauge(
            "regmirror_sync_last_start_timestamp_seconds",
            "Unix time the job last started, 0 if never since start.",
            |job| &job.last_start,
        );
        page.gauge(
            "regmirror_sync_last_duration_seconds",
            "Duration of the last completed run of the job.",
            |job| &job.last_duration,
        );
        page.gauge(
            "regmirror_sync_expected_interval_seconds",
            "Configured interval, or the time between the next two cron occurrences, of the job.",
            |job| &job.expected_interval,
        );
        page.gauge(
            "regmirror_sync_next_run_timestamp_seconds",
            "Unix time at which the job is next due, 0 if it has no schedule.",
            |job| &job.next_run,
        );
        page.gauge(
            "regmirror_sync_due_since_timestamp_seconds",
            "Unix time at which the job was first due since it last succeeded, 0 if it was not.",
            |job| &job.due_since,
        );
        page.gauge(
            "regmirror_sync_running",
            "Whether a run of the job is in progress (1) or not (0).",
            |job| &job.running,
        );
        page.each(
            ("regmirror_sync_runs_total", "counter", "result"),
            "Completed runs by result: success, partial, failure or canceled.",
            |job| &job.runs,
        );
        page.each(
            ("regmirror_sync_runs_skipped_total", "counter", "reason"),
            "Due runs that did not start: still_running, paused or not_leader.",
            |job| &job.skipped,
        );
        page.each(
            ("regmirror_sync_tags", "gauge", "state"),
            "Tags at the end of the last run by state: in_sync, pending or failed.",
            |job| &job.tags,
        );
        page.each(
            ("regmirror_sync_tags_processed_total", "counter", "result"),
            "Tags handled by result: copied, unchanged, skipped or failed.",
            |job| &job.processed,
        );
        page.each(
            ("regmirror_sync_backups_total", "counter", "result"),
            "Backups of overwritten target tags by result: success or failure.",
            |job| &job.backups,
        );
    }
}

/// The text, and the jobs whose series are written to it.
struct Page<'a> {
    jobs: Vec<&'a JobSeries>,
    text: &'a mut String,
}

impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, of: impl Fn(&JobSeries) -> &Number) {
        self.head(name, "gauge", help);
        for job in &self.jobs {
            let _ = writeln!(self.text, "{name}{{{}}} {}", job.label, of(job));
        }
    }

    /// The series of which the value of one more label is different.
    fn each<T: std::fmt::Display + 'static, const N: usize>(
        &mut self,
        (name, kind, label): (&str, &str, &str),
        help: &str,
        of: impl Fn(&JobSeries) -> &Each<T, N>,
    ) {
        self.head(name, kind, help);
        for job in &self.jobs {
            for (value, number) in of(job).all() {
                let job = &job.label;
                let _ = writeln!(self.text, "{name}{{{label}=\"{value}\",{job}}} {number}");
            }
        }
    }
}

impl JobSeries {
    fn new(job: &str) -> Self {
        // Text format, "Comments, help text, and type information": these three.
        let escaped = job.replace('\\', "\\\\");
        let escaped = escaped.replace('"', "\\\"").replace('\n', "\\n");
        Self {
            label: format!("sync_job=\"{escaped}\""),
            last_success: Number::default(),
            last_completion: Number::default(),
            last_start: Number::default(),
            last_duration: Number::default(),
            expected_interval: Number::default(),
            next_run: Number::default(),
            due_since: Number::default(),
            running: Number::default(),
            runs: Each::of(RESULTS, |_| Count::default()),
            skipped: Each::of(SKIPS, |_| Count::default()),
            tags: Each::of(STATES, |_| Number::default()),
            processed: Each::of(PROCESSED, |_| Count::default()),
            backups: Each::of(BACKUPS, |_| Count::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_characters_is_a_label() {
        let series = JobSeries::new("a\\b\"c\nd");
        assert_eq!(series.label, r#"sync_job="a\\b\"c\nd""#);
    }
}
