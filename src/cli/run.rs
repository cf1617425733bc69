//! `regmirror once` and `regmirror check`: run every job a single time, or tell
//! what that would do.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::args::{Check, Cli, Once, OutputFormat, RunArgs};
use super::ci;
use super::exit::Exit;
use super::load::load;
use super::output;
use super::progress::Progress;
use super::stop::{Cause, Signals, StopOnError};
use super::stream::JsonLines;
use super::table::{self, Look};
use super::terminal;
use crate::app::{self, OpenStores, RetryPolicy, Summary};
use crate::config::Config;
use crate::report::{
    self, Command, Job, Line, Report, RunResult, SCHEMA_VERSION, Start, Warning, code_quality,
};
use crate::sync::{Audience, Kept, Watch};
use crate::telemetry::Level;

/// How many failures are kept for a CI system where they were told already.
const KEPT: usize = 1000;

/// How long a look that was interrupted may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// What is to be done with the jobs.
enum Mode {
    Copy { drain_timeout: Duration },
    Look { explain: bool, spend_pulls: bool },
}

impl Mode {
    fn command(&self) -> Command {
        match self {
            Self::Copy { .. } => Command::Once,
            Self::Look { .. } => Command::Check,
        }
    }
}

pub(super) async fn once(cli: &Cli, arguments: &Once) -> Exit {
    let mode = match arguments.dry_run {
        false => Mode::Copy {
            drain_timeout: arguments.drain_timeout,
        },
        true => Mode::Look {
            explain: false,
            spend_pulls: false,
        },
    };
    run(cli, &arguments.run, mode).await
}

pub(super) async fn check(cli: &Cli, arguments: &Check) -> Exit {
    let mode = Mode::Look {
        explain: arguments.explain,
        spend_pulls: arguments.spend_pulls,
    };
    run(cli, &arguments.run, mode).await
}

