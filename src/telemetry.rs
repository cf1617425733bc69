//! Logs: to standard error, for people or as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::debug_fn;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Gives what events are written to, each in one piece.
pub type Out = fn() -> Box<dyn Write>;

/// Begins to log to `out`, with colours if it may. Does nothing if logging has
/// begun.
pub fn init(level: Level, format: Format, colour: bool, out: Out) {
    // What libraries log at debug level is about their insides, and may hold
    // headers with secrets.
    let others = level.0.min(LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},regmirror={}", level.0));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let done = match format {
        Format::Json => builder
            .with_writer(move || JsonLines(out()))
            .json()
            .flatten_event(true)
            .try_init(),
        Format::Text => {
            // Whatever is logged, and by whom: an event is one line, and looks
            // like what it is.
            let fields = debug_fn(|line, field, value| {
                let value = disarmed(&format!("{value:?}"));
                match field.name() {
                    "message" => line.write_str(&value),
                    name => write!(line, "{name}={value}"),
                }
            });
            builder
                .with_writer(out)
                .with_target(false)
                .with_ansi(colour)
                .fmt_fields(fields.delimited(" "))
                .try_init()
        }
    };
    drop(done);
}

/// Whether a character can end a line, colour it, or make it look like another
/// one: controls, and those that reorder text without being "control".
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// `text` with its deceiving characters escaped.
fn disarmed(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match deceives(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Writes events as JSON. Its strings may hold characters that JSON leaves
/// alone and a terminal does not.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    /// Takes whole events, as the subscriber hands them out.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut shown = String::with_capacity(event.len());
        for c in String::from_utf8_lossy(event).chars() {
            match deceives(c) && c != '\n' {
                // All of them are in the first plane, so this is one escape.
                true => drop(write!(shown, "\\u{:04x}", u32::from(c))),
                false => shown.push(c),
            }
        }
        self.0.write_all(shown.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j3_nothing_that_deceives_is_left_in_a_line() {
        let hostile = "a\nb\r\u{1b}[31m\u{9b}31m\u{7f}\u{202e}c\u{2066}\u{61c}ü";
        let text = disarmed(hostile);
        assert!(!text.chars().any(deceives), "{text}");
        assert!(
            text.starts_with("a\\nb\\r\\u{1b}[31m") && text.ends_with('ü'),
            "{text}"
        );

        let event = serde_json::json!({ "message": hostile }).to_string();
        let mut written = JsonLines(Vec::new());
        written.write_all(format!("{event}\n").as_bytes()).unwrap();
        let line = String::from_utf8(written.0).unwrap();
        let line = line.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(deceives), "{line}");
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(read["message"], hostile, "nothing is lost");
    }
}
