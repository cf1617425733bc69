//! The command line: arguments, output, exit codes. One file for each command.

mod args;
mod auth;
mod board;
mod ci;
mod config;
mod ctl;
mod demo;
mod exit;
mod generate;
mod load;
mod output;
mod progress;
mod run;
mod serve;
mod server;
mod stop;
mod stream;
mod table;
mod terminal;
mod version;

use std::process::ExitCode;

use clap::FromArgMatches;

use args::{AuthCommand, Cli, Command, RegistryCommand};
use exit::Exit;

/// How many threads may wait for files, names and readers of lines. Each takes
/// memory for some seconds after.
const BLOCKING: usize = 64;

/// Runs the program with the arguments of this process.
pub fn run() -> ExitCode {
    // Answers `--help` and misuse itself, with exit code 2 for the latter.
    let matches = args::command()
        .color(terminal::colour_of_help())
        .get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    terminal::set_colour(cli.color);
    let colour = terminal::colour(&std::io::stderr());
    let out = || Box::new(terminal::Stderr) as _;
    crate::telemetry::init(cli.level(), cli.format(), colour, out);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(dispatch(&cli));
            // Whatever still blocks a thread must not hold up the end.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            output::error(&format!("could not start: {error}"));
            Exit::Failed
        }
    };
    match exit {
        Exit::Success | Exit::Changes if output::is_lost() => Exit::Failed,
        exit => exit,
    }
    .into()
}

async fn dispatch(cli: &Cli) -> Exit {
    match &cli.command {
        Command::Once(arguments) => run::once(cli, arguments).await,
        Command::Server(arguments) => server::run(cli, arguments).await,
        Command::Ctl(arguments) => ctl::run(arguments).await,
        Command::Healthcheck(arguments) => ctl::healthcheck(arguments).await,
        Command::Check(arguments) => run::check(cli, arguments).await,
        Command::Config(arguments) => config::run(cli.config.as_deref(), arguments),
        Command::Auth(AuthCommand::Check(arguments)) => auth::run(cli, arguments).await,
        Command::Demo => demo::run().await,
        Command::Registry(RegistryCommand::Serve(arguments)) => serve::run(arguments).await,
        Command::Completions(arguments) => generate::completions(arguments),
        Command::Man(arguments) => generate::man(arguments),
        Command::Version(arguments) => version::run(arguments),
    }
}
