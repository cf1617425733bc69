//! The command line: arguments, output, exit codes. One file for each command.

mod args;
mod config;
mod demo;
mod exit;
mod load;
mod once;
mod output;
mod serve;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, RegistryCommand};
use exit::Exit;

/// Runs the program with the arguments of this process.
pub fn run() -> ExitCode {
    // Answers `--help` and misuse itself, with exit code 2 for the latter.
    let cli = Cli::parse();
    crate::telemetry::init(cli.level(), cli.format());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(dispatch(cli));
            // Whatever still blocks a thread must not hold up the end.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            output::error(&format!("could not start: {error}"));
            Exit::Failed
        }
    };
    exit.into()
}

async fn dispatch(cli: Cli) -> Exit {
    match cli.command {
        Command::Once(arguments) => once::run(cli.config.as_deref(), &arguments).await,
        Command::Config(arguments) => config::run(cli.config.as_deref(), arguments),
        Command::Demo => demo::run().await,
        Command::Registry(RegistryCommand::Serve(arguments)) => serve::run(arguments).await,
    }
}
