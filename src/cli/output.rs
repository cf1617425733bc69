//! What people read: results on standard output, errors on standard error.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::app::Summary;
use crate::sync::Outcome;

/// How many copied tags are listed by name.
const LISTED: u64 = 50;

/// Prints results. A reader that has gone away is no error.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints what went wrong, each line on its own.
pub(super) fn error(text: &str) {
    let mut err = std::io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(err, "regmirror: {line}");
    }
}

/// Prints a report of what went wrong as it is.
pub(super) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// What a run of all jobs did: a table, what was copied, what failed.
pub(super) fn summary(summary: &Summary) -> String {
    let mut text = table(summary);
    if summary.runs.iter().any(|run| !run.tags.is_empty()) {
        text.push('\n');
    }
    let tags = || summary.runs.iter().flat_map(|run| &run.tags);
    let mut copied = 0;
    for tag in tags() {
        let Outcome::Copied { digest, why } = &tag.outcome else {
            continue;
        };
        copied += 1;
        if copied <= LISTED {
            let short = digest.short();
            let _ = writeln!(
                text,
                "copied  {} -> {} {short}, {why}",
                tag.source, tag.target
            );
        }
    }
    if copied > LISTED {
        let _ = writeln!(
            text,
            "copied  … and {}",
            plural(copied - LISTED, "more tag")
        );
    }
    for tag in tags() {
        if let Outcome::Failed { error } = &tag.outcome {
            let _ = writeln!(text, "FAILED  {}: {error}", tag.source);
        }
    }
    if summary.interrupted {
        text.push_str("Interrupted: what is missing is left for the next run.\n");
    }
    text
}

fn table(summary: &Summary) -> String {
    let header = ["job", "copied", "unchanged", "excluded", "failed", "sent"].map(str::to_owned);
    let mut rows = vec![header];
    for run in &summary.runs {
        rows.push(row(&run.job, &run.totals));
    }
    if summary.runs.len() > 1 {
        rows.push(row("all", &summary.totals));
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(name: &str, totals: &crate::sync::Totals) -> [String; 6] {
    [
        name.to_owned(),
        totals.copied.to_string(),
        totals.unchanged.to_string(),
        totals.excluded.to_string(),
        totals.failed.to_string(),
        bytes(totals.bytes_sent),
    ]
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
