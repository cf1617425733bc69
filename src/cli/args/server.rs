//! The arguments of `regmirror server`.

use std::time::Duration;

use clap::Args;

use crate::schedule::duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct Server {
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

    /// How often to look whether the configuration's content has changed; with 0,
    /// only SIGHUP has it read again.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "15s",
        value_parser = duration::parse,
        env = "REGMIRROR_RELOAD_INTERVAL"
    )]
    pub(in crate::cli) reload_interval: Duration,
}
