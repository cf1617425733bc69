//! What a run prints and writes for programs: JSON in its schema, GitHub, GitLab.

use std::path::Path;

use jsonschema::Validator;
use regmirror::report::schema_text;
use serde_json::Value;

use crate::support::Fault;
use crate::support::bench::Bench;
use crate::support::images::{push_image, push_index, push_referrer, repo};
use crate::support::program::{Program, run, told};

const ALL: &str = "name: app, source: SOURCE/app, target: TARGET/app, type: repository";
const GONE: &str = "name: gone, source: 'SOURCE/gone:1', target: 'TARGET/gone:1', type: image";

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(&schema_text()).unwrap();
    jsonschema::validator_for(&schema).expect("a schema")
}

fn assert_valid(validator: &Validator, document: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{document:#}");
}

/// A source of which one of each kind comes: to copy, changed, the same, left
/// out, failing.
async fn of_every_kind() -> Bench {
    let bench = Bench::new().await;
    let app = repo("app");
    let index = push_index(bench.source.store(), &app, "fresh").await;
    push_referrer(bench.source.store(), &app, &index, "sig").await;
    push_image(bench.source.store(), &app, Some("moved"), &[b"new"]).await;
    push_image(bench.target.store(), &app, Some("moved"), &[b"old"]).await;
    push_image(bench.source.store(), &app, Some("debug"), &[b"debug"]).await;
    for registry in [&bench.source, &bench.target] {
        push_image(registry.store(), &app, Some("same"), &[b"same"]).await;
    }
    bench
}

fn jobs() -> [String; 2] {
    [
        format!("{ALL}, referrers: true, tags: {{deny: [debug]}}"),
        GONE.to_owned(),
    ]
}

#[test]
fn the_schema_is_the_one_that_is_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/report.schema.json");
    if std::env::var_os("REGMIRROR_BLESS").is_some() {
        std::fs::write(&path, schema_text()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        kept,
        schema_text(),
        "REGMIRROR_BLESS=1 cargo test writes it anew"
    );
    let (code, out, _) = told(&run(&["config", "schema", "--of", "report"]));
    assert_eq!((code, out), (0, kept));
}

#[tokio::test]
async fn every_form_is_in_the_schema_and_says_the_same() {
    let validator = validator();
    // A schema that takes anything would prove nothing.
    for wrong in [
        r#"{"type": "tag"}"#,
        r#"{"type": "nothing"}"#,
        r#"{"type": "tag", "sync_job": "a", "source": "b", "result": "eaten"}"#,
    ] {
        let wrong: Value = serde_json::from_str(wrong).unwrap();
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
    for command in ["check", "once"] {
        let bench = of_every_kind().await;
        let jobs = jobs();
        let jobs = [jobs[0].as_str(), jobs[1].as_str()];
        let more: &[&str] = match command {
            "check" => &["--explain"],
            _ => &[],
        };
        let lines = [
            &[command, "-o", "jsonl", "-v", "off", "--report", "r.json"],
            more,
        ]
        .concat();
        let mut program = bench.program(&jobs, &lines);
        let (code, out, err) = program.run().await;
        assert_eq!((code, err.as_str()), (1, ""), "{out}");
        let lines: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
        let kinds = (of("start"), of("tag"), of("job"), of("report"));
        assert_eq!(kinds, (1, 5, 2, 1), "{out}");
        assert_eq!(lines[0]["type"], "start");
        assert_eq!(lines[0]["schema_version"], 1);
        assert_eq!(lines.last().unwrap()["type"], "report");
        let written: Value = serde_json::from_str(&program.file("r.json")).unwrap();
        for document in lines.iter().chain([&written]) {
            assert_valid(&validator, document);
        }
        assert_eq!(written["exit_code"], 1);
        assert_eq!(written["result"], "partial");
        assert_eq!(written["command"], command);
        assert_eq!(written["totals"], lines.last().unwrap()["totals"]);
        let result = |name: &str| {
            let line = lines.iter().find(|line| {
                let source = line["source"].as_str().unwrap_or_default();
                source.ends_with(&format!(":{name}"))
            });
            let line = line.unwrap_or_else(|| panic!("{name}: {out}"));
            let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            (text("result"), text("reason"))
        };
        let changed = if command == "check" {
            "pending"
        } else {
            "copied"
        };
        let pair = |result: &str, reason: &str| (result.to_owned(), reason.to_owned());
        assert_eq!(result("fresh"), pair(changed, "missing"));
        assert_eq!(result("moved"), pair(changed, "changed"));
        assert_eq!(result("same"), pair("unchanged", "-"));
        assert_eq!(result("debug"), pair("excluded", "denied"));
        assert_eq!(result("1"), pair("failed", "not_found"));
        // The document lists what changed or failed; explained, all.
        let tags = written["jobs"][0]["tags"].as_array().unwrap().len();
        assert_eq!(tags, if command == "check" { 4 } else { 2 });
        let moved = lines
            .iter()
            .find(|line| line["reason"] == "changed")
            .unwrap();
        assert_ne!(moved["previous"], moved["digest"]);
    }
}

#[tokio::test]
async fn other_answers_are_in_the_schema_too() {
    let validator = validator();
    let (_, out, _) = told(&run(&["version", "-o", "json"]));
    assert_valid(&validator, &serde_json::from_str(&out).unwrap());
    let bench = of_every_kind().await;
    let arguments = ["auth", "check", "-o", "json", "-v", "off"];
    let (code, out, _) = bench.program(&[ALL, GONE], &arguments).run().await;
    assert_eq!(code, 1, "{out}");
    assert_valid(&validator, &serde_json::from_str(&out).unwrap());
    let (_, out, _) = bench
        .program(&[ALL], &["check", "-o", "json", "-v", "off"])
        .run()
        .await;
    assert_valid(&validator, &serde_json::from_str(&out).unwrap());
}

#[tokio::test]
async fn a_github_workflow_gets_a_summary_and_annotations() {
    let bench = of_every_kind().await;
    // What a registry says is no Markdown and no command.
    let hostile = r#"{"errors":[{"code":"X","message":"![x](http://e) <b> a|b\n::error::x"}]}"#;
    bench
        .source
        .on("HEAD", "/gone/", 9, Fault::reply(404, &[], ""));
    bench
        .source
        .on("GET", "/gone/", 9, Fault::reply(400, &[], hostile));
    let jobs = jobs();
    let mut program = bench
        .program(&[&jobs[0], &jobs[1]], &["once", "-v", "off", "-o", "json"])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", "summary.md");
    std::fs::write(program.folder.path().join("summary.md"), "before\n").unwrap();
    let (code, out, err) = program.run().await;
    assert_eq!(code, 1, "{err}");
    serde_json::from_str::<Value>(&out).expect("results alone on standard output");
    let lines: Vec<&str> = err.lines().collect();
    let line = bench.config(&["", ""]).lines().count();
    assert_eq!(lines.len(), 1, "{err}");
    let start = format!("::error file=mirror.yml,line={line},col=6,title=sync/failed::");
    assert!(lines[0].starts_with(&start), "{err}");
    assert!(lines[0].contains("gone:1"), "{err}");
    let summary = program.file("summary.md");
    assert!(summary.starts_with("before\n"), "{summary}");
    for row in [
        "| app | 2 | 0 | 1 | 1 | 0 |",
        "| gone | 0 | 0 | 0 | 0 | 1 |",
    ] {
        assert!(summary.contains(row), "{summary}");
    }
    assert!(
        !summary.contains("![x]") && !summary.contains("a|b") && !summary.contains("<b>"),
        "{summary}"
    );
    assert!(!summary.contains("\n::error"), "{summary}");
    // A configuration with a fault is shown at its line.
    let mut program =
        Program::new("sync:\n- {source: [x]}\n", &["once"]).env("GITHUB_ACTIONS", "true");
    let (code, _, err) = program.run().await;
    assert_eq!(code, 3);
    assert!(err.contains("::error file=mirror.yml,line=2,"), "{err}");
}

#[tokio::test]
async fn gitlab_gets_a_code_quality_report() {
    let bench = of_every_kind().await;
    let jobs = jobs();
    let arguments = [
        "once",
        "-v",
        "off",
        "-o",
        "jsonl",
        "--code-quality",
        "q.json",
    ];
    let mut program = bench.program(&[&jobs[0], &jobs[1]], &arguments);
    assert_eq!(program.run().await.0, 1);
    let issues: Value = serde_json::from_str(&program.file("q.json")).unwrap();
    let issues = issues.as_array().unwrap();
    assert_eq!(issues.len(), 1, "{issues:#?}");
    let issue = &issues[0];
    assert!(issue["description"].as_str().unwrap().contains("gone:1"));
    assert_eq!(issue["location"]["path"], "mirror.yml");
    let line = bench.config(&["", ""]).lines().count();
    assert_eq!(issue["location"]["lines"]["begin"], line);
    assert_eq!(issue["severity"], "blocker");
    // So does one whose configuration cannot be used.
    let faulty = "sync:\n- {source: [x]}\n";
    let mut program = Program::new(faulty, &["once", "--code-quality", "q.json"]);
    assert_eq!(program.run().await.0, 3);
    let issues: Value = serde_json::from_str(&program.file("q.json")).unwrap();
    assert_eq!(issues[0]["location"]["lines"]["begin"], 2, "{issues:#}");
    // One that is not begun leaves none.
    let arguments = [
        "once",
        "--job",
        "x",
        "--code-quality",
        "q.json",
        "--report",
        "r.json",
    ];
    let mut program = bench.program(&[&jobs[0]], &arguments);
    assert_eq!(program.run().await.0, 2);
    for name in ["q.json", "r.json"] {
        assert!(!program.folder.path().join(name).exists(), "{name}");
    }
    // And one where all is well an empty one.
    let arguments = ["check", "-v", "off", "--code-quality", "q.json"];
    let mut program = bench.program(&[&jobs[0]], &arguments);
    assert_eq!(program.run().await.0, 0);
    assert_eq!(program.file("q.json").trim(), "[]");
}

#[tokio::test]
async fn what_registries_warn_of_is_told_once_at_the_end() {
    let bench = of_every_kind().await;
    let warning = r#"299 - "pull by digest from March on""#;
    // A GET finds what this HEAD does not.
    let with = Fault::reply(404, &[("warning", warning)], "");
    for tag in ["same", "fresh"] {
        let path = format!("/app/manifests/{tag}");
        bench.source.on("HEAD", &path, 1, with.clone());
    }
    let arguments = ["once", "--report", "r.json"];
    let mut program = bench.program(&[ALL], &arguments);
    let (code, _, err) = program.run().await;
    assert_eq!(code, 0, "{err}");
    let told: Vec<&str> = err
        .lines()
        .filter(|line| line.contains("from March on"))
        .collect();
    assert_eq!(told.len(), 1, "{err}");
    assert_eq!(err.lines().last(), Some(told[0]), "{err}");
    assert!(
        told[0].contains(bench.source.address()) && told[0].contains("WARN"),
        "{err}"
    );
    let report: Value = serde_json::from_str(&program.file("r.json")).unwrap();
    assert_eq!(report["warnings"][0]["registry"], bench.source.address());
    assert_eq!(
        report["warnings"][0]["text"],
        "pull by digest from March on"
    );
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn quiet_prints_what_failed_and_nothing_else() {
    let bench = of_every_kind().await;
    let jobs = jobs();
    let quiet = ["once", "-q"];
    let (code, out, err) = bench.program(&[&jobs[0]], &quiet).run().await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let (code, out, err) = bench.program(&[&jobs[0], &jobs[1]], &quiet).run().await;
    assert_eq!((code, err.as_str()), (1, ""));
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(
        out.starts_with("FAILED  ") && out.contains("gone:1"),
        "{out}"
    );
}

#[tokio::test]
async fn colours_are_used_where_they_are_wanted() {
    let bench = of_every_kind().await;
    let coloured = async |arguments: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["check", "-v", "off"], arguments].concat();
        let mut program = bench.program(&[ALL], &arguments);
        program.command.envs(variables.iter().copied());
        program.run().await.1.contains('\u{1b}')
    };
    assert!(!coloured(&[], &[]).await, "a pipe");
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]).await);
    assert!(coloured(&[], &[("FORCE_COLOR", "1")]).await);
    assert!(!coloured(&[], &[("FORCE_COLOR", "1"), ("NO_COLOR", "1")]).await);
    assert!(!coloured(&["--color", "never"], &[("FORCE_COLOR", "1")]).await);
}

#[tokio::test]
async fn a_failure_says_what_how_often_why_and_what_to_do() {
    let bench = of_every_kind().await;
    bench
        .source
        .on("HEAD", "/gone/", 99, Fault::reply(503, &[], "busy"));
    bench
        .source
        .on("GET", "/gone/", 99, Fault::reply(503, &[], "busy"));
    let (code, out, _) = bench.program(&[GONE], &["check", "-v", "off"]).run().await;
    assert_eq!(code, 1);
    let line = out.lines().find(|line| line.starts_with("FAILED")).unwrap();
    for part in [
        "read tag",
        "gone:1",
        "503",
        "attempts in",
        "; check that it is reachable",
    ] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
}
