//! The metrics of the real process, against the table of them, which dashboards
//! and alerts rely on.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;

use crate::support::Fault;
use crate::support::bench::Bench;
use crate::support::daemon::Server;
use crate::support::images::{push_image, repo};

/// Name, type, labels and help of each.
const TABLE: &str = include_str!("snapshots/metrics.txt");

#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    /// By its labels.
    samples: BTreeMap<String, f64>,
    labels: BTreeSet<String>,
}

/// Reads the text format. Label values here hold no quotes.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| {
                    let base = name.strip_suffix(end)?;
                    families.contains_key(base).then_some(base)
                })
                .unwrap_or(name);
            let family = families.get_mut(base).expect("a help line comes first");
            let labels = labels.trim_end_matches('}');
            for pair in labels.split("\",").filter(|pair| !pair.is_empty()) {
                let label = pair.split_once('=').unwrap().0;
                if label != "le" {
                    family.labels.insert(label.to_owned());
                }
            }
            family
                .samples
                .insert(format!("{name}{{{labels}}}"), value.parse().unwrap());
        }
    }
    families
}

/// What `promtool check metrics` complains of.
fn lint(name: &str, family: &Family) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |text: &str| complaints.push(format!("{name}: {text}"));
    if family.help.is_empty() {
        complain("no help");
    }
    let counter = family.kind == "counter";
    if counter != name.ends_with("_total") {
        complain("counters, and no others, end in _total");
    }
    if family.kind != "histogram" {
        for end in ["_count", "_sum", "_bucket"] {
            if name.ends_with(end) {
                complain("ends like a part of a histogram");
            }
        }
    }
    for word in ["gauge", "counter", "histogram", "summary"] {
        if name.split('_').any(|part| part == word) {
            complain("names its type");
        }
    }
    for unit in [
        "milliseconds",
        "ms",
        "minutes",
        "hours",
        "days",
        "kilobytes",
        "kb",
        "mb",
        "bits",
        "percent",
    ] {
        if name.split('_').any(|part| part == unit) {
            complain("is in no base unit");
        }
    }
    let snake = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if !snake(name) || !family.labels.iter().all(|label| snake(label)) {
        complain("is not in snake case");
    }
    complaints
}

#[tokio::test]
async fn every_metric_of_the_table_is_there_as_it_says_and_no_other() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    bench.source.limit_pulls(50, 100, 21600);
    let job = "name: app, source: SOURCE/app, target: TARGET/app, type: repository, \
               schedule: '0 0 1 1 *'";
    let mut server = Server::with_token(bench.program(&[job], &["server"]));
    assert_eq!(server.run_job("app").await["result"], "success");
    let text = server.metrics().await;
    let seen = families(&text);
    let mut table = String::new();
    for line in TABLE.lines() {
        let name = line.split(' ').next().unwrap();
        let found = match seen.get(name) {
            None => format!("{name} is missing"),
            Some(Family {
                kind, help, labels, ..
            }) => {
                let labels: Vec<_> = labels.iter().map(String::as_str).collect();
                format!("{name} {kind} [{}] {help}", labels.join(" "))
            }
        };
        table += &found;
        table.push('\n');
    }
    assert_eq!(table, TABLE);
    let named: BTreeSet<_> = TABLE
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    for (name, family) in &seen {
        assert_eq!(lint(name, family), Vec::<String>::new());
        assert!(
            named.contains(name.as_str()) || name.starts_with("process_"),
            "{name} is not in the table"
        );
    }
    assert!(seen.contains_key("process_start_time_seconds"));
    let value = |series: &str| {
        let name = series.split('{').next().unwrap();
        let name = name.trim_end_matches("_count");
        seen[name].samples.get(series).copied()
    };
    // The image was copied by the pass at the start or by the first run.
    let processed = "regmirror_sync_tags_processed_total{result=\"copied\",sync_job=\"app\"";
    assert_eq!(value(&format!("{processed}}}")), Some(1.0));
    let (source, target) = (bench.source.address(), bench.target.address());
    for (series, wanted) in [
        (
            "regmirror_sync_runs_total{result=\"success\",sync_job=\"app\"}".to_owned(),
            1.0,
        ),
        (
            "regmirror_sync_runs_total{result=\"failure\",sync_job=\"app\"}".to_owned(),
            0.0,
        ),
        (
            "regmirror_sync_tags{state=\"in_sync\",sync_job=\"app\"}".to_owned(),
            1.0,
        ),
        (
            "regmirror_sync_expected_interval_seconds{sync_job=\"app\"}".to_owned(),
            31_536_000.0,
        ),
        (
            "regmirror_sync_run_duration_seconds_count{result=\"success\"}".to_owned(),
            1.0,
        ),
        (
            format!("regmirror_blobs_total{{registry=\"{target}\",result=\"copied\"}}"),
            2.0,
        ),
        (
            format!("regmirror_registry_rate_limit{{registry=\"{source}\"}}"),
            100.0,
        ),
        (
            format!("regmirror_registry_rate_limit_window_seconds{{registry=\"{source}\"}}"),
            21600.0,
        ),
        ("regmirror_config_sync_jobs{}".to_owned(), 1.0),
        ("regmirror_config_last_reload_successful{}".to_owned(), 1.0),
        ("regmirror_workers{}".to_owned(), 4.0),
        ("regmirror_workers_busy{}".to_owned(), 0.0),
    ] {
        assert_eq!(value(&series), Some(wanted), "{series}\n{text}");
    }
    let bytes = |registry: &str, direction: &str| {
        let labels = format!("direction=\"{direction}\",registry=\"{registry}\"");
        value(&format!("regmirror_transfer_bytes_total{{{labels}}}")).unwrap()
    };
    assert!(bytes(target, "upload") > 0.0, "{text}");
    assert_eq!(bytes(source, "download"), bytes(target, "upload"), "{text}");
    assert_eq!(bytes(source, "upload"), 0.0);
    let flying = "regmirror_registry_requests_in_flight";
    for value in seen[flying].samples.values() {
        assert_eq!(*value, 0.0, "{text}");
    }
    for time in [
        "regmirror_sync_last_success_timestamp_seconds{sync_job=\"app\"}",
        "regmirror_sync_next_run_timestamp_seconds{sync_job=\"app\"}",
        "regmirror_scheduler_last_tick_timestamp_seconds{}",
        "regmirror_config_last_reload_success_timestamp_seconds{}",
    ] {
        assert!(value(time).unwrap() > 1.7e9, "{time}");
    }

    // The other format, for those who ask for it.
    let url = server.url().await + "/metrics";
    let asked = crate::support::client().get(url).header(
        "accept",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    );
    let answer = asked.send().await.unwrap();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE regmirror_sync_runs counter\n"));
}

