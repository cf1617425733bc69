//! Reading the configuration for a command.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use super::exit::Exit;
use super::{ci, output, terminal};
use crate::app::{OpenStores, RetryPolicy};
use crate::config::{Config, ConfigError, Format};
use crate::telemetry;

/// Reads the configuration that the command line names, and tells what is wrong
/// or odd about it on standard error; in a CI system, also where that shows it,
/// and in the file `code_quality` if it cannot be used.
///
/// # Errors
///
/// How to end when there is none.
pub(super) fn load(path: Option<&Path>, code_quality: Option<&Path>) -> Result<Config, Exit> {
    match read(path)? {
        Ok(config) => {
            for warning in config.warnings.to_string().lines() {
                tracing::warn!("{warning}");
            }
            ci::show_findings(&config.warnings);
            Ok(config)
        }
        Err(ConfigError::Faulty(report)) => {
            match telemetry::tells_programs() {
                true => output::error(&report.to_string()),
                false => output::complain(&report.render(human(&std::io::stderr()))),
            }
            ci::show_findings(&report);
            if let Some(file) = code_quality
                && let Err(error) = std::fs::write(file, report.render(Format::Gitlab))
            {
                output::error(&format!("could not write {}: {error}", file.display()));
            }
            // The last line is what a pod's status shows.
            let count = output::plural(report.errors(), "error");
            output::error(&format!("{} cannot be used: {count}", report.origin()));
            Err(Exit::Config)
        }
        Err(error) => {
            output::error(&error.to_string());
            Err(Exit::Config)
        }
    }
}

/// Keeps the jobs that `--job` names.
///
/// # Errors
///
/// How to end when there are none of that name.
pub(super) fn pick(config: &mut Config, patterns: &[String]) -> Result<(), Exit> {
    config.pick_jobs(patterns).map_err(|error| {
        output::error(&format!("--job: {error}"));
        Exit::Usage
    })
}

/// Makes the stores of a configuration ready to be opened.
///
/// # Errors
///
/// How to end when docker's configuration is broken, or no client can be set up.
pub(super) fn open(config: &Config) -> Result<Arc<OpenStores>, Exit> {
    match OpenStores::new(config, RetryPolicy::default()) {
        Ok(stores) => Ok(Arc::new(stores)),
        Err(error) => {
            output::error(&error.to_string());
            Err(Exit::Config)
        }
    }
}

/// Reads the configuration that the command line names.
///
/// # Errors
///
/// When it names none.
pub(super) fn read(path: Option<&Path>) -> Result<Result<Config, ConfigError>, Exit> {
    let Some(path) = path else {
        output::error("no configuration: name one with -c FILE, or - for standard input");
        return Err(Exit::Usage);
    };
    Ok(match path.as_os_str() == "-" {
        true => Config::read_from(std::io::stdin(), "standard input"),
        false => Config::read(path),
    })
}

/// Findings for people who read `stream`.
pub(super) fn human(stream: &impl IsTerminal) -> Format {
    Format::Human {
        colour: terminal::colour(stream),
    }
}
