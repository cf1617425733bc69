//! Findings as people and their tools read them.

use std::fmt::{self, Write as _};
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use super::finding::{Finding, Severity};
use crate::annotation::{self, Annotation};

/// How many findings are shown to people.
const SHOWN: usize = 50;

/// How much of a line is shown, in bytes before and after what is wrong.
const CONTEXT: usize = 100;

/// What stands for a secret.
pub(super) const HIDDEN: char = '*';

/// What was found in a file, with the text around it. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    origin: String,
    /// The file, with `*` for each byte of a secret.
    text: String,
    /// Where its lines begin.
    lines: Vec<usize>,
    findings: Vec<Finding>,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// With the line and a mark under what is wrong.
    Human {
        /// Whether to use the colours of a terminal.
        colour: bool,
    },
    /// One JSON object.
    Json,
    /// Commands for a GitHub workflow, which shows them beside the line.
    Github,
    /// A GitLab Code Quality report.
    Gitlab,
}

/// A place as people count: from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    line: usize,
    column: usize,
}

impl Report {
    pub(super) fn new(
        origin: &str,
        text: &str,
        mut findings: Vec<Finding>,
        secrets: &[Range<usize>],
    ) -> Self {
        findings.sort_by_key(|finding| finding.place.as_ref().map_or(0, |place| place.start));
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            origin: origin.to_owned(),
            text: masked(text, secrets),
            lines: std::iter::once(0).chain(breaks).collect(),
            findings,
        }
    }

    /// What was found, in the order of the file.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many of them are errors.
    pub fn errors(&self) -> u64 {
        let errors = self.findings.iter();
        errors
            .filter(|finding| finding.severity == Severity::Error)
            .count() as u64
    }

    /// Adds what was found beside the text.
    pub(super) fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The file as messages name it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The findings as text that ends with a line break, if there are any.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Human { colour } => self.human(colour),
            Format::Json => self.json(),
            Format::Github => self.annotations().iter().map(annotation::github).collect(),
            Format::Gitlab => annotation::gitlab(&self.annotations()),
        }
    }

    fn human(&self, colour: bool) -> String {
        let renderer = match colour {
            true => Renderer::styled(),
            false => Renderer::plain(),
        }
        .decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for finding in self.findings.iter().take(SHOWN) {
            let level = match finding.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let title = match finding.at.as_str() {
                "" => finding.message.clone(),
                at => format!("{at}: {}", finding.message),
            };
            let mut group = level.primary_title(title).element(self.snippet(finding));
            if let Some(help) = &finding.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            text.push_str(&renderer.render(&[group]));
            text.push_str("\n\n");
        }
        if self.findings.len() > SHOWN {
            let more = self.findings.len() - SHOWN;
            let _ = writeln!(text, "… and {more} more");
        }
        text
    }

    /// The line that a finding is about. Only that is given away, for the width
    /// of lines is not bounded.
    fn snippet(&self, finding: &Finding) -> Element<'_> {
        let Some(place) = &finding.place else {
            return Origin::path(self.origin.as_str()).into();
        };
        let at = self.position(place.start);
        let line = self.line_around(place.start);
        let end = place.end.clamp(place.start, line.end);
        let from = floor(
            &self.text,
            place.start.saturating_sub(CONTEXT).max(line.start),
        );
        let to = floor(&self.text, (end + CONTEXT).min(line.end));
        if from > line.start || to < line.end {
            // Cut, it has no true columns.
            return Origin::path(self.origin.as_str())
                .line(at.line)
                .char_column(at.column)
                .into();
        }
        let span = place.start - line.start..end - line.start;
        Snippet::source(&self.text[line])
            .path(self.origin.as_str())
            .line_start(at.line)
            .annotation(AnnotationKind::Primary.span(span))
            .into()
    }

    fn json(&self) -> String {
        let count = |severity| {
            let found = self
                .findings
                .iter()
                .filter(|found| found.severity == severity);
            found.count()
        };
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|found| self.object(found))
            .collect();
        let report = json!({
            "file": self.origin,
            "errors": count(Severity::Error),
            "warnings": count(Severity::Warning),
            "findings": findings,
        });
        format!("{report:#}\n")
    }

    fn object(&self, finding: &Finding) -> Value {
        let place = finding.place.as_ref().map(|place| {
            let (start, end) = (self.position(place.start), self.position(place.end));
            json!({
                "line": start.line,
                "column": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            })
        });
        json!({
            "severity": finding.severity.name(),
            "check": finding.check.name(),
            "key": finding.at,
            "message": finding.message,
            "help": finding.help,
            "place": place,
        })
    }

    /// The findings as CI systems show them.
    pub fn annotations(&self) -> Vec<Annotation> {
        let annotation = |finding: &Finding| Annotation {
            severity: finding.severity,
            file: self.origin.clone(),
            place: finding.place.as_ref().map(|place| {
                let at = self.position(place.start);
                (at.line, at.column)
            }),
            title: finding.check.name().to_owned(),
            message: finding.to_string(),
        };
        self.findings.iter().map(annotation).collect()
    }

    /// The line and the column of a byte, from 1.
    pub(super) fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let at = self.position(byte);
        (at.line, at.column)
    }

    fn position(&self, byte: usize) -> Position {
        let byte = floor(&self.text, byte);
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        Position {
            line,
            column: self.text[start..byte.max(start)].chars().count() + 1,
        }
    }

    /// The line that holds `byte`, without its end.
    fn line_around(&self, byte: usize) -> Range<usize> {
        let byte = floor(&self.text, byte);
        let start = self.text[..byte].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[byte..]
            .find('\n')
            .map_or(self.text.len(), |at| byte + at);
        start..end
    }
}