#[tokio::test]
async fn failures_retries_and_refusals_are_counted_and_what_is_gone_is_not() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    bench
        .source
        .on("HEAD", "/manifests/1", 1, Fault::Status(503));
    let job = |name: &str, tag: &str| {
        format!(
            "name: {name}, source: 'SOURCE/app:{tag}', target: 'TARGET/app:{tag}', \
             type: image, schedule: '0 0 1 1 *'"
        )
    };
    let (here, missing) = (job("here", "1"), job("missing", "none"));
    let arguments = ["server", "--reload-interval", "0"];
    let mut server = Server::with_token(bench.program(&[&here, &missing], &arguments));
    assert_eq!(server.run_job("here").await["result"], "success");
    assert_eq!(server.run_job("missing").await["result"], "failure");
    let text = server.metrics().await;
    let has = |text: &str, line: &str| text.lines().any(|known| known == line);
    let source = bench.source.address();
    for line in [
        "regmirror_sync_runs_total{result=\"failure\",sync_job=\"missing\"} 1".to_owned(),
        "regmirror_sync_tags{state=\"failed\",sync_job=\"missing\"} 1".to_owned(),
        "regmirror_sync_last_success_timestamp_seconds{sync_job=\"missing\"} 0".to_owned(),
        format!("regmirror_registry_retries_total{{reason=\"server\",registry=\"{source}\"}} 1"),
        format!(
            "regmirror_registry_requests_total{{code=\"503\",method=\"HEAD\",\
             operation=\"manifest\",registry=\"{source}\"}} 1"
        ),
    ] {
        assert!(has(&text, &line), "{line}\n{text}");
    }

    let path = server.program.folder.path().join("mirror.yml");
    std::fs::write(&path, bench.config(&[&here])).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.says("the configuration was read again").await;
    let text = server.metrics().await;
    assert!(!text.contains("sync_job=\"missing\""), "{text}");
    assert!(text.contains("sync_job=\"here\""));
    std::fs::write(&path, "sync: [").unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.says("the one before stays").await;
    let text = server.metrics().await;
    assert!(
        has(&text, "regmirror_config_last_reload_successful 0"),
        "{text}"
    );
    assert!(has(
        &text,
        "regmirror_config_reloads_total{result=\"failure\"} 1"
    ));
    assert!(has(
        &text,
        "regmirror_config_reloads_total{result=\"success\"} 2"
    ));

    // What has no route is no series of its own.
    server.ask(Method::GET, "/a/b/c", "").await;
    server.get("/api/v1/jobs/here").await;
    let text = server.metrics().await;
    assert!(
        has(
            &text,
            "regmirror_http_requests_total{code=\"404\",path=\"other\"} 1"
        ),
        "{text}"
    );
    let job = "regmirror_http_requests_total{code=\"200\",path=\"/api/v1/jobs/{name}\"} ";
    assert!(text.contains(job), "{text}");
}
