//! The arguments, as clap reads them.

mod config;
mod registry;
mod run;
mod server;

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(super) use config::{
    ConfigArgs, ConfigCommand, Convert, Origin, ReportFormat, SchemaOf, Validate,
};
pub(super) use registry::{RegistryCommand, Serve};
pub(super) use run::{Check, Once, OutputFormat, RunArgs};
pub(super) use server::{Ctl, CtlCommand, Healthcheck, Server};

use super::terminal::When;
use crate::telemetry::{Format, Level};

/// Keeps container-registry mirrors in step with their sources.
#[derive(Debug, Parser)]
#[command(name = "regmirror", version, propagate_version = true)]
pub(super) struct Cli {
    /// The configuration: a file, or - for standard input.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "REGMIRROR_CONFIG"
    )]
    pub(super) config: Option<PathBuf>,

    /// How much to log: trace, debug, info, warn, error or off [default: info].
    #[arg(
        short = 'v',
        long = "log-level",
        visible_alias = "verbosity",
        global = true,
        value_name = "LEVEL",
        env = "REGMIRROR_LOG_LEVEL"
    )]
    level: Option<Level>,

    /// How log lines look.
    #[arg(
        long = "log-format",
        global = true,
        value_enum,
        default_value = "auto",
        env = "REGMIRROR_LOG_FORMAT"
    )]
    format: LogFormat,

    /// regsync's way to ask for JSON logs.
    #[arg(
        long,
        global = true,
        value_name = "OPTION",
        value_parser = ["json"],
        hide = true,
        env = "REGMIRROR_LOGOPT"
    )]
    logopt: Vec<String>,

    /// Print nothing but what failed, and what was asked for as JSON.
    #[arg(short, long, global = true, env = "REGMIRROR_QUIET")]
    pub(super) quiet: bool,

    /// Whether to use colours.
    ///
    /// Left alone, NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE and CLICOLOR are asked
    /// in this order, and then whether it is a terminal.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        env = "REGMIRROR_COLOR"
    )]
    pub(super) color: When,

    /// Do not tell how far it is while it works.
    #[arg(long, global = true, env = "REGMIRROR_NO_PROGRESS")]
    no_progress: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// JSON in a Kubernetes pod, text elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The command line as clap knows it.
pub(super) fn command() -> clap::Command {
    switches(Cli::command())
}

/// Lets the variable of a switch say 0, false, no, off or nothing for "no", and
/// anything else for "yes".
fn switches(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => argument.value_parser(FalseyValueParser::new()),
            _ => argument,
        })
        .mut_subcommands(switches)
}

impl Cli {
    pub(super) fn level(&self) -> Level {
        self.level
            .unwrap_or(match self.quiet || self.command.tells_itself() {
                true => Level::WARN,
                false => Level::INFO,
            })
    }

    pub(super) fn format(&self) -> Format {
        match self.format {
            _ if !self.logopt.is_empty() => Format::Json,
            // Who runs those in a pod sits before them.
            LogFormat::Auto if self.command.tells_itself() => Format::Text,
            LogFormat::Auto if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
                Format::Json
            }
            LogFormat::Auto | LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }

    /// Whether to tell how far a run is.
    pub(super) fn progress(&self) -> bool {
        !self.quiet && !self.no_progress
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run jobs when they are due, until told to stop.
    Server(Server),
    /// Run every job once, and end.
    Once(Once),
    /// Tell what `once` would do, and what it would send; writes nothing.
    #[command(visible_alias = "plan")]
    Check(Check),
    /// Ask a running server how it is, or to do something.
    Ctl(Ctl),
    /// End with 0 if a server lives here, for containers.
    Healthcheck(Healthcheck),
    /// Show the configuration as it holds, or work on it.
    ///
    /// Alone, it prints the configuration with every default filled in and every
    /// secret hidden.
    #[command(args_conflicts_with_subcommands = true)]
    Config(ConfigArgs),
    /// Credentials.
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Show the main job at work between two embedded registries.
    Demo,
    /// The embedded registry.
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Print a shell's completions of this command line.
    Completions(Completions),
    /// Print the manual page.
    Man(Man),
    /// Print what this program is.
    Version(VersionArgs),
}

impl Command {
    /// Whether it tells people what it does by itself.
    fn tells_itself(&self) -> bool {
        matches!(self, Self::Demo | Self::Ctl(_) | Self::Healthcheck(_))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum AuthCommand {
    /// Tell of each registry whether it can be reached, who we are there, whether
    /// the jobs may read and write, and how many pulls are left.
    ///
    /// To see whether a job may write, an upload is begun and given up.
    Check(AuthCheck),
}

#[derive(Debug, Args)]
pub(super) struct AuthCheck {
    /// Only for the jobs whose names match.
    #[arg(long, value_name = "GLOB", env = "REGMIRROR_JOB")]
    pub(super) job: Vec<String>,

    /// How the answer is written.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        env = "REGMIRROR_OUTPUT"
    )]
    pub(super) output: TableOrJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TableOrJson {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// One JSON document.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum, env = "REGMIRROR_SHELL")]
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write a page for each command into this directory instead.
    #[arg(long, value_name = "DIR", env = "REGMIRROR_MAN_DIR")]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    /// How it is written.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        env = "REGMIRROR_OUTPUT"
    )]
    pub(super) output: TableOrJson,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_option_has_a_variable() {
        fn look(command: &clap::Command, without: &mut Vec<String>) {
            for argument in command.get_arguments() {
                let builtin = matches!(argument.get_id().as_str(), "help" | "version");
                if !builtin && !argument.is_positional() && argument.get_env().is_none() {
                    without.push(format!("{} {}", command.get_name(), argument.get_id()));
                }
            }
            for command in command.get_subcommands() {
                look(command, without);
            }
        }
        let mut without = Vec::new();
        look(&command(), &mut without);
        assert_eq!(without, Vec::<String>::new());
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in [
            "regmirror -c f.yml -v debug --logopt json once --missing",
            "regmirror once --missing -c f.yml --verbosity debug --logopt json",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.config.as_deref(), Some("f.yml".as_ref()), "{line}");
            assert_eq!(
                (cli.level(), cli.format()),
                ("debug".parse().unwrap(), Format::Json)
            );
            assert!(
                matches!(cli.command, Command::Once(once) if once.run.missing),
                "{line}"
            );
        }
    }
}
