//! The alerts: each with its cases, which `promtool` runs, and its page in the guide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::monitored::{PrometheusRule, Rules};
use super::rendered::{documents, typed};
use super::{folder, installed};

/// The components that bring alerts.
const COMPONENTS: [&str; 2] = ["monitoring", "monitoring-once"];

fn component(name: &str) -> PathBuf {
    folder().join("components").join(name)
}

/// The object with a component's rules.
fn object(name: &str) -> Value {
    let text = std::fs::read_to_string(component(name).join("alerts.yaml")).unwrap();
    documents(&text).remove(0)
}

/// A component's rules.
pub(super) fn rules(name: &str) -> Rules {
    typed::<PrometheusRule>(&object(name)).spec
}

/// The cases of a component's rules.
fn cases(name: &str) -> Value {
    let text = std::fs::read_to_string(component(name).join("alerts.test.yaml")).unwrap();
    documents(&text).remove(0)
}

/// A component's rules in a file for Prometheus.
pub(super) fn rules_file(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join("rules.yaml");
    // JSON is YAML.
    std::fs::write(&file, object(name)["spec"].to_string()).unwrap();
    file
}

/// Runs `promtool` on a component's rules and their cases.
fn promtool(folder: &Path) -> Output {
    let mut command = Command::new("promtool");
    command.args(["test", "rules", "alerts.test.yaml"]);
    command.current_dir(folder).output().unwrap()
}

/// Runs it on one alert's cases, with another expression in its rule.
fn promtool_with(name: &str, alert: &str, expression: &str) -> Output {
    let work = TempDir::new().unwrap();
    let write = |file: &str, value: &Value| {
        std::fs::write(work.path().join(file), value.to_string()).unwrap();
    };
    let mut rules = object(name)["spec"].take();
    for group in rules["groups"].as_array_mut().unwrap() {
        let rules = group["rules"].as_array_mut().unwrap();
        rules.retain(|rule| rule["alert"] == alert);
        for rule in rules {
            rule["expr"] = expression.into();
        }
    }
    write("rules.yaml", &rules);
    let mut cases = cases(name);
    let of_alert = |case: &Value| {
        let mut tests = case["alert_rule_test"].as_array().unwrap().iter();
        tests.any(|test| test["alertname"] == alert)
    };
    cases["tests"].as_array_mut().unwrap().retain(of_alert);
    write("alerts.test.yaml", &cases);
    promtool(work.path())
}

#[test]
fn every_alert_says_what_it_is_and_what_to_do() {
    let guide = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let mut known = 0;
    for rule in COMPONENTS
        .iter()
        .flat_map(|name| rules(name).groups)
        .flat_map(|group| group.rules)
    {
        let name = &rule.alert;
        assert!(name.starts_with("Regmirror"), "{name}");
        let severity = rule.labels["severity"].as_str();
        assert!(
            ["info", "warning", "critical"].contains(&severity),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            let text = &rule.annotations[annotation];
            assert!(
                text.ends_with('.') && !text.contains('\n'),
                "{name}: {text:?}"
            );
        }
        let anchor = rule.annotations["runbook_url"]
            .split_once("/deploy/README.md#")
            .unwrap()
            .1;
        assert_eq!(anchor, name.to_lowercase());
        assert_eq!(rule.annotations.len(), 3, "{name}");
        assert!(
            guide.contains(&format!("\n### {name}\n")),
            "{name} is not in the guide"
        );
        known += 1;
    }
    assert_eq!(
        guide.matches("\n### Regmirror").count(),
        known,
        "the guide has more"
    );
    assert!(known >= 14, "{known}");
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    for name in COMPONENTS {
        // Whether it fires, by alert.
        let mut seen: BTreeMap<String, [bool; 2]> = BTreeMap::new();
        for test in cases(name)["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().unwrap() {
                let fires = case.get("exp_alerts").is_some();
                let alert = case["alertname"].as_str().unwrap();
                seen.entry(alert.to_owned()).or_default()[usize::from(fires)] = true;
            }
        }
        let both = seen.into_iter().filter(|(_, seen)| *seen == [true, true]);
        let both: Vec<String> = both.map(|(alert, _)| alert).collect();
        let mut alerts: Vec<String> = rules(name).all().map(|rule| rule.alert.clone()).collect();
        alerts.sort();
        assert_eq!(both, alerts);
    }
}

#[test]
fn prometheus_fires_them_in_their_cases_and_in_no_others() {
    if !installed(&["promtool"]) {
        return;
    }
    for name in COMPONENTS {
        let work = TempDir::new().unwrap();
        rules_file(work.path(), name);
        let tests = component(name).join("alerts.test.yaml");
        std::fs::copy(tests, work.path().join("alerts.test.yaml")).unwrap();
        let output = promtool(work.path());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {told}");
        // Cases that no change of their rule breaks are none.
        for rule in rules(name).all() {
            let alert = &rule.alert;
            let output = promtool_with(name, alert, &rule.expr);
            assert!(output.status.success(), "{alert} alone");
            for expression in ["vector(0) > 1", "vector(1)"] {
                let output = promtool_with(name, alert, expression);
                assert!(!output.status.success(), "{alert}: {expression}");
            }
        }
    }
}