async fn run(cli: &Cli, arguments: &RunArgs, mode: Mode) -> Exit {
    let (started, clock) = (SystemTime::now(), Instant::now());
    let config = match prepare(cli.config.as_deref(), arguments) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let (signals, stores) = match (
        Signals::watch(),
        OpenStores::new(&config, RetryPolicy::default()),
    ) {
        (Ok(signals), Ok(stores)) => (signals, Arc::new(stores)),
        (_, Err(error)) => {
            output::error(&error.to_string());
            return Exit::Config;
        }
        (Err(error), _) => {
            output::error(&format!("could not watch for signals: {error}"));
            return Exit::Failed;
        }
    };
    let progress = cli
        .progress()
        .then(|| Arc::new(Progress::new(cli.level() <= Level::INFO)));
    let lines = (arguments.output == OutputFormat::Jsonl)
        .then(|| Arc::new(JsonLines::new(signals.stop.clone())));
    if let Some(lines) = &lines {
        lines.print(&Line::Start(Start {
            schema_version: SCHEMA_VERSION,
            regmirror: env!("CARGO_PKG_VERSION").to_owned(),
            command: mode.command(),
            started: report::timestamp(started),
            jobs: config.jobs.len(),
        }));
    }
    let mut watches: Vec<Arc<dyn Watch>> = Vec::new();
    watches.extend(lines.clone().map(|lines| lines as Arc<dyn Watch>));
    watches.extend(progress.clone().map(|progress| progress as Arc<dyn Watch>));
    if arguments.abort_on_error {
        watches.push(Arc::new(StopOnError(signals.stop.clone())));
    }
    let audience = Audience {
        watch: Arc::new(watches),
        kept: kept(arguments, &mode),
    };
    let token = &signals.stop.token;
    let work = async {
        match &mode {
            Mode::Copy { .. } => app::run_once(&config, &stores, audience, token).await,
            Mode::Look { spend_pulls, .. } => {
                app::check(&config, &stores, audience, *spend_pulls, token).await
            }
        }
    };
    let overdue = async {
        match mode {
            Mode::Copy { drain_timeout } => {
                signals.overdue(drain_timeout).await;
                drain_timeout
            }
            // What only reads can be dropped, but what it saw is of use.
            Mode::Look { .. } => {
                signals.overdue(GRACE).await;
                GRACE
            }
        }
    };
    let telling = async {
        match &progress {
            Some(progress) => progress.log().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        biased;
        summary = work => Ok(summary),
        grace = overdue => Err(grace),
        never = signals.stop.after(arguments.max_duration) => never,
        never = telling => never,
    };
    if let Some(progress) = &progress {
        progress.clear();
    }
    let summary = match ended {
        Ok(summary) => summary,
        Err(grace) => {
            if let Mode::Copy { .. } = mode {
                output::error(&format!(
                    "what was under way did not end within {} s of the signal, and was \
                     dropped: the next run sends what is missing",
                    grace.as_secs_f64()
                ));
            }
            return Exit::Signal(signals.seen().unwrap_or_default());
        }
    };
    let warnings = stores.warnings();
    for (registry, text) in &warnings {
        tracing::warn!("{registry} warns: {text}");
    }
    let cause = signals.stop.cause().filter(|_| summary.interrupted);
    let exit = exit_of(&summary, cause, signals.seen(), arguments.exit_code);
    let report = Report {
        schema_version: SCHEMA_VERSION,
        regmirror: env!("CARGO_PKG_VERSION").to_owned(),
        command: mode.command(),
        started: report::timestamp(started),
        duration_ms: report::milliseconds(clock.elapsed()),
        result: RunResult::of(&summary.totals, summary.interrupted),
        stopped: cause.map(Into::into),
        exit_code: exit.code(),
        totals: summary.totals,
        jobs: summary.runs.iter().map(Job::from).collect(),
        warnings: warnings
            .into_iter()
            .map(|(registry, text)| Warning { registry, text })
            .collect(),
    };
    ci::show(&report, &config);
    let written = write_files(arguments, &report, &config);
    match arguments.output {
        OutputFormat::Table => output::print(&table::summary(
            &summary,
            Look {
                check: matches!(mode, Mode::Look { .. }),
                quiet: cli.quiet,
                colour: terminal::colour(&std::io::stdout()),
                width: terminal::width(),
            },
        )),
        OutputFormat::Json => output::print(&Line::Report(report).document()),
        OutputFormat::Jsonl => {
            let mut report = report;
            for job in &mut report.jobs {
                job.tags.clear();
            }
            if let Some(lines) = &lines {
                lines.print(&Line::Report(report));
            }
        }
    }
    match (written, exit) {
        (Err(()), Exit::Success | Exit::Changes) => Exit::Failed,
        _ => exit,
    }
}

/// Reads the configuration, and makes sure that what is to be written can be.
fn prepare(path: Option<&Path>, arguments: &RunArgs) -> Result<Config, Exit> {
    for file in [&arguments.report, &arguments.code_quality]
        .into_iter()
        .flatten()
    {
        let mut options = OpenOptions::new();
        let opened = options.create(true).write(true).truncate(false).open(file);
        if let Err(error) = opened {
            output::error(&format!("could not write {}: {error}", file.display()));
            return Err(Exit::Usage);
        }
    }
    let mut config = load(path, arguments.code_quality.as_deref())?;
    if let Err(error) = config.pick_jobs(&arguments.job) {
        output::error(&format!("--job: {error}"));
        return Err(Exit::Usage);
    }
    if arguments.missing {
        for job in &mut config.jobs {
            job.policy.missing_only = true;
        }
    }
    Ok(config)
}

/// Which tags have to be kept to the end.
fn kept(arguments: &RunArgs, mode: &Mode) -> Kept {
    let kept = match mode {
        Mode::Look { explain: true, .. } => Kept::ALL,
        _ => Kept::CHANGES,
    };
    match arguments.output {
        // They were told, and nobody asks for them again.
        OutputFormat::Jsonl if arguments.report.is_none() => Kept {
            changed: 0,
            failed: match ci::is_github() || arguments.code_quality.is_some() {
                true => KEPT,
                false => 0,
            },
            others: 0,
        },
        _ => kept,
    }
}

fn write_files(arguments: &RunArgs, report: &Report, config: &Config) -> Result<(), ()> {
    let place = |job: &str| config.places.get(job).copied();
    let document = || Line::Report(report.clone()).document();
    let quality = || code_quality(report, config.warnings.origin(), place);
    let mut result = Ok(());
    for (file, text) in [
        (&arguments.report, &document as &dyn Fn() -> String),
        (&arguments.code_quality, &quality),
    ] {
        let Some(file) = file else { continue };
        if let Err(error) = std::fs::write(file, text()) {
            output::error(&format!("could not write {}: {error}", file.display()));
            result = Err(());
        }
    }
    result
}

/// How to end. What failed counts more than what was not reached.
fn exit_of(summary: &Summary, cause: Option<Cause>, signal: Option<u8>, changes: bool) -> Exit {
    /// What a program ends with whose reader went away.
    const SIGPIPE: u8 = 13;
    let totals = &summary.totals;
    match cause {
        _ if signal.is_some() && summary.interrupted => Exit::Signal(signal.unwrap_or_default()),
        Some(Cause::Output) => Exit::Signal(SIGPIPE),
        _ if totals.failed > totals.limited => Exit::Failed,
        Some(Cause::MaxDuration) => Exit::Unfinished,
        _ if totals.limited > 0 => Exit::Unfinished,
        _ if changes && totals.copied + totals.pending > 0 => Exit::Changes,
        _ => Exit::Success,
    }
}
