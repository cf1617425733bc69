//! The dashboard and the alerts, against what the process exposes: by the table of its
//! metrics, and in a real Prometheus that scrapes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use reqwest::Url;
use serde_json::Value;

use super::alerts::{rules, rules_file};
use super::{folder, installed};
use crate::support::bench::Bench;
use crate::support::client;
use crate::support::daemon::Server;
use crate::support::images::{push_image, repo};
use crate::support::program::with_input;
use crate::support::server;

/// What the process exposes, as a test of it makes sure.
const TABLE: &str = include_str!("../snapshots/metrics.txt");

/// What Prometheus puts on all that it scrapes.
const TARGET: [&str; 3] = ["job", "instance", "namespace"];

/// What others expose.
const OTHERS: [(&str, &[&str]); 8] = [
    ("up", &[]),
    ("kube_cronjob_status_last_successful_time", &["cronjob"]),
    ("kube_cronjob_created", &["cronjob"]),
    ("kube_cronjob_spec_suspend", &["cronjob"]),
    ("process_start_time_seconds", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_cpu_seconds_total", &[]),
    ("process_open_fds", &[]),
];

fn dashboard() -> Value {
    let path = folder().join("components/monitoring/dashboard.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The panels but for headings.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

/// Each expression of the dashboard, with where it is, and all that is chosen.
fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let chosen = |text: &str| {
        let all = Regex::new(r"\$(job|namespace|sync_job|registry)\b").unwrap();
        all.replace_all(text, ".*")
            .replace("$__rate_interval", "1m")
    };
    let mut queries = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap().to_owned();
            queries.push((title, chosen(target["expr"].as_str().unwrap())));
        }
    }
    queries
}

/// The labels of each metric there is.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let row = Regex::new(r"^(\S+) (\S+) \[(.*?)\]").unwrap();
    let mut known = BTreeMap::new();
    for line in TABLE.lines() {
        let row = row.captures(line).unwrap();
        let mut labels: BTreeSet<String> = row[3].split_whitespace().map(str::to_owned).collect();
        labels.extend(TARGET.map(str::to_owned));
        if &row[2] == "histogram" {
            labels.insert("le".to_owned());
            for part in ["bucket", "sum", "count"] {
                known.insert(format!("{}_{part}", &row[1]), labels.clone());
            }
        } else {
            known.insert(row[1].to_owned(), labels);
        }
    }
    for (name, labels) in OTHERS {
        let labels = labels.iter().chain(&TARGET).map(ToString::to_string);
        known.insert(name.to_owned(), labels.collect());
    }
    known
}

