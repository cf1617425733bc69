//! A run as people read it.

use std::fmt::Write as _;

use super::output::{bytes, plural};
use crate::app::Summary;
use crate::sync::{Cost, Outcome, RunReport, TagReport, Totals, Why};

/// How many tags that were copied or left are listed by name.
const LISTED: usize = 50;

/// How a run is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// Whether the run only looked.
    pub(super) check: bool,
    /// Whether to show nothing but what failed.
    pub(super) quiet: bool,
    /// Whether to use colours.
    pub(super) colour: bool,
    /// How many columns there are, if that is known.
    pub(super) width: Option<usize>,
}

/// What a run of all jobs did, or would do: a table, and then the tags that the
/// reports list.
pub(super) fn summary(summary: &Summary, look: Look) -> String {
    let mut text = String::new();
    if !look.quiet {
        text.push_str(&table(summary, look));
        if summary.runs.iter().any(|run| !run.tags.is_empty()) {
            text.push('\n');
        }
        tags(&mut text, summary, look);
    }
    for tag in all(summary) {
        if let Outcome::Failed { error, .. } = &tag.outcome {
            let _ = writeln!(
                text,
                "{}  {}: {error}",
                look.paint(RED, "FAILED"),
                tag.source
            );
        }
    }
    if !look.quiet {
        if look.check {
            cost(&mut text, &summary.totals);
        }
        if summary.interrupted {
            text.push_str(match look.check {
                true => "Interrupted: there is more that was not looked at.\n",
                false => "Interrupted: what is missing is left for the next run.\n",
            });
        }
    }
    text
}

fn all(summary: &Summary) -> impl Iterator<Item = &TagReport> {
    summary.runs.iter().flat_map(|run| &run.tags)
}

/// The tags, but for those that failed.
fn tags(text: &mut String, summary: &Summary, look: Look) {
    let mut copied = 0;
    for tag in all(summary) {
        let TagReport { source, target, .. } = tag;
        match &tag.outcome {
            Outcome::Copied { digest, why } => {
                copied += 1;
                if copied <= LISTED {
                    let word = look.paint(GREEN, "copied");
                    let short = digest.short();
                    let _ = writeln!(text, "{word}  {source} -> {target} {short}, {why}");
                }
            }
            Outcome::Pending { digest, why, cost } => {
                let word = match look.check {
                    true => look.paint(GREEN, "copy  "),
                    false => look.paint(YELLOW, "left  "),
                };
                let short = digest.short();
                let why = match why {
                    Why::Changed { .. } => format!("{why} to {short}"),
                    _ => format!("{short}, {why}"),
                };
                let _ = write!(text, "{word}  {source} -> {target} {why}");
                match cost {
                    _ if !look.check => {}
                    Cost { unread: 1.., .. } => text.push_str("; not looked into"),
                    Cost {
                        blobs, bytes: size, ..
                    } => {
                        let _ = write!(text, "; {}, {}", plural(*blobs, "blob"), bytes(*size));
                    }
                }
                text.push('\n');
            }
            Outcome::Unchanged { digest } => {
                let _ = writeln!(text, "keep    {source} {}", digest.short());
            }
            Outcome::Excluded(exclusion) => {
                let _ = writeln!(text, "skip    {source}: {exclusion}");
            }
            Outcome::Failed { .. } => {}
        }
    }
    if copied > LISTED {
        let more = plural((copied - LISTED) as u64, "more tag");
        let _ = writeln!(text, "copied  … and {more}");
    }
}

fn cost(text: &mut String, totals: &Totals) {
    let Cost {
        manifests,
        blobs,
        bytes: size,
        unread,
    } = totals.cost;
    if totals.pending == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "To copy: {}, with {} and {} of {} to send at most.",
        plural(totals.pending, "tag"),
        plural(manifests, "manifest"),
        plural(blobs, "blob"),
        bytes(size)
    );
    if unread > 0 {
        let _ = writeln!(
            text,
            "Not looked into: {}, since their registry counts that as pulls. --spend-pulls \
             looks into them.",
            plural(unread, "image")
        );
    }
}

fn table(summary: &Summary, look: Look) -> String {
    // What is left over is of interest only where something is.
    let left = !look.check && summary.totals.pending > 0;
    let header: &[&str] = match (look.check, left) {
        (true, _) => &[
            "job",
            "to copy",
            "unchanged",
            "excluded",
            "failed",
            "to send",
        ],
        (false, true) => &[
            "job",
            "copied",
            "left",
            "unchanged",
            "excluded",
            "failed",
            "sent",
        ],
        (false, false) => &["job", "copied", "unchanged", "excluded", "failed", "sent"],
    };
    let row = |name: &str, totals: &Totals| -> Vec<String> {
        let changed = match (look.check, left) {
            (true, _) => vec![totals.pending],
            (false, true) => vec![totals.copied, totals.pending],
            (false, false) => vec![totals.copied],
        };
        let others = [totals.unchanged, totals.excluded, totals.failed];
        let counts = changed.into_iter().chain(others);
        let size = match look.check {
            true => totals.cost.bytes,
            false => totals.bytes_sent,
        };
        std::iter::once(name.to_owned())
            .chain(counts.map(|count| count.to_string()))
            .chain([bytes(size)])
            .collect()
    };
    let mut rows: Vec<Vec<String>> = summary
        .runs
        .iter()
        .map(|RunReport { job, totals, .. }| row(job, totals))
        .collect();
    if summary.runs.len() > 1 {
        rows.push(row("all", &summary.totals));
    }
    columns(header, &rows, look.width)
}

/// Rows under a header, the first column to the left and the others to the right.
/// Where that is wider than the terminal, each row is a line of its own.
pub(super) fn columns(header: &[&str], rows: &[Vec<String>], available: Option<usize>) -> String {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(title.chars().count())
        })
        .collect();
    let needed = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    let mut text = String::new();
    if available.is_some_and(|available| needed > available) {
        for row in rows {
            let cells = header.iter().zip(row).skip(1);
            let cells: Vec<String> = cells
                .map(|(title, cell)| format!("{title} {cell}"))
                .collect();
            let _ = writeln!(text, "{}: {}", row[0], cells.join(", "));
        }
        return text;
    }
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

impl Look {
    fn paint(self, colour: u8, word: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[{colour}m{word}\u{1b}[0m"),
            false => word.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_wide_becomes_lines() {
        let rows = [["app", "1", "22"], ["a-long-name", "333", "4"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let header = ["job", "copied", "sent"];
        let wide = "job          copied  sent\n\
                    app               1    22\n\
                    a-long-name     333     4\n";
        assert_eq!(columns(&header, &rows, None), wide);
        assert_eq!(columns(&header, &rows, Some(25)), wide);
        let narrow = "app: copied 1, sent 22\na-long-name: copied 333, sent 4\n";
        for width in [24, 20, 1] {
            assert_eq!(columns(&header, &rows, Some(width)), narrow);
        }
    }
}
