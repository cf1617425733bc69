//! The schema, the reference and the samples belong to what the program reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regmirror::config::{Config, schema, schema_text};
use serde_json::Value;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// Every key of the language, `sync[].tags.allow`, with whether it is a map or a
/// list of maps.
fn keys() -> BTreeSet<String> {
    fn walk(prefix: &str, part: &Value, keys: &mut BTreeSet<String>) {
        let Some(properties) = part["properties"].as_object() else {
            return;
        };
        for (name, value) in properties {
            let path = format!("{prefix}{name}");
            let resolved = resolve(value);
            match resolved["type"].as_str() {
                Some("array") => walk(&format!("{path}[]."), resolve(&resolved["items"]), keys),
                _ => walk(&format!("{path}."), resolved, keys),
            }
            keys.insert(path);
        }
    }
    let mut keys = BTreeSet::new();
    walk("", schema(), &mut keys);
    keys
}

fn resolve(part: &Value) -> &Value {
    let part = part.get("allOf").and_then(|all| all.get(0)).unwrap_or(part);
    match part["$ref"].as_str() {
        Some(path) => &schema()["definitions"][path.trim_start_matches("#/definitions/")],
        None => part,
    }
}

#[test]
fn the_schema_that_is_checked_in_is_the_program_s() {
    let path = folder().join("schema.json");
    if std::env::var_os("REGMIRROR_BLESS").is_some() {
        std::fs::write(&path, schema_text()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(
        kept == schema_text(),
        "write it anew: regmirror config schema > config/schema.json"
    );
}

#[test]
fn the_schema_describes_every_key_and_forbids_others() {
    let text = schema_text();
    assert!(!text.contains("null"), "nothing may be null");
    fn walk(part: &Value) {
        if let Some(properties) = part.get("properties").and_then(Value::as_object) {
            assert_eq!(part["additionalProperties"], false, "{part}");
            for (name, value) in properties {
                let described = value
                    .get("description")
                    .or_else(|| resolve(value).get("description"));
                assert!(described.is_some(), "{name} is not described");
            }
        }
        match part {
            Value::Object(map) => map.values().for_each(walk),
            Value::Array(list) => list.iter().for_each(walk),
            _ => {}
        }
    }
    walk(schema());
    assert!(keys().len() > 90, "{:?}", keys());
}

#[test]
fn the_reference_names_every_key() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    // The first cell of a row names keys, in backquotes.
    let documented: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    for key in keys() {
        let short = key.rsplit('.').next().unwrap();
        let known = documented.contains(short) || documented.contains(key.as_str());
        assert!(known, "{key} ({short}) is not in config/README.md");
    }
}

#[test]
fn the_full_sample_has_every_key_that_can_stand_beside_the_others() {
    const ABSENT: [&str; 8] = [
        "api",
        "scheme",
        "fastCopy",
        "regcert",
        "clientCert",
        "clientKey",
        "token",
        "x",
    ];
    let text = std::fs::read_to_string(folder().join("full.yml")).unwrap();
    let tree: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let mut names = BTreeSet::new();
    fn walk(value: &serde_yaml::Value, names: &mut BTreeSet<String>) {
        match value {
            serde_yaml::Value::Mapping(map) => {
                for (key, value) in map {
                    names.extend(key.as_str().map(str::to_owned));
                    walk(value, names);
                }
            }
            serde_yaml::Value::Sequence(list) => list.iter().for_each(|item| walk(item, names)),
            _ => {}
        }
    }
    walk(&tree, &mut names);
    for key in keys() {
        let name = key.rsplit(['.', ']']).next().unwrap();
        assert!(
            names.contains(name) || ABSENT.contains(&name),
            "full.yml has no {key}"
        );
    }
}

#[test]
fn samples_tell_editors_where_the_schema_is() {
    let mut samples = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yml") {
            samples.insert(
                path.file_name().unwrap().to_owned(),
                std::fs::read_to_string(&path).unwrap(),
            );
        }
    }
    assert!(samples.len() >= 5, "{:?}", samples.keys());
    for (name, text) in samples {
        let first = text.lines().next().unwrap();
        assert_eq!(
            first, "# yaml-language-server: $schema=schema.json",
            "{name:?}"
        );
        let config = Config::parse(&text, "sample").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            config.effective(),
            Config::parse(&config.effective(), "shown")
                .unwrap()
                .effective()
        );
    }
}