/// What an expression wants that there is not.
fn unknown(expression: &str, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let metric = Regex::new(r"\b((?:regmirror|process|kube)_\w+|up)\b(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)\s*"(?:[^"]*)""#).unwrap();
    let grouping = Regex::new(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)").unwrap();
    let mut unknown = Vec::new();
    let mut all: BTreeSet<&str> = BTreeSet::new();
    // Names in label values, such as that of a job, are none of metrics.
    let bare = Regex::new(r#""[^"]*""#)
        .unwrap()
        .replace_all(expression, "\"\"")
        .into_owned();
    for found in metric.captures_iter(&bare) {
        match known.get(&found[1]) {
            None => unknown.push(found[1].to_owned()),
            Some(labels) => {
                all.extend(labels.iter().map(String::as_str));
                let wanted = found.get(2).map_or("", |wanted| wanted.as_str());
                for label in matcher.captures_iter(wanted) {
                    if !labels.contains(&label[1]) {
                        unknown.push(format!("{}{{{}}}", &found[1], &label[1]));
                    }
                }
            }
        }
    }
    for found in grouping.captures_iter(&bare) {
        for label in found[1].split(',').map(str::trim) {
            if !all.contains(label) {
                unknown.push(format!("by {label}"));
            }
        }
    }
    assert!(
        !all.is_empty() || !unknown.is_empty(),
        "{expression} is of nothing"
    );
    unknown
}

#[test]
fn rules_and_dashboard_use_only_what_the_process_exposes() {
    let known = known();
    let rules: Vec<_> = ["monitoring", "monitoring-once"].map(rules).into();
    let rules = rules.iter().flat_map(|rules| rules.all());
    let rules = rules.map(|rule| (rule.alert.clone(), rule.expr.clone()));
    let mut all: Vec<(String, String)> = rules.chain(queries()).collect();
    for annotation in dashboard()["annotations"]["list"].as_array().unwrap() {
        let text = annotation["expr"].as_str().unwrap();
        all.push(("annotation".to_owned(), text.to_owned()));
    }
    for variable in dashboard()["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue;
        };
        let (metric, label) = query
            .strip_prefix("label_values(")
            .and_then(|query| query.strip_suffix(')')?.rsplit_once(", "))
            .unwrap();
        assert!(unknown(metric, &known).is_empty(), "{query}");
        let name = metric.split('{').next().unwrap();
        assert!(known[name].contains(label), "{query}");
    }
    assert!(all.len() > 50, "{}", all.len());
    for (place, expression) in all {
        assert_eq!(
            unknown(&expression, &known),
            Vec::<String>::new(),
            "{place}"
        );
    }
    for (wrong, told) in [
        ("regmirror_nothing == 1", "regmirror_nothing"),
        (
            "regmirror_sync_tags{status=\"failed\"}",
            "regmirror_sync_tags{status}",
        ),
        ("sum by (tag) (regmirror_sync_tags)", "by tag"),
        (
            "regmirror_sync_run_duration_seconds",
            "regmirror_sync_run_duration_seconds",
        ),
    ] {
        assert_eq!(unknown(wrong, &known), [told]);
    }
}

/// Every metric is to be seen somewhere, or there is a reason.
#[test]
fn the_dashboard_shows_what_there_is() {
    const ELSEWHERE: [&str; 10] = [
        // Times that the status page and the API tell better.
        "regmirror_sync_last_completion_timestamp_seconds",
        "regmirror_sync_last_start_timestamp_seconds",
        "regmirror_config_last_reload_success_timestamp_seconds",
        "regmirror_config_reloads_total",
        // To compare replicas.
        "regmirror_config_hash",
        // What alerts are made of.
        "regmirror_scheduler_last_tick_timestamp_seconds",
        "regmirror_registry_rate_limit_window_seconds",
        "regmirror_registry_rate_limit_reset_timestamp_seconds",
        "regmirror_registry_rate_limit_observed_timestamp_seconds",
        "regmirror_http_requests_total",
    ];
    let shown: String = queries()
        .into_iter()
        .map(|(_, query)| query + "\n")
        .collect();
    for line in TABLE.lines() {
        let name = line.split(' ').next().unwrap();
        let known = Regex::new(&format!(r"\b{name}(_bucket)?\b")).unwrap();
        assert_ne!(known.is_match(&shown), ELSEWHERE.contains(&name), "{name}");
    }
}

#[test]
fn panels_are_told_apart_and_explained() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "regmirror");
    let mut ids = BTreeSet::new();
    let mut taken: BTreeSet<(i64, i64)> = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{panel:#}");
        let place = |member: &str| panel["gridPos"][member].as_i64().unwrap();
        for x in place("x")..place("x") + place("w") {
            assert!(x < 24, "{}", panel["title"]);
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
        let title = panel["title"].as_str().unwrap();
        if panel["type"] != "row" {
            assert!(
                panel["description"].as_str().unwrap().ends_with(['.', ')']),
                "{title}"
            );
            let datasources = panel["targets"].as_array().unwrap().iter();
            for datasource in datasources.map(|target| &target["datasource"]["uid"]) {
                assert_eq!(datasource, "${datasource}", "{title}");
            }
        }
    }
}

/// A Prometheus that scrapes a server, with our rules.
struct Prometheus {
    server: server::Server,
}

impl Prometheus {
    fn scraping(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = rules_file(folder.path(), "monitoring");
        let config = serde_json::json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": "regmirror",
                "static_configs": [{"targets": [address], "labels": {"namespace": "ns"}}],
            }],
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg("--config.file")
            .arg(file)
            .arg("--storage.tsdb.path")
            .arg(folder.path().join("data"))
            .args(["--web.listen-address", "127.0.0.1:0"]);
        let announced = "msg=\"Listening on\" address=";
        Self {
            server: server::Server::start(command, folder, announced),
        }
    }

    async fn ask(&self, path: &str, query: &str) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.server.address);
        let url = Url::parse_with_params(&url, [("query", query)]).unwrap();
        let text = client()
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let answer: Value = serde_json::from_str(&text).expect(&text);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"].clone()
    }

    /// Waits until what it knows is so.
    async fn until(&self, path: &str, query: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            let data = self.ask(path, query).await;
            if so(&data) {
                return data;
            }
            let late = began.elapsed() > Duration::from_secs(60);
            assert!(!late, "{query}: {data:#}\n{}", self.server.log());
            again.tick().await;
        }
    }
}

#[tokio::test]
async fn every_panel_shows_something_of_a_real_process_and_no_alert_fires() {
    if !installed(&["prometheus", "promtool"]) {
        return;
    }
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    bench.source.limit_pulls(50, 100, 21600);
    let job = "name: app, source: SOURCE/app, target: TARGET/app, type: repository, \
               interval: 1h, backup: 'old-{{.Ref.Tag}}'";
    let mut regmirror = Server::with_token(bench.program(&[job], &["server"]));
    assert_eq!(regmirror.run_job("app").await["result"], "success");
    let text = regmirror.metrics().await;

    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped());
    let checked = tokio::task::spawn_blocking(move || with_input(check, &text));
    let checked = checked.await.unwrap();
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && told.is_empty(), "{told}");

    let address = regmirror.url().await.replace("http://", "");
    let prometheus = Prometheus::scraping(&address);
    // Rates are of two samples.
    let samples = "count_over_time(regmirror_sync_running[1m]) >= 3";
    let some = |data: &Value| !data["result"].as_array().unwrap().is_empty();
    prometheus.until("query", samples, some).await;
    for (title, query) in queries() {
        let data = prometheus.ask("query", &query).await;
        assert!(some(&data), "{title}: nothing comes of {query}");
    }
    let evaluated = |data: &Value| {
        let groups = data["groups"].as_array().unwrap().iter();
        let mut rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        rules.all(|rule| rule["health"] == "ok")
    };
    let data = prometheus.until("rules", "", evaluated).await;
    let mut count = 0;
    for group in data["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["state"], "inactive", "{rule:#}");
            count += 1;
        }
    }
    assert_eq!(count, rules("monitoring").all().count());
}
