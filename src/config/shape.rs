//! The tree of a file to its serde twin. Every value that has not the form that
//! the schema gives its key is found, and left out; so is every key that the
//! language does not have.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value as Schema;
use serde_yaml::{Mapping, Number, Value};

use super::finding::{Check, Finding};
use super::raw;
use super::schema::{resolved, schema};
use super::yaml::{Entry, Kind, Node, printable};
use crate::nearest::nearest;

/// For how many unknown keys a known one is looked for.
const SUGGESTIONS: usize = 1000;

/// Where in the text each key of the configuration stands.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<String, Range<usize>>);

impl Places {
    /// The place of `path`, or of the nearest that is there above it.
    pub(super) fn of(&self, path: &str) -> Option<Range<usize>> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place.clone());
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// What the tree gives.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) config: raw::Config,
    pub(super) places: Places,
    pub(super) findings: Vec<Finding>,
    /// The bytes of the text that nobody may see.
    pub(super) secrets: Vec<Range<usize>>,
}

/// Reads a configuration.
pub(super) fn read(root: &Node) -> Read {
    let mut reader = Reader::default();
    let value = reader.value("", root, schema());
    let mut read = reader.read;
    match serde_yaml::from_value(value.unwrap_or_else(|| Value::Mapping(Mapping::new()))) {
        Ok(config) => read.config = config,
        // Not with what the schema says of the very same types.
        Err(error) => read.findings.push(Finding::error(Check::Form, "", error)),
    }
    read
}

#[derive(Default)]
struct Reader {
    read: Read,
    /// How many unknown keys there were.
    unknown: usize,
}

impl Reader {
    /// The value of `node` in the form of `schema`. `None` when it is nothing, or
    /// something else.
    fn value(&mut self, at: &str, node: &Node, schema: &'static Schema) -> Option<Value> {
        if matches!(schema["writeOnly"], Schema::Bool(true)) {
            self.hide(node);
        }
        let options = &schema["enum"];
        let schema = resolved(schema);
        let kind = schema["type"].as_str().unwrap_or_default();
        match (kind, &node.kind) {
            (_, Kind::Null) => None,
            ("object", Kind::Map(entries)) => Some(self.map(at, entries, schema)),
            ("array", Kind::List(items)) => {
                let mut list = Vec::with_capacity(items.len());
                for (number, item) in items.iter().enumerate() {
                    let at = format!("{at}[{number}]");
                    let place = self.mark(&at, item.place.clone(), item);
                    if matches!(item.kind, Kind::Null) {
                        let message = "an item of the list is nothing";
                        let finding = Finding::error(Check::Form, &at, message).placed(place);
                        self.read.findings.push(finding);
                    }
                    // In its place all the same, so that the others keep theirs.
                    let item = self.value(&at, item, &schema["items"]);
                    list.push(item.unwrap_or_else(|| empty(&schema["items"])));
                }
                Some(Value::Sequence(list))
            }
            ("string" | "boolean" | "integer" | "number", Kind::Scalar { text, plain }) => {
                match scalar(kind, text, *plain) {
                    Some(value) => self.option(at, value, options, node),
                    None => {
                        let quoted = if *plain { "" } else { " in quotes" };
                        let found = format!("`{}`{quoted}", printable(text));
                        self.wrong(at, node, kind, &found);
                        None
                    }
                }
            }
            _ => {
                self.wrong(at, node, kind, node.description());
                None
            }
        }
    }

    fn map(&mut self, at: &str, entries: &[Entry], schema: &'static Schema) -> Value {
        let mut map = Mapping::new();
        let known = &schema["properties"];
        let free = &schema["additionalProperties"];
        for entry in entries {
            let at = match at {
                "" => printable(&entry.key),
                _ => format!("{at}.{}", printable(&entry.key)),
            };
            let schema = match known.get(&entry.key) {
                Some(schema) => schema,
                None if free.is_object() => free,
                None => {
                    if !entry.key.starts_with("x-") {
                        self.unknown(&at, entry, known);
                    }
                    continue;
                }
            };
            self.mark(&at, entry.place.clone(), &entry.value);
            if let Some(value) = self.value(&at, &entry.value, schema) {
                map.insert(entry.key.as_str().into(), value);
            }
        }
        Value::Mapping(map)
    }

    /// Notes where a key stands: its value if that is text, else its name.
    fn mark(&mut self, at: &str, name: Range<usize>, value: &Node) -> Range<usize> {
        let place = match &value.kind {
            Kind::Scalar { .. } => value.place.clone(),
            Kind::Map(entries) if at.ends_with(']') => match entries.first() {
                Some(entry) => entry.place.clone(),
                None => name,
            },
            _ => name,
        };
        // The end of a list reaches to whatever comes next.
        self.read.places.0.insert(at.to_owned(), place.clone());
        place
    }

