//! The files for CI systems: what they run is there, and does what it should. Their
//! form is checked by linters in `.ci/run`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use super::rendered::documents;
use super::{VERSION, folder};
use crate::support::program::run;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Value {
    documents(&fs::read_to_string(root().join(path)).unwrap()).remove(0)
}

/// The scripts of all steps of a GitHub workflow.
fn scripts(workflow: &Value) -> Vec<String> {
    let jobs = workflow["jobs"].as_object().unwrap().values();
    let steps = jobs.flat_map(|job| job["steps"].as_array().unwrap());
    steps
        .filter_map(|step| step["run"].as_str().map(str::to_owned))
        .collect()
}

/// The scripts of GitLab's jobs: the check, and then the run.
pub(super) fn gitlab_scripts() -> Vec<String> {
    let sample = read("deploy/ci/gitlab.yml");
    let jobs = sample.as_object().unwrap().values();
    let lines = jobs.flat_map(|job| job["script"].as_array().into_iter().flatten());
    let mut lines: Vec<_> = lines
        .map(|line| line.as_str().unwrap().to_owned())
        .collect();
    lines.sort();
    lines
}

/// The script of GitHub's job, with what its environment would put there.
pub(super) fn github_script() -> String {
    scripts(&read("deploy/ci/github.yml")).remove(0)
}

#[test]
fn samples_run_commands_that_are_there_by_an_image_of_this_version() {
    let script = github_script();
    let (_, arguments) = script.split_once("\"$IMAGE\" \"$COMMAND\" ").unwrap();
    let mut commands: Vec<String> = ["check", "once"]
        .iter()
        .map(|command| format!("{command} {}", arguments.trim()))
        .collect();
    for line in gitlab_scripts() {
        commands.push(line.strip_prefix("regmirror ").unwrap().to_owned());
    }
    assert_eq!(commands.len(), 4);
    for command in commands {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.push("--help");
        let output = run(&arguments);
        assert!(output.status.success(), "{command}: {output:?}");
    }
    let image = "ghcr.io/regmirror/regmirror:";
    let named = Regex::new(&format!("{image}([^\"\\s]+)")).unwrap();
    for (sample, tag) in [
        ("github", VERSION.to_owned()),
        ("gitlab", format!("{VERSION}-debug")),
    ] {
        let text = fs::read_to_string(folder().join(format!("ci/{sample}.yml"))).unwrap();
        let tags: Vec<_> = named
            .captures_iter(&text)
            .map(|found| found[1].to_owned())
            .collect();
        assert_eq!(tags, [tag], "{sample}");
    }
}

#[test]
fn workflows_may_do_no_more_than_they_need_and_pin_what_they_use() {
    let pinned = Regex::new(r"^[\w/-]+@[0-9a-f]{40}$").unwrap();
    for path in [
        ".github/workflows/ci.yml",
        ".github/workflows/release.yml",
        "deploy/ci/github.yml",
    ] {
        let workflow = read(path);
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({}),
            "{path}: none for all"
        );
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(job["timeout-minutes"].is_u64(), "{path}: {name}");
            for step in job["steps"].as_array().unwrap() {
                if let Some(used) = step["uses"].as_str() {
                    assert!(pinned.is_match(used), "{path}: {used}");
                    assert_eq!(step["with"]["persist-credentials"], false, "{path}");
                }
            }
        }
    }
}

#[test]
fn rust_is_of_one_version_wherever_it_is_named() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let oldest = Regex::new("rust-version = \"1\\.(\\d+)\"").unwrap();
    let oldest: u32 = oldest.captures(&manifest).unwrap()[1].parse().unwrap();
    let mut versions = Vec::new();
    let image = Regex::new(r"library/rust:(\d+\.\d+)-").unwrap();
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    versions.push(image.captures(&dockerfile).unwrap()[1].to_owned());
    let set = Regex::new(r"rustup default (\d+\.\d+)").unwrap();
    for path in ["ci", "release"] {
        let text =
            fs::read_to_string(root().join(format!(".github/workflows/{path}.yml"))).unwrap();
        versions.extend(set.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    assert_eq!(versions.len(), 3);
    versions.dedup();
    assert_eq!(versions.len(), 1, "{versions:?}");
    let minor: u32 = versions[0].split_once('.').unwrap().1.parse().unwrap();
    assert!(minor >= oldest);
}

#[test]
fn the_release_takes_its_version_as_cargo_has_it() {
    let release = scripts(&read(".github/workflows/release.yml"));
    let script = release
        .iter()
        .find(|script| script.contains("version=$("))
        .unwrap();
    let line = script
        .lines()
        .find(|line| line.contains("version=$("))
        .unwrap();
    let script = format!("{line}; printf %s \"$version\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), VERSION);
}
