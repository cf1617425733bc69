//! What people read: results on standard output, errors on standard error.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use super::terminal::undisturbed;
use crate::telemetry;

/// Whether results could not be printed, though somebody wanted them.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints results. A reader that has gone away is no error; a full disk is, and
/// is told.
pub(super) fn print(text: &str) {
    // What the reader does not want any more cannot be helped.
    let _: bool = try_print(text);
}

/// Prints results. Returns whether more may follow.
pub(super) fn try_print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    let printed = undisturbed(|| out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    match printed {
        Ok(()) => true,
        Err(failed) => {
            if failed.kind() != ErrorKind::BrokenPipe {
                LOST.store(true, Ordering::Relaxed);
                error(&format!("could not write to standard output: {failed}"));
            }
            false
        }
    }
}

/// Whether results were lost that somebody wanted.
pub(super) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Tells what went wrong, each line on its own: in the log where programs read it,
/// who would take any other line for a broken one.
pub(super) fn error(text: &str) {
    let logged = telemetry::tells_programs();
    for line in text.lines() {
        match logged {
            true => tracing::error!("{line}"),
            false => complain(&format!("regmirror: {line}\n")),
        }
    }
}

/// Prints to standard error as it is.
pub(super) fn complain(text: &str) {
    let _ = undisturbed(|| std::io::stderr().lock().write_all(text.as_bytes()));
}

/// A count of bytes for people: `1.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `1 tag`, `2 tags`, `3 repositories`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn nouns_agree() {
        assert_eq!(plural(1, "tag"), "1 tag");
        assert_eq!(plural(0, "blob"), "0 blobs");
        assert_eq!(plural(3, "repository"), "3 repositories");
    }
}
