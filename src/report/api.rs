//! What the daemon answers.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Job, RunResult};
use crate::sync::Totals;

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Status {
    /// The version of this schema.
    pub schema_version: u32,
    /// The version of the program.
    pub regmirror: String,
    /// When it began (RFC 3339).
    pub started: String,
    /// What time it is there (RFC 3339).
    pub now: String,
    /// Whether it was told to end, and only finishes what is under way.
    pub draining: bool,
    /// Whether its last look at every job found nothing that failed, the
    /// configuration can be used, and it is not draining.
    pub healthy: bool,
    /// When the configuration was last loaded (RFC 3339).
    pub config_loaded: String,
    /// The first 48 bits of the configuration's SHA-256, in hexadecimal.
    pub config_hash: String,
    /// Why the configuration that is there now cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
    /// Whether whoever has the token may change something.
    pub changeable: bool,
    /// The pool.
    pub pool: Pool,
    /// How many jobs there are, by how they are.
    pub jobs: JobCounts,
    /// Blobs that are being sent: the oldest 50.
    pub transfers: Vec<Transfer>,
}

/// The pool that images are copied in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pool {
    /// Its size.
    pub workers: usize,
    /// How many images are being copied.
    pub busy: usize,
    /// How many wait for a place.
    pub queued: usize,
}

/// Jobs by how they are; one can be several of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct JobCounts {
    /// All.
    pub total: usize,
    /// Those that run.
    pub running: usize,
    /// Those of which the last run had a failure.
    pub failing: usize,
    /// Those that somebody paused.
    pub paused: usize,
    /// Those that have not completed a run yet.
    pub unknown: usize,
}

/// How jobs are.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct JobStatuses {
    /// The version of this schema.
    pub schema_version: u32,
    /// The jobs, by their names.
    pub jobs: Vec<JobStatus>,
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct JobStatus {
    /// The job's name.
    pub sync_job: String,
    /// What it mirrors.
    pub source: String,
    /// Where to.
    pub target: String,
    /// How it is.
    pub state: JobState,
    /// Whether somebody paused it: it may still run.
    pub paused: bool,
    /// When it runs: cron's expression, or the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When it is next due (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<String>,
    /// The run under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Progress>,
    /// The last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// When it last completed with no failed tag (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<String>,
    /// Its tags at the end of the last run.
    pub tags: TagCounts,
    /// The registries that images of it wait for, to be allowed more.
    pub waits_for: BTreeSet<String>,
}

/// How a job is, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It runs, or what its target lacks is looked for after the start.
    Running,
    /// It runs, and images wait until a registry allows more.
    Waiting,
    /// Somebody paused it.
    Paused,
    /// Its last run had failures.
    Failing,
    /// All is well.
    Ok,
    /// It has not completed a run yet.
    Unknown,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Progress {
    /// Which run.
    pub run_id: String,
    /// Why it began.
    pub trigger: Trigger,
    /// When it began (RFC 3339).
    pub started: String,
    /// How many tags were found so far.
    pub tags_known: u64,
    /// Of how many it is known what became of them.
    pub tags_done: u64,
    /// How many were copied.
    pub copied: u64,
    /// How many failed.
    pub failed: u64,
}

/// Why a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The daemon began: what the target lacks is copied, and nothing else.
    Start,
    /// It was due.
    Schedule,
    /// Somebody asked for it.
    Request,
}

/// The last run of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// Which run.
    pub run_id: String,
    /// How it went.
    pub result: RunResult,
    /// When it began (RFC 3339).
    pub started: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How long after it was due it began, in milliseconds.
    pub lag_ms: u64,
    /// Its counts.
    pub totals: Totals,
    /// The first of its failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The tags of a job at the end of its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TagCounts {
    /// The target has them.
    pub in_sync: u64,
    /// The target is to get them.
    pub pending: u64,
    /// They failed.
    pub failed: u64,
}

/// Runs, the latest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Runs {
    /// The version of this schema.
    pub schema_version: u32,
    /// The latest of all, and the latest of those that failed.
    pub runs: Vec<Run>,
}

/// A run of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Why it began.
    pub trigger: Trigger,
    /// How long after it was due it began, in milliseconds.
    pub lag_ms: u64,
    /// What it did. Of its tags, those that failed and those that were copied, 50
    /// each at most.
    #[serde(flatten)]
    pub job: Job,
}

/// How registries are.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Registries {
    /// The version of this schema.
    pub schema_version: u32,
    /// The registries that were asked for something, by their names.
    pub registries: Vec<RegistryStatus>,
}

/// How a registry is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RegistryStatus {
    /// The registry.
    pub registry: String,
    /// Whether images wait until it allows more, or it asked to be left alone.
    pub paused: bool,
    /// When it is asked again (RFC 3339), as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
    /// What waits for it.
    pub waiting: Vec<Waiting>,
    /// How many images may be pulled in its window, if it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulls_allowed: Option<u64>,
    /// How many are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulls_left: Option<u64>,
    /// How long the window is, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// When there are more at the latest (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets: Option<String>,
    /// When it last said so (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
}

/// Images of a job that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiting {
    /// The job.
    pub sync_job: String,
    /// How many.
    pub images: usize,
}

/// A blob that is being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Transfer {
    /// Names the transfer, in this process.
    pub transfer: u64,
    /// The blob.
    pub digest: String,
    /// The repository that it goes to.
    pub target: String,
    /// How many bytes of it have been read.
    pub bytes: u64,
    /// How many it has.
    pub size: u64,
    /// When it began (RFC 3339).
    pub started: String,
}

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Effective {
    /// The version of this schema.
    pub schema_version: u32,
    /// The configuration as YAML, with every default filled in and every secret
    /// hidden.
    pub yaml: String,
}

/// How much is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogLevel {
    /// `trace`, `debug`, `info`, `warn`, `error` or `off`.
    pub level: String,
}

/// It is done, or begun.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Accepted {
    /// The run that was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// How many jobs it concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<usize>,
}

/// It is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApiError {
    /// The status of the answer.
    pub status: u16,
    /// Why, and what to do.
    pub error: String,
}
