//! A run in GitLab: a Code Quality report of what failed.

use super::{Report, TagResult};
use crate::annotation::{self, Annotation, Severity};

/// What failed, as a Code Quality report about the lines of the jobs in `file`;
/// `place` knows them.
pub fn code_quality(
    report: &Report,
    file: &str,
    place: impl Fn(&str) -> Option<(usize, usize)>,
) -> String {
    annotation::gitlab(&failures(report, file, place))
}

/// What failed, each beside the line of its job.
pub(super) fn failures(
    report: &Report,
    file: &str,
    place: impl Fn(&str) -> Option<(usize, usize)>,
) -> Vec<Annotation> {
    let tags = report.jobs.iter().flat_map(|job| &job.tags);
    tags.filter(|tag| tag.result == TagResult::Failed)
        .map(|tag| Annotation {
            severity: Severity::Error,
            file: file.to_owned(),
            place: place(&tag.sync_job),
            title: "sync/failed".to_owned(),
            message: format!(
                "{}: {}",
                tag.source,
                tag.detail.as_deref().unwrap_or_default()
            ),
        })
        .collect()
}
