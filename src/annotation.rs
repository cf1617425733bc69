//! Findings in the forms that CI systems show beside a file's lines.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Something to be said of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The line and the column in it, from 1.
    pub place: Option<(usize, usize)>,
    /// The kind of finding.
    pub title: String,
    /// What there is to say.
    pub message: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is odd: it works, perhaps not as was meant.
    Warning,
    /// It does not work.
    Error,
}

impl Severity {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A workflow command, as a line.
///
/// Source: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>
pub fn github(annotation: &Annotation) -> String {
    let word = annotation.severity.name();
    let mut text = format!("::{word} file={}", property(&annotation.file));
    if let Some((line, column)) = annotation.place {
        let _ = write!(text, ",line={line},col={column}");
    }
    let _ = writeln!(
        text,
        ",title={}::{}",
        property(&annotation.title),
        data(&annotation.message)
    );
    text
}

/// A Code Quality report.
///
/// Source: <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>
pub fn gitlab(annotations: &[Annotation]) -> String {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let issues = annotations.iter().map(|annotation| {
        let Annotation {
            file,
            title,
            message,
            ..
        } = annotation;
        // The same after lines were put in before it.
        let identity = format!("{title}\0{message}");
        let count = seen.entry(identity.clone()).or_default();
        *count += 1;
        let hash = Sha256::digest(format!("{file}\0{identity}\0{count}"));
        let fingerprint = hash.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        json!({
            "description": message,
            "check_name": title,
            "fingerprint": fingerprint,
            "severity": match annotation.severity {
                Severity::Error => "blocker",
                Severity::Warning => "minor",
            },
            "location": {
                "path": file,
                "lines": {"begin": annotation.place.map_or(1, |(line, _)| line)},
            },
        })
    });
    format!("{:#}\n", Value::Array(issues.collect()))
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
