//! The arguments of `regmirror once` and `regmirror check`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::schedule::duration;

/// What both commands take.
#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// Only the jobs whose names match: with `*`, `?`, `[a-z]` and `{a,b}`. May be
    /// given several times.
    #[arg(long, value_name = "GLOB", env = "REGMIRROR_JOB")]
    pub(in crate::cli) job: Vec<String>,

    /// Copy only tags that the target does not have.
    #[arg(long, env = "REGMIRROR_MISSING")]
    pub(in crate::cli) missing: bool,

    /// Begin nothing more once something has failed.
    #[arg(long, env = "REGMIRROR_ABORT_ON_ERROR")]
    pub(in crate::cli) abort_on_error: bool,

    /// Begin nothing more after this time, finish what is under way, and end with
    /// 5 if something was left.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration::parse,
        env = "REGMIRROR_MAX_DURATION"
    )]
    pub(in crate::cli) max_duration: Option<Duration>,

    /// How results are written to standard output.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        env = "REGMIRROR_OUTPUT"
    )]
    pub(in crate::cli) output: OutputFormat,

    /// Write the JSON document to this file as well.
    #[arg(long, value_name = "FILE", env = "REGMIRROR_REPORT")]
    pub(in crate::cli) report: Option<PathBuf>,

    /// Write what failed to this file, as a GitLab Code Quality report.
    #[arg(long, value_name = "FILE", env = "REGMIRROR_CODE_QUALITY")]
    pub(in crate::cli) code_quality: Option<PathBuf>,

    /// End with 4 if anything was copied, or would be.
    #[arg(long, env = "REGMIRROR_EXIT_CODE")]
    pub(in crate::cli) exit_code: bool,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OutputFormat {
    /// For people.
    Table,
    /// One JSON document, at the end.
    Json,
    /// A JSON object a line, as it happens.
    Jsonl,
}

/// How a command ends that copies.
#[derive(Debug, Args)]
pub(in crate::cli) struct Drain {
    /// How long copies under way may go on after SIGINT or SIGTERM. What is
    /// not done by then is left for the next run.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "100s",
        value_parser = duration::parse,
        env = "REGMIRROR_DRAIN_TIMEOUT"
    )]
    pub(in crate::cli) drain_timeout: Duration,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Once {
    #[command(flatten)]
    pub(in crate::cli) run: RunArgs,

    /// Write nothing: the same as `check`.
    #[arg(long, env = "REGMIRROR_DRY_RUN")]
    pub(in crate::cli) dry_run: bool,

    #[command(flatten)]
    pub(in crate::cli) drain: Drain,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    #[command(flatten)]
    pub(in crate::cli) run: RunArgs,

    /// List the tags that stay as they are and those that are left out, too, and
    /// by which rule.
    #[arg(long, env = "REGMIRROR_EXPLAIN")]
    pub(in crate::cli) explain: bool,

    /// Look into images even where the source counts that as a pull.
    ///
    /// Without it, their sizes are unknown there.
    #[arg(long, env = "REGMIRROR_SPEND_PULLS")]
    pub(in crate::cli) spend_pulls: bool,
}
