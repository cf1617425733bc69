//! Templates: the part of Go's `text/template` that regsync's files use.
//!
//! What `env` and `file` give is a secret, and so is whatever is made of it or
//! decided by it: [`Rendered::secret`] says so.

mod eval;
mod functions;
mod lexer;
mod parser;
mod print;
mod time;
mod value;

use std::fmt;

use chrono::{DateTime, FixedOffset, Local};

pub use value::Value;

use parser::Node;

/// How long a template may be, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// How many bytes of a file are read.
const MAX_FILE: u64 = 1 << 20;

/// A template that has been parsed.
#[derive(Clone)]
pub struct Template {
    text: String,
    nodes: Vec<Node>,
}

/// What a template gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Whether something of it came from `env` or `file`.
    pub secret: bool,
}

/// What a template reads from around the program.
pub trait Surroundings {
    /// An environment variable, if it is set.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file's content.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no text.
    fn file(&self, path: &str) -> std::io::Result<String>;

    /// The time, in the local zone.
    fn now(&self) -> DateTime<FixedOffset>;
}

/// The process's own variables, files and clock.
#[derive(Debug, Clone, Copy)]
pub struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        // The standard library panics at names that cannot be.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> std::io::Result<String> {
        use std::io::Read as _;
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a file"));
        }
        if file.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
            return Err(std::io::Error::other("longer than 1 MiB"));
        }
        Ok(text)
    }

    fn now(&self) -> DateTime<FixedOffset> {
        Local::now().fixed_offset()
    }
}

/// A template that cannot be used. Its text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template does not work: {message}")]
pub struct TemplateError {
    /// The byte of the template that it is about.
    pub offset: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl TemplateError {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self {
            offset,
            message: message.into(),
        }
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEXT {
            let message = format!("it is longer than {} KiB", MAX_TEXT >> 10);
            return Err(TemplateError::new(0, message));
        }
        Ok(Self {
            nodes: parser::parse(lexer::lex(text)?)?,
            text: text.to_owned(),
        })
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Fills it in with `data`, which `.` stands for.
    ///
    /// # Errors
    ///
    /// When it asks for what is not there, or goes beyond what a template may
    /// do: a megabyte of text, 100,000 steps.
    pub fn render(
        &self,
        data: &Value,
        surroundings: &dyn Surroundings,
    ) -> Result<Rendered, TemplateError> {
        eval::render(&self.nodes, data, surroundings)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Template {}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secret {
            true => f.write_str("Rendered([secret])"),
            false => write!(f, "Rendered({:?})", self.text),
        }
    }
}

#[cfg(test)]
mod tests;
