//! A run in GitHub Actions: a table in the step's summary, and annotations.

use std::fmt::Write as _;

use super::{Report, Tag, TagResult};
use crate::annotation::{Annotation, Severity};

/// How many tags the summary lists. GitHub refuses more than 1 MiB of it.
const LISTED: usize = 200;

/// How much of an error is shown, in characters.
const SHOWN: usize = 1000;

/// How many annotations are given: GitHub shows ten of each kind for a step.
const ANNOTATIONS: usize = 10;

/// A run as Markdown.
pub fn step_summary(report: &Report) -> String {
    let mut text = String::from("### regmirror\n\n");
    text.push_str("| job | copied | pending | unchanged | excluded | failed |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|\n");
    for job in &report.jobs {
        let totals = &job.totals;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            cell(&job.sync_job),
            totals.copied,
            totals.pending,
            totals.unchanged,
            totals.excluded,
            totals.failed
        );
    }
    let tags = || report.jobs.iter().flat_map(|job| &job.tags);
    for (result, title) in [
        (TagResult::Failed, "Failed"),
        (TagResult::Copied, "Copied"),
        (TagResult::Pending, "To be copied"),
    ] {
        let of_it: Vec<&Tag> = tags().filter(|tag| tag.result == result).collect();
        if of_it.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n**{title}**\n\n| image | |\n|---|---|");
        for tag in of_it.iter().take(LISTED) {
            let detail = tag.detail.as_deref().unwrap_or_default();
            let _ = writeln!(text, "| {} | {} |", cell(&tag.source), cell(detail));
        }
        if of_it.len() > LISTED {
            let _ = writeln!(text, "\n… and {} more", of_it.len() - LISTED);
        }
    }
    for warning in &report.warnings {
        let _ = writeln!(
            text,
            "\n{} warns: {}",
            cell(&warning.registry),
            cell(&warning.text)
        );
    }
    text
}

/// Text that stays what it is in a cell of a table. What registries say must not
/// become a link or an image.
fn cell(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '!' | '\\' | '#' | '@' | '~' => {
                let _ = write!(shown, "&#{};", u32::from(c));
            }
            c if c.is_control() => shown.push(' '),
            c => shown.push(c),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// What failed, beside the lines of the jobs in `file`; `place` knows them.
pub fn annotations(
    report: &Report,
    file: &str,
    place: impl Fn(&str) -> Option<(usize, usize)>,
) -> Vec<Annotation> {
    let failed = super::gitlab::failures(report, file, place);
    let more = failed.len().saturating_sub(ANNOTATIONS);
    let mut shown: Vec<Annotation> = failed.into_iter().take(ANNOTATIONS).collect();
    if more > 0
        && let Some(last) = shown.last_mut()
    {
        *last = Annotation {
            severity: Severity::Error,
            file: file.to_owned(),
            place: None,
            title: "sync/failed".to_owned(),
            message: format!("{} more tags failed: see the log", more + 1),
        };
    }
    shown
}