    fn unknown(&mut self, at: &str, entry: &Entry, known: &'static Schema) {
        // A password under a mistyped key is one all the same.
        match at.starts_with("sync") || at.starts_with("defaults") {
            true => self.hide_suspects(&entry.value),
            false => self.hide(&entry.value),
        }
        let names = known
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name);
        let message = "no such key; it has no effect";
        let finding = Finding::warning(Check::UnknownKey, at, message).placed(entry.place.clone());
        // Nobody reads that many, and each is compared with all there are.
        self.unknown += 1;
        if self.unknown > SUGGESTIONS {
            self.read.findings.push(finding);
            return;
        }
        let finding = match nearest(&entry.key, names.map(String::as_str)) {
            Some(name) => finding.help(format!("did you mean `{name}`?")),
            None => match homes(&entry.key).as_slice() {
                [] => finding,
                homes => finding.help(format!("it stands in {}", homes.join(" and in "))),
            },
        };
        self.read.findings.push(finding);
    }

    fn option(
        &mut self,
        at: &str,
        value: Value,
        options: &'static Schema,
        node: &Node,
    ) -> Option<Value> {
        let Some(options) = options.as_array() else {
            return Some(value);
        };
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Some(value),
        };
        let names: Vec<String> = options
            .iter()
            .map(|option| {
                option
                    .as_str()
                    .map_or_else(|| option.to_string(), str::to_owned)
            })
            .collect();
        // regsync takes what is empty for what is not there.
        if text.is_empty() {
            return None;
        }
        if names.contains(&text) {
            return Some(value);
        }
        let expected = match names.as_slice() {
            [one] => one.clone(),
            [init @ .., last] => format!("{} or {last}", init.join(", ")),
            [] => String::new(),
        };
        let message = format!("`{}` is not known: expected {expected}", printable(&text));
        let finding = Finding::error(Check::Value, at, message).placed(node.place.clone());
        let finding = match nearest(&text, names.iter().map(String::as_str)) {
            Some(name) => finding.help(format!("did you mean `{name}`?")),
            None => finding,
        };
        self.read.findings.push(finding);
        None
    }

    fn wrong(&mut self, at: &str, node: &Node, kind: &str, found: &str) {
        self.hide_suspects(node);
        let expected = match kind {
            "object" => "a map of keys",
            "array" => "a list",
            "boolean" => "true or false",
            "integer" => "a whole number",
            "number" => "a number",
            _ => "text",
        };
        let place = match at {
            "" => 0..0,
            _ => self
                .read
                .places
                .of(at)
                .unwrap_or_else(|| node.place.clone()),
        };
        let message = format!("expected {expected}, found {found}");
        let finding = Finding::error(Check::Form, at, message).placed(place);
        let finding = match (kind, &node.kind) {
            ("array", Kind::Scalar { .. }) => {
                finding.help("a list of one is `[…]`, or a line that begins with `- `")
            }
            _ => finding,
        };
        self.read.findings.push(finding);
    }

    /// Hides what looks like a secret in what nobody reads.
    fn hide_suspects(&mut self, node: &Node) {
        match &node.kind {
            Kind::Null | Kind::Scalar { .. } => {}
            Kind::List(items) => items.iter().for_each(|item| self.hide_suspects(item)),
            Kind::Map(entries) => {
                for Entry { key, value, .. } in entries {
                    match is_suspect(key) {
                        true => self.hide(value),
                        false => self.hide_suspects(value),
                    }
                }
            }
        }
    }

    fn hide(&mut self, node: &Node) {
        match &node.kind {
            Kind::Null => {}
            Kind::Scalar { .. } => self.read.secrets.push(node.place.clone()),
            Kind::List(items) => items.iter().for_each(|item| self.hide(item)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                self.read.secrets.push(entry.place.clone());
                self.hide(&entry.value);
            }),
        }
    }
}

/// Whether a key may have a secret for a value.
fn is_suspect(key: &str) -> bool {
    let key = key.to_lowercase();
    ["pass", "token", "key", "secret", "cert"]
        .iter()
        .any(|word| key.contains(word))
}

/// What stands in for an item that could not be read. It is never used: the
/// fault that was found ends it all.
fn empty(schema: &'static Schema) -> Value {
    match resolved(schema)["type"].as_str() {
        Some("object") => Value::Mapping(Mapping::new()),
        _ => Value::String(String::new()),
    }
}

/// Text as `kind` has it, with the words of YAML 1.1, which regsync's parser
/// reads.
fn scalar(kind: &str, text: &str, plain: bool) -> Option<Value> {
    if kind == "string" {
        return Some(text.into());
    }
    if !plain {
        return None;
    }
    match kind {
        "boolean" => match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Some(true.into())
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => Some(false.into()),
            _ => None,
        },
        "integer" => integer(text).map(Into::into),
        _ => {
            let number = text.replace('_', "").parse::<f64>().ok()?;
            number
                .is_finite()
                .then(|| Value::Number(Number::from(number)))
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

/// The parts of the configuration that have a key of this name.
fn homes(key: &str) -> Vec<&'static str> {
    const PARTS: &[(&str, &str)] = &[
        ("Config", "the top level"),
        ("Creds", "`creds[]`"),
        ("Defaults", "`defaults`"),
        ("Sync", "`sync[]`"),
        ("Tags", "`tags`"),
        ("RateLimit", "`ratelimit`"),
        ("ReferrerFilter", "`referrerFilters[]`"),
        ("Hooks", "`hooks`"),
    ];
    let has = |name: &str| {
        let part = match name {
            "Config" => schema(),
            _ => &schema()["definitions"][name],
        };
        part["properties"].get(key).is_some()
    };
    PARTS
        .iter()
        .filter(|(name, _)| has(name))
        .map(|(_, home)| *home)
        .collect()
}
