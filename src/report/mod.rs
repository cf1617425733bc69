//! What runs did, for programs.
//!
//! One schema for all that is printed, written to files or served. Within a
//! version of it, fields are added and never renamed or removed.

mod api;
mod github;
mod gitlab;
mod schema;
mod told;

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use api::{
    Accepted, ApiError, Effective, JobCounts, JobState, JobStatus, JobStatuses, LastRun, LogLevel,
    Pool, Progress, Registries, RegistryStatus, Run, Runs, Status, TagCounts, Transfer, Trigger,
    Waiting,
};
pub use github::{annotations, step_summary};
pub use gitlab::code_quality;
pub use schema::schema_text;

use crate::sync::{Cost, Totals};

/// The version of the schema.
pub const SCHEMA_VERSION: u32 = 1;

/// One JSON document, or one line of many.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(title = "regmirror's reports", rename = "Output")]
pub enum Line {
    /// The first line.
    Start(Start),
    /// What became of a tag.
    Tag(Tag),
    /// A job has ended.
    Job(Job),
    /// The whole run: the last line, or the only document.
    Report(Report),
    /// What `auth check` found.
    Auth(Auth),
    /// What the program is.
    Version(Version),
    /// How the daemon is.
    Status(Status),
    /// How jobs are.
    Jobs(JobStatuses),
    /// How a job is.
    JobStatus(Box<JobStatus>),
    /// Runs of the daemon, the latest first.
    Runs(Runs),
    /// A run of the daemon.
    Run(Run),
    /// How registries are.
    Registries(Registries),
    /// The daemon's configuration.
    Config(Effective),
    /// How much the daemon logs.
    LogLevel(LogLevel),
    /// The daemon does what it was asked for.
    Accepted(Accepted),
    /// The daemon does not do what it was asked for.
    Error(ApiError),
}

/// The first line of a run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Start {
    /// The version of this schema.
    pub schema_version: u32,
    /// The version of the program.
    pub regmirror: String,
    /// What was called for.
    pub command: Command,
    /// When it began (RFC 3339).
    pub started: String,
    /// How many jobs there are.
    pub jobs: usize,
}

/// What was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// To run every job once.
    Once,
    /// To tell what that would do.
    Check,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The version of this schema.
    pub schema_version: u32,
    /// The version of the program.
    pub regmirror: String,
    /// What was called for.
    pub command: Command,
    /// When it began (RFC 3339).
    pub started: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How it went.
    pub result: RunResult,
    /// Why it stopped before it had seen every tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// The code that the program ends with.
    pub exit_code: u8,
    /// The sum of the jobs' counts.
    pub totals: Totals,
    /// The jobs, in the configuration's order.
    pub jobs: Vec<Job>,
    /// What registries want people to be told.
    pub warnings: Vec<Warning>,
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The job's name.
    pub sync_job: String,
    /// Which run of it: in the log, all lines of it say so.
    pub run_id: String,
    /// How it went.
    pub result: RunResult,
    /// When it began (RFC 3339).
    pub started: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Its counts.
    pub totals: Totals,
    /// Tags that changed or failed; with `--explain`, all. In lines, none: they
    /// had a line each.
    pub tags: Vec<Tag>,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunResult {
    /// Nothing failed.
    Success,
    /// Some tags failed, others did not.
    Partial,
    /// All that it came to failed.
    Failure,
    /// It was told to stop before it had seen every tag, and nothing failed.
    Canceled,
}

/// Why a run stopped before it had seen every tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// A signal.
    Signal,
    /// `--max-duration`.
    MaxDuration,
    /// `--abort-on-error`.
    Error,
    /// Nobody reads what it prints.
    Output,
}

/// What became of one tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tag {
    /// The job's name.
    pub sync_job: String,
    /// The image at the source, or the repository if all of it is left out or
    /// cannot be listed.
    pub source: String,
    /// The image at the target, if there is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What became of it.
    pub result: TagResult,
    /// Why, as a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, as text; of a failure also what was tried, on what, how often, and
    /// what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The digest of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What the target's tag pointed at before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// What it would take to copy it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// What became of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TagResult {
    /// The target has it now.
    Copied,
    /// It would be copied: the run only looked, or was told to stop.
    Pending,
    /// The target had it.
    Unchanged,
    /// A rule leaves it out.
    Excluded,
    /// It failed, and the target's tag is as it was.
    Failed,
}

