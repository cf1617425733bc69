//! What the guides say: links lead somewhere, configurations work, overlays render,
//! commands and options are there.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use regmirror::config::Config;

use super::rendered::{Rendered, documents};
use super::{VERSION, folder};
use crate::support::program::run;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// The anchors of a guide's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|line| {
            line.chars()
                .filter(kept)
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect()
}

#[test]
fn links_of_all_guides_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut count = 0;
    for guide in [
        "README.md",
        "config/README.md",
        "config/reports.md",
        "deploy/README.md",
    ] {
        let guide = root().join(guide);
        for found in link.captures_iter(&text(&guide)) {
            let target = &found[1];
            if target.starts_with("https://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = match path {
                "" => guide.clone(),
                path => guide.parent().unwrap().join(path),
            };
            assert!(there.exists(), "{}: {target}", guide.display());
            if !anchor.is_empty() {
                let known = anchors(&text(&there));
                assert!(
                    known.iter().any(|known| known == anchor),
                    "{}: {target}",
                    guide.display()
                );
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn its_configurations_work() {
    let guide = text(&folder().join("README.md"));
    let blocks = blocks(&guide, "yaml").into_iter();
    let configurations: Vec<_> = blocks
        .filter(|block| block.starts_with("version: 1"))
        .collect();
    assert_eq!(configurations.len(), 2);
    for block in configurations {
        let config = Config::parse(block, "README.md").unwrap_or_else(|error| panic!("{error}"));
        assert!(config.warnings.is_empty(), "{}", config.warnings);
    }
}

#[test]
fn its_own_overlay_renders_and_brings_its_own_configuration() {
    let guide = text(&folder().join("README.md"));
    let own = blocks(&guide, "yaml");
    let own = own
        .iter()
        .find(|block| block.contains("kind: Kustomization"))
        .unwrap();
    // What it takes from the project's repository is here.
    let here = "https://github.com/regmirror/regmirror//deploy/";
    let version = format!("?ref=v{VERSION}");
    assert_eq!(own.matches(here).count(), own.matches(&version).count());
    let own = own.replace(here, "../../").replace(&version, "");
    let rendered = Rendered::altered("own", |_| own.clone());
    let Some(rendered) = rendered else { return };
    let map: k8s_openapi::api::core::v1::ConfigMap = rendered
        .all("ConfigMap")
        .into_iter()
        .find(|map: &k8s_openapi::api::core::v1::ConfigMap| {
            map.metadata.name.as_deref() == Some("regmirror-config")
        })
        .expect("under the name that is mounted");
    assert_eq!(map.data.unwrap()["config.yml"], "sync: []\n");
    assert!(rendered.has("PodMonitor") && rendered.has("Deployment"));
}

#[test]
fn what_it_says_to_put_into_an_overlay_does_what_it_says() {
    let guide = text(&folder().join("README.md"));
    let whole = |block: &&str| block.starts_with("version: 1") || block.contains("kind: Kust");
    let parts: Vec<_> = blocks(&guide, "yaml")
        .into_iter()
        .filter(|block| !whole(block))
        .collect();
    assert_eq!(parts.len(), 3, "{parts:?}");
    let text = format!(
        "resources: [../singleton]\ncomponents: [../../components/monitoring]\n{}",
        parts.join("")
    );
    let Some(rendered) = Rendered::altered("own", |_| text.clone()) else {
        return;
    };
    for object in &rendered.objects {
        let label = &object["metadata"]["labels"]["release"];
        assert_eq!(label, "kube-prometheus-stack", "{object:#}");
    }
    let shown = format!("{:?}", rendered.objects);
    assert!(shown.contains("r.example.com/regmirror:"), "{shown}");
    assert!(shown.contains("8443"), "{shown}");
    let monitor: super::monitored::PodMonitor = rendered.only("PodMonitor");
    assert!(!monitor.spec.selector.match_labels.contains_key("release"));
}

#[test]
fn every_part_of_the_folder_is_in_it() {
    let guide = text(&folder().join("README.md"));
    for part in ["components", "overlays"] {
        for entry in fs::read_dir(folder().join(part)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let link = format!("]({part}/{name})");
            assert!(guide.contains(&link), "{link}");
        }
    }
}

#[test]
fn options_and_commands_that_it_names_are_there() {
    let help = include_str!("../snapshots/help.txt");
    let guide = text(&folder().join("README.md"));
    // What stands in quotes, of this program.
    let command = Regex::new(r"`(?:[^`\n]* -- )?regmirror ([a-z][^`\n]*)`").unwrap();
    let mut count = 0;
    let lines = blocks(&guide, "console").join("\n");
    let console = Regex::new(r"(?m)-- regmirror (.*?)(?:#.*)?$").unwrap();
    let all = command
        .captures_iter(&guide)
        .chain(console.captures_iter(&lines));
    for found in all {
        let words: Vec<&str> = found[1].split_whitespace().collect();
        let mut arguments: Vec<&str> = words.clone();
        arguments.push("--help");
        let output = run(&arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        count += 1;
    }
    assert!(count > 5, "{count}");
    let option = Regex::new(r"`(--[a-z-]+)[=`]").unwrap();
    for found in option.captures_iter(&guide) {
        let ours = help.contains(&format!("{} <", &found[1]));
        let others = ["--logopt", "--docker-server"].contains(&&found[1]);
        assert!(ours || others, "{}", &found[1]);
    }
}

#[test]
fn what_it_says_of_times_is_so() {
    let guide = text(&folder().join("README.md"));
    let deployment = text(&folder().join("base/deployment.yaml"));
    let deployment = documents(&deployment).remove(0);
    let grace = &deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert!(
        guide.contains(&format!("of {grace} s that Kubernetes gives it")),
        "{grace}"
    );
    assert!(deployment.to_string().contains("--drain-timeout=100s"));
    assert!(guide.contains("for up to 100 s (`--drain-timeout`)"));
}
