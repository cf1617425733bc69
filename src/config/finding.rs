//! What is found amiss in a configuration.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

pub use crate::annotation::Severity;

/// Which check found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The text is YAML, within bounds.
    Syntax,
    /// A key stands once in a map.
    DuplicateKey,
    /// The language has such a key.
    UnknownKey,
    /// A value has the form that its key wants: text, a flag, a list.
    Form,
    /// A value makes sense.
    Value,
    /// A value has an effect.
    Unused,
    /// The language will not have it for ever.
    Deprecated,
    /// A secret is where others can read it.
    Exposure,
}

impl Check {
    /// Its name in machine-readable reports: `config/unknown-key`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "config/syntax",
            Self::DuplicateKey => "config/duplicate-key",
            Self::UnknownKey => "config/unknown-key",
            Self::Form => "config/form",
            Self::Value => "config/value",
            Self::Unused => "config/unused",
            Self::Deprecated => "config/deprecated",
            Self::Exposure => "config/exposure",
        }
    }
}

/// One thing that is amiss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was checked.
    pub check: Check,
    /// The key, `sync[2].tags.allow`; empty for the whole file.
    pub at: String,
    /// What is wrong, in one line and without secrets.
    pub message: String,
    /// What to do, when the message does not say.
    pub help: Option<String>,
    /// The bytes of the file that it is about.
    pub place: Option<Range<usize>>,
    /// The template that it is about, and the byte of it.
    pub(super) within: Option<(String, usize)>,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        check: Check,
        at: impl Into<String>,
        message: impl fmt::Display,
    ) -> Self {
        let message = message.to_string();
        Self {
            severity,
            check,
            at: at.into(),
            // Some messages hold what others said.
            message: message.split_whitespace().collect::<Vec<_>>().join(" "),
            help: None,
            place: None,
            within: None,
        }
    }

    pub(super) fn error(check: Check, at: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::new(Severity::Error, check, at, message)
    }

    pub(super) fn warning(check: Check, at: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::new(Severity::Warning, check, at, message)
    }

    pub(super) fn placed(self, place: Range<usize>) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    errors: usize,
    /// The keys that something was found at.
    keys: HashSet<String>,
    /// Those that could not be read in the first place.
    unread: Rc<HashSet<String>>,
}

impl Findings {
    /// What was found when the file was read.
    pub(super) fn of(read: Vec<Finding>) -> Self {
        let keys = read.iter().map(|finding| finding.at.clone());
        let mut findings = Self {
            unread: Rc::new(keys.collect()),
            ..Self::default()
        };
        findings.extend(read);
        findings
    }

    /// None so far, of a part of the same file.
    pub(super) fn of_part(&self) -> Self {
        Self {
            unread: Rc::clone(&self.unread),
            ..Self::default()
        }
    }

    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = Finding>) {
        more.into_iter().for_each(|finding| self.push(finding));
    }

    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }

    fn push(&mut self, finding: Finding) {
        self.errors += usize::from(finding.severity == Severity::Error);
        self.keys.insert(finding.at.clone());
        self.list.push(finding);
    }

    /// Notes a value that cannot be used.
    pub(super) fn add(&mut self, at: impl Into<String>, message: impl fmt::Display) {
        self.push(Finding::error(Check::Value, at, message));
    }

    /// Notes a template that does not work, and the byte of it where it fails.
    pub(super) fn add_within(
        &mut self,
        at: &str,
        template: &str,
        offset: usize,
        message: impl fmt::Display,
    ) {
        self.push(Finding {
            within: Some((template.to_owned(), offset)),
            ..Finding::error(Check::Value, at, message)
        });
    }

    /// Notes a value that has no effect.
    pub(super) fn warn(&mut self, at: impl Into<String>, message: impl fmt::Display) {
        self.push(Finding::warning(Check::Unused, at, message));
    }

    /// Notes a value that may do what was not meant.
    pub(super) fn caution(&mut self, at: impl Into<String>, message: impl fmt::Display) {
        self.push(Finding::warning(Check::Value, at, message));
    }

    /// Notes something whose time is over.
    pub(super) fn deprecated(&mut self, at: impl Into<String>, message: impl fmt::Display) {
        self.push(Finding::warning(Check::Deprecated, at, message));
    }

    /// Keeps a value, or notes why there is none.
    pub(super) fn keep<T, E: fmt::Display>(&mut self, at: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(at, error)).ok()
    }

    /// Notes that a key is missing, unless it is there and cannot be read.
    pub(super) fn missing(&mut self, at: &str, expected: &str) {
        if !self.keys.contains(at) && !self.unread.contains(at) {
            self.add(at, format!("missing{expected}"));
        }
    }

    /// How many errors there are.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }
}
