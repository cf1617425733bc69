//! The layer map, kept by a test.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room of `src/`, and the rooms it may use besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("telemetry", &[]),
    ("http", &["telemetry"]),
    ("select", &["oci"]),
    ("store", &["oci"]),
    ("layout", &["oci", "store"]),
    (
        "registry",
        &["oci", "store", "http", "process", "telemetry"],
    ),
    ("process", &[]),
    ("nearest", &[]),
    ("annotation", &[]),
    ("schedule", &["nearest"]),
    ("template", &["nearest"]),
    (
        "sync",
        &["oci", "select", "store", "process", "telemetry", "template"],
    ),
    (
        "config",
        &[
            "oci",
            "select",
            "http",
            "schedule",
            "sync",
            "template",
            "nearest",
            "annotation",
        ],
    ),
    ("report", &["oci", "select", "store", "sync", "annotation"]),
    (
        "daemon",
        &["config", "report", "schedule", "sync", "telemetry"],
    ),
    ("embedded", &["oci", "store", "telemetry"]),
    (
        "app",
        &[
            "oci",
            "telemetry",
            "http",
            "select",
            "store",
            "template",
            "schedule",
            "layout",
            "registry",
            "sync",
            "config",
            "report",
            "daemon",
            "embedded",
        ],
    ),
    // The commands read a configuration and print reports; everything else
    // they have built by `app`.
    (
        "cli",
        &[
            "app",
            "daemon",
            "config",
            "report",
            "schedule",
            "sync",
            "annotation",
            "telemetry",
        ],
    ),
];

#[test]
fn rooms_use_only_what_the_map_allows() {
    for (room, allowed) in LAYERS {
        for (path, text) in sources(room) {
            for used in crate_paths(&text) {
                let fine = used == *room || allowed.contains(&used.as_str());
                assert!(
                    fine,
                    "{}: `{room}` may not use `crate::{used}`",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_room_is_on_the_map() {
    for entry in fs::read_dir(src()).expect("src is there") {
        let name = entry.expect("src can be read").file_name();
        let name = name.to_string_lossy();
        let room = name.trim_end_matches(".rs");
        let known = matches!(room, "lib" | "main" | "build")
            || LAYERS.iter().any(|(known, _)| *known == room);
        assert!(known, "src/{name} is not on the layer map");
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "use crate::oci::{Digest};\nuse crate::{store, sync::Job};\n// crate::cli is prose\n\
                let x = crate::http::Tls::Enabled; /// [`crate::app`] is a link";
    assert_eq!(crate_paths(text), ["oci", "store", "sync", "http"]);
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The sources of a room: `src/ROOM.rs` and all below `src/ROOM/`.
fn sources(room: &str) -> Vec<(PathBuf, String)> {
    let mut todo = vec![src().join(format!("{room}.rs")), src().join(room)];
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        if let Ok(entries) = fs::read_dir(&path) {
            todo.extend(entries.map(|entry| entry.expect("src can be read").path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push((path, text));
        }
    }
    assert!(!found.is_empty(), "the room {room} has no sources");
    found
}

/// The first segment of every `crate::` path outside comments.
fn crate_paths(text: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(identifier(rest)),
        }
    }
    found
}

/// The first segments of `a, b::{c, d}, e}` at its outermost level.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                heads.push(identifier(group[start..at].trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}
