//! `regmirror server`: run jobs when they are due, until told to stop.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::args::{Cli, Server};
use super::exit::Exit;
use super::load::load;
use super::output;
use super::stop::{Cause, Signals, StopOnError};
use super::version::version;
use crate::app::Mirror;
use crate::config::Config;
use crate::daemon::admin::{Access, Admin, serve};
use crate::daemon::{Asked, Board, Keeper, NO_SCHEDULE, Reloader, Supervisor, SystemClock};
use crate::sync::Watch;
use crate::telemetry::metrics::{BuildInfo, Metrics};

/// The first port that every user may listen on, where nobody changed that.
const UNPRIVILEGED: u16 = 1024;

pub(super) async fn run(cli: &Cli, arguments: &Server) -> Exit {
    match start(cli.config.as_deref(), arguments).await {
        Ok(daemon) => daemon.run(arguments).await,
        Err(exit) => exit,
    }
}

/// Tells why it does not start, and gives how to end.
fn refused(exit: Exit, why: impl std::fmt::Display) -> Exit {
    output::error(&why.to_string());
    exit
}

/// All that a daemon consists of.
struct Daemon {
    signals: Signals,
    hangups: Signal,
    board: Arc<Board>,
    supervisor: Supervisor,
    admin: Admin,
    listener: TcpListener,
    keeper: Option<Keeper>,
    commands: Commands,
    reloads: Option<(Reloader, mpsc::Sender<Asked>, mpsc::Receiver<Asked>)>,
    /// Cancelled when runs have ended, and all else is to end.
    closing: CancellationToken,
}

/// Both ends of what the supervisor is told.
type Commands = (
    mpsc::Sender<crate::daemon::Command>,
    mpsc::Receiver<crate::daemon::Command>,
);

/// Makes everything that can fail to be made.
async fn start(path: Option<&Path>, arguments: &Server) -> Result<Daemon, Exit> {
    // Standard input cannot be read again.
    let file = path.filter(|path| path.as_os_str() != "-");
    // Before the file is read: a change in between is one that is seen.
    let reloader = file.map(Reloader::new);
    let config = load(path, None)?;
    if config.schedules.is_empty() {
        return Err(refused(Exit::Config, NO_SCHEDULE));
    }
    let access = Access::new(
        arguments.admin_token_file.clone(),
        arguments.http_host.clone(),
    );
    let access = access.map_err(|error| refused(Exit::Config, error))?;
    let hangups = signal(SignalKind::hangup()).map_err(|error| {
        let text = format!("could not watch for signals: {error}");
        refused(Exit::Failed, text)
    })?;
    let signals = Signals::watch()?;
    let address = arguments.http.http_addr;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied if address.port() < UNPRIVILEGED => {
                "ports below 1024 are not for every user: choose a higher one with --http-addr"
            }
            _ => "see --http-addr",
        };
        let text = format!("could not listen on {address}: {error} ({hint})");
        refused(Exit::Failed, text)
    })?;
    let version = version();
    let metrics = Arc::new(Metrics::new(&BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("REGMIRROR_REVISION"),
        rustc_version: env!("REGMIRROR_RUSTC"),
    }));
    let clock = Arc::new(SystemClock);
    let board = Arc::new(Board::new(Arc::clone(&metrics), Arc::clone(&clock) as _));
    let keeper = arguments.state_dir.as_deref();
    let keeper = keeper
        .map(|folder| Keeper::open(folder, &board))
        .transpose();
    let keeper = keeper.map_err(|error| refused(Exit::Failed, error))?;
    let mut watches = vec![Arc::clone(&board) as Arc<dyn Watch>];
    if arguments.abort_on_error {
        watches.push(Arc::new(StopOnError(signals.stop.clone())));
    }
    let mirror = Mirror::new(&config, Arc::new(watches), metrics);
    let mirror = Arc::new(mirror.map_err(|error| refused(Exit::Config, error))?);
    let supervisor = Supervisor::new(&config, Arc::clone(&mirror) as _, Arc::clone(&board), clock);
    let commands = mpsc::channel(16);
    let reloads = reloader.map(|reloader| {
        let (sender, receiver) = mpsc::channel(1);
        (reloader, sender, receiver)
    });
    let closing = CancellationToken::new();
    let admin = Admin::new(
        Arc::clone(&board),
        mirror,
        commands.0.clone(),
        reloads.as_ref().map(|(_, sender, _)| sender.clone()),
        access,
        version,
        closing.clone(),
    );
    announce(&config, &listener);
    Ok(Daemon {
        signals,
        hangups,
        board,
        supervisor,
        admin,
        listener,
        keeper,
        commands,
        reloads,
        closing,
    })
}

fn announce(config: &Config, listener: &TcpListener) {
    tracing::info!(
        jobs = config.jobs.len(),
        scheduled = config.schedules.len(),
        http = listener.local_addr().ok().map(tracing::field::display),
        "serving"
    );
}

impl Daemon {
    async fn run(self, arguments: &Server) -> Exit {
        let Self {
            signals,
            hangups,
            board,
            supervisor,
            admin,
            listener,
            keeper,
            commands: (commands, receiver),
            reloads,
            closing,
        } = self;
        let mut scheduler = JoinSet::new();
        scheduler.spawn(supervisor.run(receiver, signals.stop.token.clone()));
        let mut others = JoinSet::new();
        others.spawn(serve(listener, admin.router(), closing.clone()));
        if let Some(keeper) = keeper {
            others.spawn(keeper.run(Arc::clone(&board), closing.clone()));
        }
        let reloading = async {
            match reloads {
                Some((reloader, sender, receiver)) => {
                    let interval = arguments.reload_interval;
                    let reading = reloader.run(interval, receiver, commands, &board);
                    tokio::select! {
                        never = reading => never,
                        never = forward(hangups, sender) => never,
                    }
                }
                None => std::future::pending().await,
            }
        };
        let exit = tokio::select! {
            biased;
            ended = scheduler.join_next() => match ended {
                Some(Ok(())) if signals.seen().is_some() => Exit::Success,
                Some(Ok(())) if signals.stop.cause() == Some(Cause::Error) => Exit::Failed,
                ended => lost("the scheduler", ended),
            },
            ended = others.join_next() => lost("what serves and keeps", ended),
            () = signals.overdue(arguments.drain.drain_timeout) => {
                let seconds = arguments.drain.drain_timeout.as_secs_f64();
                tracing::warn!("what was under way did not end within {seconds} s, and was dropped: \
                                the next run sends what is missing");
                Exit::Success
            }
            never = reloading => never,
        };
        scheduler.shutdown().await;
        closing.cancel();
        while others.join_next().await.is_some() {}
        exit
    }
}

/// What ends is not to end.
fn lost(what: &str, ended: Option<Result<(), tokio::task::JoinError>>) -> Exit {
    let why = match ended {
        Some(Err(error)) => error.to_string(),
        _ => "nobody told it to".to_owned(),
    };
    let text = format!("{what} ended by a fault of our own: {why}");
    refused(Exit::Failed, text)
}

/// Has the configuration read again when a signal asks for it. Never ends.
async fn forward<T>(mut hangups: Signal, reloads: mpsc::Sender<Asked>) -> T {
    while hangups.recv().await.is_some() {
        // The log tells what came of it.
        let (sender, _) = oneshot::channel();
        let _ = reloads.send(sender).await;
    }
    std::future::pending().await
}
