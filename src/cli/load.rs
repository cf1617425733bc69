//! Reading the configuration for a command.

use std::io::IsTerminal;
use std::path::Path;

use super::exit::Exit;
use super::output;
use crate::config::{Config, ConfigError, Format};

/// Reads the configuration that the command line names, and tells what is wrong
/// or odd about it on standard error.
///
/// # Errors
///
/// How to end when there is none.
pub(super) fn load(path: Option<&Path>) -> Result<Config, Exit> {
    let config = read(path)?;
    match config {
        Ok(config) => {
            for warning in config.warnings.to_string().lines() {
                tracing::warn!("{warning}");
            }
            Ok(config)
        }
        Err(ConfigError::Faulty(report)) => {
            output::complain(&report.render(human(&std::io::stderr())));
            Err(Exit::Config)
        }
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
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Format::Human {
        colour: stream.is_terminal() && !plain,
    }
}
