//! YAML text to a tree whose every part knows its place. Aliases and merge keys
//! are resolved, keys that stand twice are found.
//!
//! serde_yaml, which makes values of the tree, tells no places, stops at the
//! first fault and lets keys stand twice; hence a parser of events below it.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::finding::{Check, Finding};

/// How deep lists and maps may nest. The configuration needs 5.
const MAX_DEPTH: usize = 32;

/// How many values a file may have, those behind aliases counted each time.
const MAX_VALUES: usize = 400_000;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// The bytes of the text that it takes.
    pub(super) place: Range<usize>,
    pub(super) kind: Kind,
    /// How many values it is, with all within it.
    values: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Nothing, or a word for it.
    Null,
    Scalar {
        text: String,
        /// Whether it was written without quotes, so that `true` may be a flag.
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Range<usize>,
    pub(super) value: Rc<Node>,
}

impl Node {
    /// What it is, for people.
    pub(super) fn description(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// What is left unread of a text that has more documents.
pub(super) const MORE: &str = "a second document: only the first one is read";

/// Reads the first document of `text`.
///
/// What is amiss beside the value is in the findings; without a value one of
/// them is an error.
pub(super) fn read(text: &str) -> (Option<Rc<Node>>, Vec<Finding>) {
    let mut loader = Loader {
        offsets: Offsets::new(text),
        open: Vec::new(),
        anchors: HashMap::new(),
        merged: 0,
        findings: Vec::new(),
        root: None,
    };
    if let Err(fault) = loader.run(text) {
        loader.findings.push(*fault);
        return (None, loader.findings);
    }
    let root = loader.root.unwrap_or_else(|| {
        Rc::new(Node {
            place: 0..0,
            kind: Kind::Null,
            values: 1,
        })
    });
    (Some(root), loader.findings)
}

/// From characters, which the parser counts, to bytes.
enum Offsets {
    Same(usize),
    Table(Vec<usize>),
}

impl Offsets {
    fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Same(text.len());
        }
        let starts = text.char_indices().map(|(at, _)| at);
        Self::Table(starts.chain([text.len()]).collect())
    }

    fn byte(&self, character: usize) -> usize {
        match self {
            Self::Same(length) => character.min(*length),
            Self::Table(table) => {
                let last = table.last().copied().unwrap_or_default();
                table.get(character).copied().unwrap_or(last)
            }
        }
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }
}

struct Loader {
    offsets: Offsets,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    /// How many keys merges have copied.
    merged: usize,
    findings: Vec<Finding>,
    root: Option<Rc<Node>>,
}

/// A list or a map that is being read.
struct Open {
    start: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<Entry>,
        merges: Vec<(Range<usize>, Rc<Node>)>,
        key: Option<(Rc<Node>, bool)>,
    },
}

