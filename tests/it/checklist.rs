//! What a registry client must survive: a test for each line of the
//! checklist, named after the line's id.

mod a_names;
mod b_blobs;
mod b_pull;
mod c_push;
mod d_order;
mod e_listings;
mod f_auth;
mod g_limits;
mod h_media;
mod i_layout;
mod j_canary;
mod j_network;
mod j_proxies;
mod j_security;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How many lines each section has.
const SECTIONS: [(char, u32); 10] = [
    ('a', 7),
    ('b', 15),
    ('c', 16),
    ('d', 11),
    ('e', 11),
    ('f', 12),
    ('g', 10),
    ('h', 9),
    ('i', 8),
    ('j', 14),
];

/// Lines that ask for something that is not there, and may.
const LEFT: [(&str, &str); 6] = [
    (
        "c16",
        "`digest-algorithm` and `?tag=` came after distribution-spec 1.1.1",
    ),
    ("g10", "HTTP/1.1 is all that is spoken"),
    ("i7", "there is no import of archives"),
    (
        "j9",
        "that a tag returns to an earlier digest shows only over several runs",
    ),
    ("j11", "there is no signature policy"),
    ("j12", "what is published is not decided yet"),
];

/// Lines of which a part waits for what it is about.
const IN_PART: [(&str, &str); 4] = [
    ("d11", "failed tags show in no metric: there are none"),
    ("g8", "GOAWAY is of HTTP/2, which is not spoken"),
    ("j7", "it is the embedded registry that listens on loopback"),
    ("j8", "there is no container image"),
];

#[test]
fn every_line_of_the_checklist_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for file in sources(&root.join("tests"))
        .into_iter()
        .chain(sources(&root.join("src")))
    {
        found.extend(ids(&fs::read_to_string(file).expect("a source")));
    }
    let lines = SECTIONS
        .iter()
        .flat_map(|(section, lines)| (1..=*lines).map(move |line| format!("{section}{line}")));
    let lines: BTreeSet<String> = lines.collect();
    let unknown: Vec<_> = found.difference(&lines).collect();
    assert!(unknown.is_empty(), "no such lines: {unknown:?}");
    let missing: BTreeSet<String> = lines.difference(&found).cloned().collect();
    let left = LEFT.iter().map(|(line, _)| (*line).to_owned());
    assert_eq!(missing, left.collect());
    for (line, _) in IN_PART {
        assert!(found.contains(line), "nothing of {line} is tested");
    }
}

#[test]
fn ids_are_found_in_the_names_of_tests() {
    let text = "#[test]\nfn a1_x() {}\n    #[tokio::test]\n    async fn j14_y() {\n\
                #[test]\nfn plain() {}\nfn b2_no_test() {}\n\
                #[tokio::test(start_paused = true)]\nasync fn c3_z() {}";
    assert_eq!(ids(text), ["a1", "j14", "c3"]);
}

/// The ids at the beginning of tests' names.
fn ids(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            continue;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some((id, _)) = name
            .filter(|_| is_test)
            .and_then(|name| name.split_once('_'))
        {
            let (section, number) = id.split_at(id.len().min(1));
            let known = section
                .chars()
                .all(|section| ('a'..='j').contains(&section));
            if known && number.parse::<u32>().is_ok() {
                found.push(id.to_owned());
            }
        }
        is_test = false;
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}
