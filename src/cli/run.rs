//! `regmirror once` and `regmirror check`: run every job a single time, or tell
//! what that would do.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::args::{Check, Cli, Once, OutputFormat, RunArgs};
use super::ci;
use super::exit::Exit;
use super::load::{load, open, pick};
use super::output;
use super::progress::Progress;
use super::stop::{Cause, Signals, Stop, StopOnError};
use super::stream::JsonLines;
use super::table::{self, Look};
use super::terminal;
use crate::app::{self, OpenStores, Summary};
use crate::config::Config;
use crate::report::{
    self, Command, Job, Line, Report, RunResult, SCHEMA_VERSION, Start, Warning, code_quality,
};
use crate::sync::{Audience, Kept, Watch};
use crate::telemetry::Level;

/// How many failures are kept for a CI system where they were told already.
const KEPT: usize = 1000;

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

    /// How long it may go on after a signal. What only looks can be dropped, but
    /// what it saw is of use.
    fn grace(&self) -> Duration {
        match self {
            Self::Copy { drain_timeout } => *drain_timeout,
            Self::Look { .. } => Duration::from_secs(1),
        }
    }
}

pub(super) async fn once(cli: &Cli, arguments: &Once) -> Exit {
    let mode = match arguments.dry_run {
        false => Mode::Copy {
            drain_timeout: arguments.drain.drain_timeout,
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
    let started = SystemTime::now();
    let ready = prepare(cli.config.as_deref(), arguments).and_then(|config| {
        let stores = open(&config)?;
        Ok((config, stores, Signals::watch()?))
    });
    let (config, stores, signals) = match ready {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let listeners = Listeners::new(cli, arguments, &signals.stop);
    listeners.line(|| {
        Line::Start(Start {
            schema_version: SCHEMA_VERSION,
            regmirror: env!("CARGO_PKG_VERSION").to_owned(),
            command: mode.command(),
            started: report::timestamp(started),
            jobs: config.jobs.len(),
        })
    });
    let audience = Audience {
        watch: listeners.watch(arguments.abort_on_error, &signals.stop),
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
    let ended = tokio::select! {
        biased;
        summary = work => Some(summary),
        () = signals.overdue(mode.grace()) => None,
        never = signals.stop.after(arguments.max_duration) => never,
        never = listeners.log() => never,
    };
    listeners.clear();
    let Some(summary) = ended else {
        if let Mode::Copy { .. } = mode {
            output::error(&format!(
                "what was under way did not end within {} s of the signal, and was dropped: \
                 the next run sends what is missing",
                mode.grace().as_secs_f64()
            ));
        }
        return Exit::Signal(signals.seen().unwrap_or_default());
    };
    let cause = signals.stop.cause().filter(|_| summary.interrupted);
    let exit = exit_of(&summary, cause, signals.seen(), arguments.exit_code);
    let report = Report {
        schema_version: SCHEMA_VERSION,
        regmirror: env!("CARGO_PKG_VERSION").to_owned(),
        command: mode.command(),
        started: report::timestamp(started),
        duration_ms: report::milliseconds(started.elapsed().unwrap_or_default()),
        result: RunResult::of(&summary.totals, summary.interrupted),
        stopped: cause.map(Into::into),
        exit_code: exit.code(),
        totals: summary.totals,
        jobs: summary.runs.iter().map(Job::from).collect(),
        warnings: warnings(&stores),
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
        OutputFormat::Jsonl => listeners.line(|| Line::Report(report.without_tags())),
    }
    match (written, exit) {
        (Err(()), Exit::Success | Exit::Changes) => Exit::Failed,
        _ => exit,
    }
}

/// What registries want people to be told, which they are here.
fn warnings(stores: &OpenStores) -> Vec<Warning> {
    let told = stores.warnings().into_iter().map(|(registry, text)| {
        tracing::warn!("{registry} warns: {text}");
        Warning { registry, text }
    });
    told.collect()
}

/// Who listens while a run is under way.
struct Listeners {
    progress: Option<Arc<Progress>>,
    lines: Option<Arc<JsonLines>>,
}

impl Listeners {
    fn new(cli: &Cli, arguments: &RunArgs, stop: &Stop) -> Self {
        let room_for_bars = cli.level() <= Level::INFO;
        let progress = cli.progress().then(|| Progress::new(room_for_bars));
        let lines = arguments.output == OutputFormat::Jsonl;
        Self {
            progress: progress.map(Arc::new),
            lines: lines.then(|| Arc::new(JsonLines::new(stop.clone()))),
        }
    }

    fn watch(&self, abort_on_error: bool, stop: &Stop) -> Arc<dyn Watch> {
        let mut all: Vec<Arc<dyn Watch>> = Vec::new();
        all.extend(self.lines.clone().map(|lines| lines as _));
        all.extend(self.progress.clone().map(|progress| progress as _));
        if abort_on_error {
            all.push(Arc::new(StopOnError(stop.clone())));
        }
        Arc::new(all)
    }

    /// Prints a line, where lines are wanted.
    fn line(&self, line: impl FnOnce() -> Line) {
        if let Some(lines) = &self.lines {
            lines.print(&line());
        }
    }

    /// Tells now and then how far it is. Never ends.
    async fn log<T>(&self) -> T {
        match &self.progress {
            Some(progress) => progress.log().await,
            None => std::future::pending().await,
        }
    }

    /// Takes away what tells how far it is.
    fn clear(&self) {
        if let Some(progress) = &self.progress {
            progress.clear();
        }
    }
}

/// Reads the configuration, and makes sure that what is to be written can be.
fn prepare(path: Option<&Path>, arguments: &RunArgs) -> Result<Config, Exit> {
    for file in [&arguments.report, &arguments.code_quality]
        .into_iter()
        .flatten()
    {
        if let Err(error) = try_to_write(file) {
            output::error(&format!("could not write {}: {error}", file.display()));
            return Err(Exit::Usage);
        }
    }
    let mut config = load(path, arguments.code_quality.as_deref())?;
    pick(&mut config, &arguments.job)?;
    if arguments.missing {
        for job in &mut config.jobs {
            job.policy.missing_only = true;
        }
    }
    Ok(config)
}

/// Finds out whether a file can be written, and leaves everything as it was.
fn try_to_write(file: &Path) -> std::io::Result<()> {
    let there = std::fs::exists(file)?;
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .truncate(false)
        .open(file)?;
    match there {
        true => Ok(()),
        false => std::fs::remove_file(file),
    }
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
        Some(Cause::Output) if output::is_lost() => Exit::Failed,
        Some(Cause::Output) => Exit::Signal(SIGPIPE),
        _ if totals.failed > totals.limited => Exit::Failed,
        Some(Cause::MaxDuration) => Exit::Unfinished,
        _ if totals.limited > 0 => Exit::Unfinished,
        _ if changes && totals.copied + totals.pending > 0 => Exit::Changes,
        _ => Exit::Success,
    }
}