impl Loader {
    fn run(&mut self, text: &str) -> Result<(), Box<Finding>> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let at = self.offsets.byte(error.marker().index());
                Finding::error(Check::Syntax, "", explained(error.info())).placed(at..at)
            })?;
            let place = self.offsets.bytes(span);
            match event {
                Event::DocumentStart(_) if self.root.is_some() => {
                    self.findings
                        .push(Finding::warning(Check::Unused, "", MORE).placed(place));
                    return Ok(());
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && tag.is_none();
                    let nothing = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                    let merge = plain && text == "<<";
                    let kind = match nothing {
                        true => Kind::Null,
                        false => Kind::Scalar {
                            text: text.into_owned(),
                            plain,
                        },
                    };
                    let node = Rc::new(Node {
                        place,
                        kind,
                        values: 1,
                    });
                    self.add(node, anchor, merge)?;
                }
                Event::Alias(anchor) => {
                    // What is being read still has no value: it would contain itself.
                    let Some(node) = self.anchors.get(&anchor).cloned() else {
                        let message = "this alias stands within what it stands for";
                        return Err(Box::new(
                            Finding::error(Check::Syntax, "", message).placed(place),
                        ));
                    };
                    self.add(node, 0, false)?;
                }
                Event::SequenceStart(anchor, _) => {
                    self.enter(place.start, anchor, Content::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, _) => {
                    let content = Content::Map {
                        entries: Vec::new(),
                        merges: Vec::new(),
                        key: None,
                    };
                    self.enter(place.start, anchor, content)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.leave(place.end)?,
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, start: usize, anchor: usize, content: Content) -> Result<(), Box<Finding>> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("lists and maps nest deeper than {MAX_DEPTH}");
            return Err(Box::new(
                Finding::error(Check::Syntax, "", message).placed(start..start),
            ));
        }
        self.open.push(Open {
            start,
            anchor,
            content,
        });
        Ok(())
    }

    fn leave(&mut self, end: usize) -> Result<(), Box<Finding>> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let place = open.start..end.max(open.start);
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map {
                mut entries,
                merges,
                ..
            } => {
                self.merge(&mut entries, &merges)?;
                Kind::Map(entries)
            }
        };
        let values = match &kind {
            Kind::List(items) => items.iter().map(|item| item.values).sum(),
            Kind::Map(entries) => entries
                .iter()
                // They hold anchors, and nobody reads them where they stand.
                .filter(|entry| !entry.key.starts_with("x-"))
                .map(|entry| entry.value.values)
                .sum::<usize>(),
            Kind::Null | Kind::Scalar { .. } => 0,
        } + 1;
        if values > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values, with what aliases stand for");
            return Err(Box::new(
                Finding::error(Check::Syntax, "", message).placed(place.start..place.start),
            ));
        }
        let node = Rc::new(Node {
            place,
            kind,
            values,
        });
        self.add(node, open.anchor, false)
    }

    fn add(&mut self, node: Rc<Node>, anchor: usize, merge: bool) -> Result<(), Box<Finding>> {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map {
                entries,
                merges,
                key,
            }) => match key.take() {
                None => *key = Some((node, merge)),
                Some((key, true)) => merges.push((key.place.clone(), node)),
                Some((key, false)) => {
                    let Kind::Scalar { text, .. } = &key.kind else {
                        let message =
                            format!("a key has to be text, and this is {}", key.description());
                        let at = key.place.start;
                        return Err(Box::new(
                            Finding::error(Check::Syntax, "", message).placed(at..at),
                        ));
                    };
                    entries.push(Entry {
                        key: text.clone(),
                        place: key.place.clone(),
                        value: node,
                    });
                }
            },
        }
        Ok(())
    }

    /// Checks that each key stands once, and adds those that are merged in: a
    /// map's own win, then those of the first map.
    fn merge(
        &mut self,
        entries: &mut Vec<Entry>,
        merges: &[(Range<usize>, Rc<Node>)],
    ) -> Result<(), Box<Finding>> {
        let mut known: HashMap<String, Range<usize>> = HashMap::new();
        for entry in entries.iter() {
            if known
                .insert(entry.key.clone(), entry.place.clone())
                .is_some()
            {
                let message = format!("the key `{}` stands here twice", printable(&entry.key));
                self.findings.push(
                    Finding::error(Check::DuplicateKey, "", message)
                        .placed(entry.place.clone())
                        .help("keep one of them"),
                );
            }
        }
        for (place, node) in merges {
            let maps = match &node.kind {
                Kind::List(items) => items.as_slice(),
                _ => std::slice::from_ref(node),
            };
            for map in maps {
                let Kind::Map(merged) = &map.kind else {
                    let found = map.description();
                    let message =
                        format!("`<<` merges a map or a list of maps, and this is {found}");
                    self.findings
                        .push(Finding::error(Check::Form, "", message).placed(place.clone()));
                    continue;
                };
                self.merged += merged.len();
                if self.merged > MAX_VALUES {
                    let message = format!("merge keys copy more than {MAX_VALUES} values");
                    return Err(Box::new(
                        Finding::error(Check::Syntax, "", message).placed(place.clone()),
                    ));
                }
                for entry in merged {
                    if known
                        .insert(entry.key.clone(), entry.place.clone())
                        .is_none()
                    {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the parser says, and what is behind it in most cases.
fn explained(info: &str) -> String {
    let hint = if info.contains("tab") {
        ": indent with spaces"
    } else if info.contains("quoted scalar") || info.contains("unexpected end of stream") {
        ": is a quote not closed?"
    } else if info.contains("mapping values are not allowed") {
        ": text that has `: ` in it needs quotes"
    } else {
        ""
    };
    format!("no YAML: {info}{hint}")
}

/// A key as a message may hold it: short, and without control characters.
pub(super) fn printable(text: &str) -> String {
    const MOST: usize = 60;
    let mut short: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}
