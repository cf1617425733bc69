//! Logs: to standard error, for people or as JSON.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl Level {
    /// What is done, in a few lines.
    pub const INFO: Self = Self(LevelFilter::INFO);
    /// What a person should look at.
    pub const WARN: Self = Self(LevelFilter::WARN);
}

/// Text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected trace, debug, info, warn, error or off")]
pub struct LevelError;

impl FromStr for Level {
    type Err = LevelError;

    /// Takes regsync's names too.
    fn from_str(text: &str) -> Result<Self, LevelError> {
        let level = match text.to_ascii_lowercase().as_str() {
            "trace" => LevelFilter::TRACE,
            "debug" => LevelFilter::DEBUG,
            "info" => LevelFilter::INFO,
            "warn" | "warning" => LevelFilter::WARN,
            "error" | "fatal" | "panic" => LevelFilter::ERROR,
            "off" => LevelFilter::OFF,
            _ => return Err(LevelError),
        };
        Ok(Self(level))
    }
}

/// Begins logging. Does nothing if logging has begun.
pub fn init(level: Level, format: Format) {
    // What libraries log at debug level is about their insides, and may hold
    // headers with secrets.
    let others = level.0.min(LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},regmirror={}", level.0));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let colour = !plain && std::io::stderr().is_terminal();
            builder.with_target(false).with_ansi(colour).try_init()
        }
    };
    drop(done);
}
