//! What a CI system shows of a run.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::output;
use crate::annotation;
use crate::config::{self, Config};
use crate::report::{self, Report};

/// Whether this is a step of a GitHub workflow.
pub(super) fn is_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// In a GitHub workflow, shows a run in the step's summary, and what failed
/// beside the lines of its jobs.
pub(super) fn show(report: &Report, config: &Config) {
    if !is_github() {
        return;
    }
    let place = |job: &str| config.places.get(job).copied();
    for annotation in report::annotations(report, config.warnings.origin(), place) {
        // The workflow's runner reads both streams, and results are on the other.
        output::complain(&annotation::github(&annotation));
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        let text = report::step_summary(report);
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(
                "could not write the step's summary to {}: {error}",
                path.display()
            );
        }
    }
}

/// In a GitHub workflow, shows what is wrong with a configuration beside its
/// lines.
pub(super) fn show_findings(findings: &config::Report) {
    if is_github() {
        output::complain(&findings.render(config::Format::Github));
    }
}
