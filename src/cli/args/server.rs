//! The arguments of `regmirror server` and of those who talk to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::TableOrJson;
use super::run::Drain;
use crate::schedule::duration;
use crate::telemetry::Level;

#[derive(Debug, Args)]
pub(in crate::cli) struct Server {
    #[command(flatten)]
    pub(in crate::cli) http: Listen,

    /// Names by which the API and the page are reached, besides addresses and
    /// localhost. Others are refused: a page of another site may have made them up.
    #[arg(
        long,
        value_name = "NAME",
        env = "REGMIRROR_HTTP_HOST",
        value_delimiter = ','
    )]
    pub(in crate::cli) http_host: Vec<String>,

    /// The file with the token that the API takes, in one line.
    ///
    /// Without it everybody who reaches the API may look, and nobody may change
    /// anything.
    #[arg(long, value_name = "FILE", env = "REGMIRROR_ADMIN_TOKEN_FILE")]
    pub(in crate::cli) admin_token_file: Option<PathBuf>,

    /// Where to keep what is known of earlier runs. Without it, that is forgotten
    /// when the process ends.
    #[arg(long, value_name = "DIR", env = "REGMIRROR_STATE_DIR")]
    pub(in crate::cli) state_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(in crate::cli) drain: Drain,

    /// How often to look whether the configuration's content has changed; with 0,
    /// only SIGHUP and the API have it read again.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "15s",
        value_parser = duration::parse,
        env = "REGMIRROR_RELOAD_INTERVAL"
    )]
    pub(in crate::cli) reload_interval: Duration,

    /// End, with 1, when something has failed.
    #[arg(long, env = "REGMIRROR_ABORT_ON_ERROR")]
    pub(in crate::cli) abort_on_error: bool,
}

/// Where the daemon listens.
#[derive(Debug, Args)]
pub(in crate::cli) struct Listen {
    /// Where health, metrics, the API and the status page are served.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9090",
        env = "REGMIRROR_HTTP_ADDR"
    )]
    pub(in crate::cli) http_addr: SocketAddr,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Healthcheck {
    #[command(flatten)]
    pub(in crate::cli) http: Listen,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Ctl {
    /// Where the daemon is.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:9090",
        env = "REGMIRROR_URL"
    )]
    pub(in crate::cli) url: String,

    /// The file with its token.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "REGMIRROR_ADMIN_TOKEN_FILE"
    )]
    pub(in crate::cli) token_file: Option<PathBuf>,

    #[command(subcommand)]
    pub(in crate::cli) command: CtlCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CtlCommand {
    /// Tell how the daemon, its jobs and its registries are.
    Status {
        /// Again and again, until interrupted.
        #[arg(short, long, env = "REGMIRROR_WATCH")]
        watch: bool,

        /// How the answer is written.
        #[arg(
            short,
            long,
            value_enum,
            default_value = "table",
            env = "REGMIRROR_OUTPUT"
        )]
        output: TableOrJson,
    },
    /// Run jobs now.
    Trigger {
        /// The jobs' names.
        #[arg(required = true)]
        jobs: Vec<String>,

        /// Wait for their ends, and end with 1 if something failed.
        #[arg(long, env = "REGMIRROR_WAIT")]
        wait: bool,
    },
    /// Let jobs not run when they are due.
    Pause(Jobs),
    /// Let jobs run again when they are due.
    Resume(Jobs),
    /// End a run when what is under way is done.
    Cancel {
        /// The run's name, as `status` and the log say it.
        run: String,
    },
    /// Read the configuration again.
    Reload,
    /// Tell how much is logged, or change it.
    LogLevel {
        /// trace, debug, info, warn, error or off.
        #[arg(value_name = "LEVEL")]
        wanted: Option<Level>,
    },
}

/// Jobs by their names, or all.
#[derive(Debug, Args)]
pub(in crate::cli) struct Jobs {
    /// The jobs' names.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(in crate::cli) jobs: Vec<String>,

    /// All jobs.
    #[arg(long, env = "REGMIRROR_ALL")]
    pub(in crate::cli) all: bool,
}