/// Why something became of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Copied: the target has no such tag.
    Missing,
    /// Copied: the target's tag points at something else.
    Changed,
    /// Copied: the target lacks referrers.
    Referrers,
    /// Copied: the target lacks digest tags.
    DigestTags,
    /// Copied: `forceRecursive` asks for a look at all of it.
    Forced,
    /// Excluded: `semverRange` asks for a version.
    NoVersion,
    /// Excluded: no `semverRange` has the version.
    OutOfRange,
    /// Excluded: no `allow` pattern matches.
    NotAllowed,
    /// Excluded: a `deny` pattern matches.
    Denied,
    /// Excluded: `latest` takes newer ones.
    Older,
    /// Excluded: `mediaTypes` does not list its type.
    MediaType,
    /// Excluded: the target has it, and only missing tags are copied.
    Present,
    /// Excluded: a list of referrers, which go with their image.
    ReferrersTag,
    /// Excluded from `latest`: about an image, and none itself.
    AboutImage,
    /// Failed: there is no such thing.
    NotFound,
    /// Failed: the credentials, or the lack of them, do not allow it.
    AccessDenied,
    /// Failed: the registry allows no more for now.
    RateLimited,
    /// Failed: content that does not match its digest.
    Corrupt,
    /// Failed: a Docker schema 1 image.
    Schema1,
    /// Failed: it may work later.
    Unavailable,
    /// Failed: refused.
    Refused,
    /// Failed: the target says that content is missing.
    MissingContent,
    /// Failed: the store cannot do it.
    Unsupported,
    /// Failed: what was answered makes no sense.
    Malformed,
    /// Failed: the disk.
    Storage,
    /// Failed: a fault of regmirror's own.
    Fault,
}

/// What a registry wants people to be told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Warning {
    /// The registry.
    pub registry: String,
    /// What it says.
    pub text: String,
}

/// What `auth check` found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Auth {
    /// The version of this schema.
    pub schema_version: u32,
    /// The code that the program ends with.
    pub exit_code: u8,
    /// The registries that jobs name, and those with a `creds` entry.
    pub registries: Vec<RegistryAccess>,
}

/// What may be done at a registry.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RegistryAccess {
    /// The registry.
    pub registry: String,
    /// Whether it answers as one.
    pub reachable: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which credential is used: `anonymous`, or whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Where that comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_from: Option<String>,
    /// How many images may still be pulled, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulls_left: Option<u64>,
    /// Out of so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulls_allowed: Option<u64>,
    /// What jobs do there.
    pub repositories: Vec<RepositoryAccess>,
}

/// What may be done with a repository.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RepositoryAccess {
    /// The repository; the registry, where a job lists its repositories.
    pub repository: String,
    /// What a job needs.
    pub action: Action,
    /// Whether it may.
    pub allowed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a job needs to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// To list a registry's repositories.
    List,
    /// To read.
    Pull,
    /// To write.
    Push,
}

/// What the program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Version {
    /// The version.
    pub version: String,
    /// The commit that it was built from, as far as is known.
    pub revision: String,
    /// The compiler that built it.
    pub rustc_version: String,
    /// What it was built for, such as `x86_64-linux`.
    pub target: String,
    /// The version of this schema.
    pub schema_version: u32,
}

impl Line {
    /// As a line of its own.
    pub fn line(&self) -> String {
        let json = serde_json::to_string(self);
        json.expect("maps with text for keys") + "\n"
    }

    /// As a document for people to read as well.
    pub fn document(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("maps with text for keys") + "\n"
    }
}

impl Report {
    /// The counts alone, for readers who were told of each tag.
    #[must_use]
    pub fn without_tags(mut self) -> Self {
        for job in &mut self.jobs {
            job.tags.clear();
        }
        self
    }
}

impl RunResult {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failure => "failure",
            Self::Canceled => "canceled",
        }
    }

    /// How a run with these counts went.
    pub fn of(totals: &Totals, interrupted: bool) -> Self {
        let fine = totals.copied + totals.pending + totals.unchanged;
        match (totals.failed, fine) {
            (0, _) if interrupted => Self::Canceled,
            (0, _) => Self::Success,
            (_, 0) => Self::Failure,
            _ => Self::Partial,
        }
    }
}

/// A time as reports have it: RFC 3339, in UTC, to the millisecond.
pub fn timestamp(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A duration as reports have it.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
