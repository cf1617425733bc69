//! `regmirror server`: run jobs when they are due, until told to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::args::{Cli, Server};
use super::exit::Exit;
use super::load::load;
use super::output;
use super::stop::Signals;
use crate::app::Mirror;
use crate::config::{Config, ConfigError};
use crate::daemon::{Command, Reloader, Supervisor, SystemClock};

/// What there is to say of a configuration without schedules.
const NO_SCHEDULE: &str = "no job has an `interval` or a `schedule`, so there is nothing to wait \
                           for: give `defaults` one, or run `regmirror once`";

pub(super) async fn run(cli: &Cli, arguments: &Server) -> Exit {
    match serve(cli.config.as_deref(), arguments).await {
        Ok(()) => Exit::Success,
        Err(exit) => exit,
    }
}

async fn serve(path: Option<&Path>, arguments: &Server) -> Result<(), Exit> {
    let told = |exit: Exit| {
        move |text: String| {
            output::error(&text);
            exit
        }
    };
    // Standard input cannot be read again.
    let file = path.filter(|path| path.as_os_str() != "-");
    // Before the file is read: a change in between is one that is seen.
    let reloader = file.map(Reloader::new);
    let config = load(path, None)?;
    if config.schedules.is_empty() {
        return Err(told(Exit::Config)(NO_SCHEDULE.to_owned()));
    }
    let hangups = signal(SignalKind::hangup());
    let hangups = hangups
        .map_err(|error| told(Exit::Failed)(format!("could not watch for signals: {error}")))?;
    let signals = Signals::watch()?;
    let mirror = Mirror::new(&config).map_err(|error| told(Exit::Config)(error.to_string()))?;
    let supervisor = Supervisor::new(&config, Arc::new(mirror), Arc::new(SystemClock));
    let (commands, receiver) = mpsc::channel(16);
    tracing::info!(
        jobs = config.jobs.len(),
        scheduled = config.schedules.len(),
        "serving"
    );
    let mut essential = JoinSet::new();
    essential.spawn(supervisor.run(receiver, signals.stop.token.clone()));
    let reloading = async {
        match reloader {
            Some(reloader) => reload(reloader, arguments.reload_interval, hangups, commands).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = essential.join_next() => match ended {
            Some(Ok(())) if signals.seen().is_some() => Ok(()),
            ended => {
                let why = match ended {
                    Some(Err(error)) => error.to_string(),
                    _ => "nobody told it to".to_owned(),
                };
                Err(told(Exit::Failed)(format!("the scheduler ended by a fault of our own: {why}")))
            }
        },
        () = signals.overdue(arguments.drain.drain_timeout) => {
            let seconds = arguments.drain.drain_timeout.as_secs_f64();
            tracing::warn!("what was under way did not end within {seconds} s, and was dropped: \
                            the next run sends what is missing");
            Ok(())
        }
        never = reloading => never,
    }
}

/// Has the configuration read again when it has changed, or a signal asks for it.
/// One that cannot be used is told, and changes nothing. Never ends.
async fn reload<T>(
    mut reloader: Reloader,
    interval: Duration,
    mut hangups: Signal,
    commands: mpsc::Sender<Command>,
) -> T {
    loop {
        let asked = match interval {
            Duration::ZERO => hangups.recv().await.is_some(),
            interval => tokio::select! {
                () = tokio::time::sleep(interval) => false,
                hangup = hangups.recv() => hangup.is_some(),
            },
        };
        let Some(read) = reloader.read(asked) else {
            continue;
        };
        match take(read, &commands).await {
            Ok((jobs, warnings)) => {
                for warning in warnings.lines() {
                    tracing::warn!("{warning}");
                }
                tracing::info!(jobs, "the configuration was read again");
            }
            Err(why) => {
                for line in why.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the configuration cannot be used; the one before stays");
            }
        }
    }
}

/// Goes on with a configuration that was read: how many jobs it has, and what is
/// odd about it.
async fn take(
    read: Result<Config, ConfigError>,
    commands: &mpsc::Sender<Command>,
) -> Result<(usize, String), String> {
    let config = read.map_err(|error| error.to_string())?;
    if config.schedules.is_empty() {
        return Err(NO_SCHEDULE.to_owned());
    }
    let told = (config.jobs.len(), config.warnings.to_string());
    let (sender, answer) = oneshot::channel();
    let gone = "the scheduler has ended";
    let sent = commands.send(Command::Reload(Box::new(config), sender));
    sent.await.map_err(|_| gone.to_owned())?;
    answer.await.map_err(|_| gone.to_owned())??;
    Ok(told)
}
