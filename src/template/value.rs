//! The values that templates work on.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, FixedOffset};

/// A value, and whether it is a secret.
#[derive(Clone, PartialEq)]
pub struct Value {
    pub(super) data: Data,
    pub(super) secret: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    /// Stands for a struct of Go's: a key that it has not is an error.
    Map(BTreeMap<String, Value>),
    Time(DateTime<FixedOffset>),
    /// 1 to 12; a number that prints as a name.
    Month(u32),
    /// 0 is Sunday; a number that prints as a name.
    Weekday(u32),
    /// What `time` is, before `.Now`.
    Clock,
}

impl Value {
    /// Nothing.
    pub const NIL: Self = Self {
        data: Data::Nil,
        secret: false,
    };

    /// A map of names, which a template reads as `.name`.
    pub fn map<K: Into<String>, V: Into<Self>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let entries = entries.into_iter();
        Data::Map(
            entries
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
        .into()
    }

    /// The same, as a secret.
    #[must_use]
    pub fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    pub(super) fn tainted(self, secret: bool) -> Self {
        Self {
            secret: self.secret || secret,
            ..self
        }
    }

    /// Go's truth: neither nothing, nor zero, nor empty.
    pub(super) fn truth(&self) -> bool {
        match &self.data {
            Data::Nil => false,
            Data::Bool(flag) => *flag,
            Data::Int(number) => *number != 0,
            Data::Float(number) => *number != 0.0,
            Data::Text(text) => !text.is_empty(),
            Data::List(items) => !items.is_empty(),
            Data::Map(entries) => !entries.is_empty(),
            Data::Month(number) | Data::Weekday(number) => *number != 0,
            Data::Time(_) | Data::Clock => true,
        }
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Nil => "nothing",
            Data::Bool(_) => "a flag",
            Data::Int(_) | Data::Float(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
            Data::Time(_) => "a time",
            Data::Month(_) => "a month",
            Data::Weekday(_) => "a weekday",
            Data::Clock => "the clock",
        }
    }
}

impl From<Data> for Value {
    fn from(data: Data) -> Self {
        Self {
            data,
            secret: false,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Data::Text(text.to_owned()).into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Data::Text(text).into()
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Data::Int(number).into()
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Data::Bool(flag).into()
    }
}

impl<V: Into<Self>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Data::List(items.into_iter().map(Into::into).collect()).into()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secret {
            true => f.write_str("[secret]"),
            false => self.data.fmt(f),
        }
    }
}
