//! The arguments of `regmirror server`.

use std::time::Duration;

use clap::Args;

use super::run::Drain;
use crate::schedule::duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct Server {
    #[command(flatten)]
    pub(in crate::cli) drain: Drain,

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
