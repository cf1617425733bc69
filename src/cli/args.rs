//! The arguments, as clap reads them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::Content;
use crate::schedule::duration;
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
        default_value = "text",
        env = "REGMIRROR_LOG_FORMAT"
    )]
    format: LogFormat,

    /// regsync's way to ask for JSON logs.
    #[arg(long, global = true, value_name = "OPTION", value_parser = ["json"], hide = true)]
    logopt: Vec<String>,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Cli {
    pub(super) fn level(&self) -> Level {
        self.level.unwrap_or(match self.command {
            // It tells what it does itself.
            Command::Demo => Level::WARN,
            Command::Once(_) | Command::Config(_) | Command::Registry(_) => Level::INFO,
        })
    }

    pub(super) fn format(&self) -> Format {
        match self.format {
            LogFormat::Text if self.logopt.is_empty() => Format::Text,
            LogFormat::Text | LogFormat::Json => Format::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run every job once, and end.
    Once(Once),
    /// Show the configuration as it holds, or work on it.
    ///
    /// Alone, it prints the configuration with every default filled in and every
    /// secret hidden.
    #[command(args_conflicts_with_subcommands = true)]
    Config(ConfigArgs),
    /// Show the main job at work between two embedded registries.
    Demo,
    /// The embedded registry.
    #[command(subcommand)]
    Registry(RegistryCommand),
}

#[derive(Debug, Args)]
pub(super) struct Once {
    /// Copy only tags that the target does not have.
    #[arg(long, env = "REGMIRROR_MISSING")]
    pub(super) missing: bool,

    /// How long copies under way may go on after SIGINT or SIGTERM. What is
    /// not done by then is left for the next run.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "100s",
        value_parser = duration::parse,
        env = "REGMIRROR_DRAIN_TIMEOUT"
    )]
    pub(super) drain_timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    pub(super) command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell all that is wrong with the configuration.
    ///
    /// Ends with 3 if it cannot be used or has a key that does not exist. Nothing
    /// is connected to.
    Validate(Validate),
    /// Print the JSON Schema of a configuration, for editors.
    Schema,
    /// Print what another tool's file comes to as a configuration.
    ///
    /// What has no counterpart is told on standard error.
    Convert(Convert),
}

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// How the findings are written.
    #[arg(
        id = "report-format",
        long = "format",
        value_enum,
        default_value = "human",
        env = "REGMIRROR_FORMAT"
    )]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people: each with its line and a mark under it.
    Human,
    /// One JSON object.
    Json,
    /// Commands for a GitHub workflow.
    Github,
    /// A GitLab Code Quality report.
    Gitlab,
}

#[derive(Debug, Args)]
pub(super) struct Convert {
    /// Which tool's file it is.
    #[arg(long, value_enum)]
    pub(super) from: Origin,

    /// Where images go whose target the file does not name.
    #[arg(long, value_name = "HOST[/PATH]")]
    pub(super) target: Option<String>,

    /// The file, or - for standard input.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Origin {
    /// dregsy's YAML.
    Dregsy,
    /// image-syncer's YAML or JSON: the images, or images and auth in one file.
    ImageSyncer,
    /// The YAML of `skopeo sync --src yaml`.
    Skopeo,
}

#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Serve images over the distribution-spec API, until interrupted.
    ///
    /// It knows no users: whoever reaches it may push, unless it is read-only.
    Serve(Serve),
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    content: ContentArgs,

    /// Where to listen.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000",
        env = "REGMIRROR_LISTEN"
    )]
    pub(super) listen: SocketAddr,

    /// Refuse every push and deletion.
    #[arg(long, env = "REGMIRROR_READ_ONLY")]
    pub(super) read_only: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ContentArgs {
    /// Serve the OCI image layouts in a directory, one for each repository.
    #[arg(long, value_name = "DIR", env = "REGMIRROR_DIR")]
    dir: Option<PathBuf>,

    /// Keep what is pushed in memory, until the end.
    #[arg(long)]
    memory: bool,
}

impl Serve {
    pub(super) fn content(&self) -> Content {
        match &self.content.dir {
            Some(dir) => Content::Directory(dir.clone()),
            None => Content::Memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
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
                matches!(cli.command, Command::Once(Once { missing: true, .. })),
                "{line}"
            );
        }
    }
}
