//! Logs: to standard error, for people or as JSON.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

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
    /// Nothing.
    pub const OFF: Self = Self(LevelFilter::OFF);
}

/// As it is given.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
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

/// The log; there is one in a process.
static CONTROL: Mutex<Option<Control>> = Mutex::new(None);

/// How it looks, the level at hand, and how that is changed.
struct Control {
    format: Format,
    level: Level,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// How many events of each level were logged, the gravest first.
static LOGGED: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Begins to log to `out`, with colours if it may. Does nothing if logging has
/// begun.
pub fn init(level: Level, format: Format, colour: bool, out: Out) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let subscriber = tracing_subscriber::registry().with(filter).with(Count);
    let done = match format {
        Format::Json => {
            let lines = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_writer(move || JsonLines(out()));
            subscriber.with(lines).try_init()
        }
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
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(out)
                .with_target(false)
                .with_ansi(colour)
                .fmt_fields(fields.delimited(" "));
            subscriber.with(lines).try_init()
        }
    };
    if done.is_ok() {
        *CONTROL.lock().unwrap_or_else(PoisonError::into_inner) = Some(Control {
            format,
            level,
            handle,
        });
    }
}

fn filter(level: Level) -> EnvFilter {
    // What libraries log at debug level is about their insides, and may hold
    // headers with secrets.
    let others = level.0.min(LevelFilter::WARN);
    EnvFilter::new(format!("{others},regmirror={}", level.0))
}

/// How much is logged; `None` if logging has not begun.
pub fn level() -> Option<Level> {
    let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
    control.as_ref().map(|control| control.level)
}

/// Whether programs read the log, and find errors in it.
pub fn tells_programs() -> bool {
    let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
    control
        .as_ref()
        .is_some_and(|control| control.format == Format::Json && control.level != Level::OFF)
}

/// Logs so much from now on.
pub fn set_level(level: Level) {
    let mut control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
    // It fails only when there is no log any more.
    if let Some(control) = control.as_mut()
        && control.handle.reload(filter(level)).is_ok()
    {
        control.level = level;
    }
}

/// How many events were logged so far, by the names of their levels.
pub fn logged() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = LOGGED.iter().map(|count| count.load(Ordering::Relaxed));
    LEVELS.into_iter().zip(counts)
}

/// Counts what is logged.
struct Count;

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let place = match *event.metadata().level() {
            tracing::Level::ERROR => 0,
            tracing::Level::WARN => 1,
            tracing::Level::INFO => 2,
            tracing::Level::DEBUG => 3,
            tracing::Level::TRACE => 4,
        };
        LOGGED[place].fetch_add(1, Ordering::Relaxed);
    }
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

/// An event with the fields of the span that it is in beside its own: readers of
/// logs look for `run_id`, whoever knows it.
fn level_with_span(mut event: Map<String, Value>) -> Value {
    if let Some(Value::Object(span)) = event.remove("span") {
        for (name, value) in span.into_iter().filter(|(name, _)| name != "name") {
            event.entry(name).or_insert(value);
        }
    }
    Value::Object(event)
}

/// Writes events as JSON. Its strings may hold characters that JSON leaves
/// alone and a terminal does not.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    /// Takes whole events, as the subscriber hands them out.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = match serde_json::from_slice(event) {
            Ok(fields) => level_with_span(fields).to_string() + "\n",
            Err(_) => String::from_utf8_lossy(event).into_owned(),
        };
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
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

    #[test]
    fn the_fields_of_a_span_stand_beside_the_event_s() {
        let event =
            r#"{"message":"m","sync_job":"a","span":{"sync_job":"b","run_id":"r","name":"run"}}"#;
        let mut written = JsonLines(Vec::new());
        written.write_all(event.as_bytes()).unwrap();
        let read: Value = serde_json::from_slice(&written.0).unwrap();
        let wanted = serde_json::json!({"message": "m", "sync_job": "a", "run_id": "r"});
        assert_eq!(read, wanted);
    }
}
