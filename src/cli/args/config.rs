//! The arguments of `regmirror config`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(in crate::cli) struct ConfigArgs {
    /// Print passwords, tokens and keys as they are in the file.
    #[arg(long, env = "REGMIRROR_SHOW_SECRETS")]
    pub(in crate::cli) show_secrets: bool,

    #[command(subcommand)]
    pub(in crate::cli) command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Tell all that is wrong with the configuration.
    ///
    /// Ends with 3 if it cannot be used or has a key that does not exist. Nothing
    /// is connected to.
    Validate(Validate),
    /// Print the JSON Schema of a configuration, for editors.
    Schema(Schema),
    /// Print what another tool's file comes to as a configuration.
    ///
    /// What has no counterpart is told on standard error.
    Convert(Convert),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Schema {
    /// What it is the schema of.
    #[arg(
        long,
        value_enum,
        default_value = "config",
        env = "REGMIRROR_SCHEMA_OF"
    )]
    pub(in crate::cli) of: SchemaOf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum SchemaOf {
    /// A configuration.
    Config,
    /// What is printed with -o json or jsonl, and written by --report.
    Report,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Validate {
    /// How the findings are written.
    #[arg(
        id = "report-format",
        long = "format",
        value_enum,
        default_value = "human",
        env = "REGMIRROR_FORMAT"
    )]
    pub(in crate::cli) format: ReportFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum ReportFormat {
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
pub(in crate::cli) struct Convert {
    /// Which tool's file it is.
    #[arg(long, value_enum, env = "REGMIRROR_FROM")]
    pub(in crate::cli) from: Origin,

    /// Where images go whose target the file does not name.
    #[arg(long, value_name = "HOST[/PATH]", env = "REGMIRROR_TARGET")]
    pub(in crate::cli) target: Option<String>,

    /// The file, or - for standard input.
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Origin {
    /// dregsy's YAML.
    Dregsy,
    /// image-syncer's YAML or JSON: the images, or images and auth in one file.
    ImageSyncer,
    /// The YAML of `skopeo sync --src yaml`.
    Skopeo,
}
