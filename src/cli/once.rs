//! `regmirror once`: run every job a single time.

use std::path::Path;

use super::args::Once;
use super::exit::Exit;
use super::load::load;
use super::output;
use super::signals::Signals;
use crate::app::{OpenStores, RetryPolicy, run_once};

pub(super) async fn run(path: Option<&Path>, arguments: &Once) -> Exit {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if arguments.missing {
        for job in &mut config.jobs {
            job.policy.missing_only = true;
        }
    }
    let (signals, stores) = match (
        Signals::watch(),
        OpenStores::new(&config, RetryPolicy::default()),
    ) {
        (Ok(signals), Ok(stores)) => (signals, stores),
        (_, Err(error)) => {
            output::error(&error.to_string());
            return Exit::Config;
        }
        (Err(error), _) => {
            output::error(&format!("could not watch for signals: {error}"));
            return Exit::Failed;
        }
    };
    let overdue = signals.overdue(arguments.drain_timeout);
    let summary = tokio::select! {
        summary = run_once(&config, stores, &signals.stop) => summary,
        () = overdue => {
            let seconds = arguments.drain_timeout.as_secs_f64();
            output::error(&format!(
                "what was under way did not end within {seconds} s of the signal, and was \
                 dropped: the next run sends what is missing"
            ));
            return Exit::Signal(signals.seen().unwrap_or_default());
        }
    };
    output::print(&output::summary(&summary));
    match signals.seen() {
        Some(number) if summary.interrupted => Exit::Signal(number),
        _ if summary.totals.failed > 0 => Exit::Failed,
        _ => Exit::Success,
    }
}