/// A line each: `mirror.yml:3:5: sync[0].type: …`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, finding) in self.findings.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.origin)?;
            if let Some(place) = &finding.place {
                let at = self.position(place.start);
                write!(f, ":{}:{}", at.line, at.column)?;
            }
            write!(f, ": {finding}")?;
        }
        Ok(())
    }
}

/// The beginning of the character that `byte` is in.
fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// `text` with nothing readable in the bytes `secrets`. Lines stay lines.
fn masked(text: &str, secrets: &[Range<usize>]) -> String {
    if secrets.is_empty() {
        return text.to_owned();
    }
    let mut secrets = secrets.to_vec();
    secrets.sort_by_key(|secret| secret.start);
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for secret in secrets {
        let start = floor(text, secret.start.max(done));
        let end = floor(text, secret.end.max(start));
        masked.push_str(&text[done..start]);
        for byte in text[start..end].bytes() {
            // As many bytes as there were, so that places stay true.
            masked.push(if byte == b'\n' { '\n' } else { HIDDEN });
        }
        done = end;
    }
    masked.push_str(&text[done..]);
    masked
}

/// What is written before a secret.
const SUSPECTS: [&str; 3] = ["pass", "token", "clientkey"];

/// The bytes of comments that may hold secrets which somebody took out of use.
pub(super) fn commented(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let begins = |(hash, _): &(usize, &str)| *hash == 0 || line[..*hash].ends_with([' ', '\t']);
        if let Some((hash, _)) = line.match_indices('#').find(begins) {
            let comment = line[hash..].to_lowercase();
            if SUSPECTS.iter().any(|word| comment.contains(word)) {
                found.push(at + hash..at + line.trim_end_matches(['\n', '\r']).len());
            }
        }
        at += line.len();
    }
    found
}

/// The bytes of `text` that look like secrets, for a text that is no YAML: what
/// follows the key of one, to the end of the line and of all that is indented
/// deeper.
pub(super) fn suspected(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    // The indentation of the key whose value is being read.
    let mut within: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start_matches([' ', '\t', '-']).len();
        let end = at + line.trim_end_matches(['\n', '\r']).len();
        if within.is_some_and(|outer| indentation > outer || line.trim().is_empty()) {
            found.push(at..end);
        } else {
            let lower = line.to_lowercase();
            let keys = SUSPECTS.iter().filter_map(|key| lower.find(key));
            within = keys.min().map(|key| {
                let value = line[floor(line, key)..]
                    .find(':')
                    .map_or(key, |colon| key + colon + 1);
                found.push(floor(text, at + value)..end);
                indentation
            });
        }
        at += line.len();
    }
    found
}
