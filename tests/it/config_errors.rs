//! What people are told of a configuration that is wrong.
//!
//! The messages are kept in `snapshots/config_errors.txt`. After a change that
//! is meant, `REGMIRROR_BLESS=1 cargo test config_errors` writes them anew.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;
use regmirror::config::{Config, ConfigError, Format, Report, Severity};
use serde_json::Value;

/// What is wrong, and a file that is wrong in that way.
const CASES: &[(&str, &str)] = &[
    (
        "an unclosed quote",
        "sync:\n- source: \"alpine\n  target: r.test/a\n",
    ),
    (
        "a tab for indentation",
        "sync:\n-\tsource: a\n\t\ttarget: b\n",
    ),
    ("an unclosed list", "sync: [\n"),
    ("a colon in plain text", "sync:\n- source: a: b\n"),
    ("no YAML at all", "}{"),
    ("an alias of nothing", "sync: *jobs\n"),
    ("an alias of itself", "sync: &a [*a]\n"),
    (
        "a merge of text",
        "sync:\n- <<: base\n  source: a\n  target: r.test/a\n  type: image\n",
    ),
    (
        "a key that stands twice",
        "sync:\n- source: a\n  target: r.test/a\n  type: image\n  source: b\n",
    ),
    ("a key that is a list", "? [a, b]\n: c\n"),
    (
        "text for a list",
        "sync:\n- {source: a, target: r.test/a, type: repository, tags: {allow: latest}}\n",
    ),
    ("text for a map", "defaults: yes\n"),
    (
        "a list for text",
        "sync:\n- source: [a, b]\n  target: r.test/a\n  type: image\n",
    ),
    ("a list for a map", "creds:\n- [registry, r.test]\n"),
    ("a list for the whole", "- source: a\n"),
    ("text for a flag", "defaults: {referrers: maybe}\n"),
    ("a quoted flag", "defaults: {referrers: \"true\"}\n"),
    ("text for a number", "defaults: {parallel: four}\n"),
    ("a fraction for a number", "defaults: {parallel: 1.5}\n"),
    (
        "a number that is too large",
        "defaults: {parallel: 99999999999999999999}\n",
    ),
    ("nothing in a list", "sync:\n-\n"),
    (
        "an unknown key",
        "sync:\n- source: a\n  target: r.test/a\n  type: image\n  intervall: 5m\n",
    ),
    (
        "a key of another place",
        "sync:\n- source: a\n  target: r.test/a\n  type: repository\n  allow: [x]\n  parallel: 3\n",
    ),
    ("a version of tomorrow", "version: 2\n"),
    (
        "an unknown type",
        "sync:\n- source: a\n  target: r.test/a\n  type: imag\n",
    ),
    (
        "all that is needed missing",
        "sync:\n- name: lonely\ncreds:\n- tls: disabled\n",
    ),
    (
        "a reference that is none",
        "sync:\n- source: Alpine:3\n  target: r.test/a:b:c\n  type: image\n",
    ),
    (
        "a target that is its source",
        "sync:\n- {source: 'r.test/a:1', target: 'r.test/a:1', type: image}\n",
    ),
    ("a duration without a unit", "defaults: {interval: 60}\n"),
    (
        "a catastrophic pattern",
        "sync:\n- source: a\n  target: r.test/a\n  type: repository\n  tags:\n    deny: [ok, '((a{1000}){1000}){1000}']\n",
    ),
    (
        "a pattern that is none",
        "sync:\n- source: a\n  target: r.test/a\n  type: repository\n  tags: {allow: [ok, '[a']}\n",
    ),
    (
        "a look-around",
        "sync:\n- source: a\n  target: r.test/a\n  type: repository\n  tags: {allow: ['(?!x).*']}\n",
    ),
    (
        "a range that is none",
        "sync:\n- source: a\n  target: r.test/a\n  type: repository\n  tags: {semverRange: ['^1', '>=one']}\n",
    ),
    (
        "no latest",
        "sync:\n- source: a\n  target: r.test/a\n  type: repository\n  tags: {latest: 0, sort: age}\n",
    ),
    (
        "an impossible schedule",
        "defaults: {schedule: \"0 0 30 2 *\"}\n",
    ),
    (
        "a schedule with seconds",
        "sync:\n- {source: a, target: r.test/a, type: image, schedule: '0 0 3 * * *'}\n",
    ),
    (
        "a time that is none",
        "defaults:\n  schedule: \"75 * * * *\"\n",
    ),
    (
        "a zone that is none",
        "defaults: {schedule: TZ=Europe/Berln 0 3 * * *}\n",
    ),
    (
        "a template with an unknown function",
        "sync:\n- source: '{{ envv \"X\" }}'\n  target: r.test/a\n  type: image\n",
    ),
    (
        "a template that is not closed",
        "sync:\n- source: a\n  target: 'r.test/{{ .Sync.Type'\n  type: image\n",
    ),
    (
        "a template with an unknown field",
        "sync:\n- source: a\n  target: r.test/a\n  type: image\n  backup: 'old-{{ .Ref.Tga }}'\n",
    ),
    (
        "a template whose file is not there",
        "sync:\n- source: '{{ file \"/nowhere/at/all\" }}'\n  target: r.test/a\n  type: image\n",
    ),
    (
        "a secret template",
        "creds:\n- registry: r.test\n  user: me\n  pass: '{{ .Password }}'\n",
    ),
    (
        "a password without a user",
        "creds:\n- registry: r.test\n  pass: hunter2\n  pss: hunter2\n",
    ),
    (
        "a registry that stands twice",
        "creds:\n- registry: r.test\n- registry: r.test\n",
    ),
    (
        "two jobs of one name",
        "sync:\n- {name: x, source: a, target: r.test/a, type: image}\n- {name: x, source: b, target: r.test/b, type: image}\n",
    ),
    (
        "two jobs for one tag",
        "sync:\n- {source: a, target: r.test/a, type: image}\n- {source: b, target: 'r.test/a:latest', type: image}\n",
    ),
    (
        "a platform that is none",
        "sync:\n- source: a\n  target: r.test/a\n  type: image\n  platforms: [linux/amd64, arm64]\n",
    ),
    (
        "a platform and platforms",
        "sync:\n- source: a\n  target: r.test/a\n  type: image\n  platform: linux/amd64\n  platforms: [linux/arm64]\n",
    ),
    (
        "a hook without a program",
        "sync:\n- source: a\n  target: r.test/a\n  type: image\n  hooks: {pre: {type: exec}, post: {type: http, params: [x]}}\n",
    ),
    (
        "a fault in what is inherited",
        "defaults:\n  backup: '{{ .Ref.Tga }}'\nsync:\n- {source: a, target: r.test/a, type: image}\n- {source: b, target: r.test/b, type: image}\n",
    ),
    (
        "keys without effect",
        "sync:\n- source: a\n  target: r.test/a\n  type: image\n  tags: {allow: [x]}\n  referrerSlow: true\n  platformIndex: rewrite\n  fastCopy: true\n",
    ),
    (
        "characters of other scripts",
        "sync:\n- source: älpine\n  target: r.test/ä\n  type: image\n  привет: мир\n",
    ),
];

fn report(text: &str) -> Report {
    match Config::parse(text, "mirror.yml") {
        Ok(config) => config.warnings,
        Err(ConfigError::Faulty(report)) => report,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn messages_are_as_they_were() {
    let mut told = String::new();
    for (name, text) in CASES {
        let report = report(text);
        assert!(!report.is_empty(), "{name}: nothing is found");
        let shown = report.render(Format::Human { colour: false });
        assert!(!shown.contains("hunter2"), "{name}: {shown}");
        for finding in report.findings() {
            assert!(finding.place.is_some(), "{name}: {finding} has no place");
        }
        let _ = writeln!(told, "==== {name}\n{shown}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/config_errors.txt");
    if std::env::var_os("REGMIRROR_BLESS").is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    for (now, then) in told.split("==== ").zip(kept.split("==== ")) {
        assert_eq!(now, then);
    }
    assert_eq!(told, kept);
}

#[test]
fn every_form_of_a_report_says_the_same() {
    for (name, text) in CASES {
        let report = report(text);
        let count = report.findings().len();
        let json: Value = serde_json::from_str(&report.render(Format::Json)).unwrap();
        assert_eq!(json["findings"].as_array().unwrap().len(), count, "{name}");
        let errors = report
            .findings()
            .iter()
            .filter(|found| found.severity == Severity::Error);
        assert_eq!(json["errors"], errors.count(), "{name}");
        let github = report.render(Format::Github);
        assert_eq!(github.lines().count(), count, "{name}: {github}");
        assert!(
            github
                .lines()
                .all(|line| line.starts_with("::error file=mirror.yml,line=")
                    || line.starts_with("::warning file=mirror.yml,line=")),
            "{github}"
        );
        let gitlab: Value = serde_json::from_str(&report.render(Format::Gitlab)).unwrap();
        let gitlab = gitlab.as_array().unwrap();
        assert_eq!(gitlab.len(), count, "{name}");
        let mut prints: Vec<&str> = gitlab
            .iter()
            .map(|found| found["fingerprint"].as_str().unwrap())
            .collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), count, "{name}: fingerprints are unique");
        for (finding, line) in report.findings().iter().zip(report.to_string().lines()) {
            assert!(
                line.starts_with("mirror.yml:") && line.contains(&finding.message),
                "{line}"
            );
        }
        for format in [Format::Json, Format::Github, Format::Gitlab] {
            assert!(!report.render(format).contains("hunter2"), "{name}");
        }
    }
}

#[test]
fn places_are_told_in_lines_and_characters() {
    let json: Value = serde_json::from_str(
        &report("# ä\nsync:\n- {source: ä, x: 1, type: imag}\n").render(Format::Json),
    )
    .unwrap();
    let place = |key: &str| {
        let found = json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|found| found["key"] == key);
        found.unwrap()["place"].clone()
    };
    let (kind, unknown) = (place("sync[0].type"), place("sync[0].x"));
    assert_eq!(
        (&kind["line"], &kind["column"], &kind["endColumn"]),
        (&3.into(), &27.into(), &31.into())
    );
    assert_eq!(
        (&unknown["line"], &unknown["column"]),
        (&3.into(), &15.into())
    );
    let github = report("a%b: 1\n").render(Format::Github);
    assert!(github.contains("a%25b"), "{github}");
}

#[test]
fn colours_are_only_where_they_are_asked_for() {
    let report = report("version: 2\n");
    assert!(
        report
            .render(Format::Human { colour: true })
            .contains('\u{1b}')
    );
    assert!(
        !report
            .render(Format::Human { colour: false })
            .contains('\u{1b}')
    );
}

#[test]
fn a_file_of_faults_is_told_of_in_bounds() {
    let text = format!("sync:\n{}", "- {type: imag}\n".repeat(2000));
    let shown = report(&text).render(Format::Human { colour: false });
    assert!(
        shown.lines().count() < 500 && shown.contains("more\n"),
        "{}",
        shown.lines().count()
    );
    let began = Instant::now();
    let many = report(&format!("defaults:\n{}", "  k: 1\n".repeat(50_000)));
    assert!(many.findings().len() > 50_000);
    for format in [
        Format::Human { colour: false },
        Format::Json,
        Format::Github,
        Format::Gitlab,
    ] {
        let _ = many.render(format);
    }
    let _ = many.to_string();
    // Work that grows with the square of it would take hours.
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    let wide = format!("sync: [{{type: {}}}]\n", "x".repeat(100_000));
    let shown = report(&wide).render(Format::Human { colour: false });
    assert!(shown.len() < 2000, "{} bytes", shown.len());
}

#[test]
fn hostile_files_end_soon() {
    let mut bomb = "x0: &x0 [a,a,a,a,a,a,a,a,a]\n".to_owned();
    for n in 1..9 {
        let list = vec![format!("*x{}", n - 1); 9].join(",");
        bomb.push_str(&format!("x{n}: &x{n} [{list}]\n"));
    }
    let entries = "sync:\n- &e {source: a, target: r.test/a, type: image}\n";
    let merges =
        (0..2000).fold("x-m: &m {".to_owned(), |text, n| format!("{text}k{n}: 1, ")) + "}\nsync:\n";
    for (name, text) in [
        ("a bomb of aliases", format!("{bomb}sync: *x8\n")),
        (
            "a bomb that nobody reads",
            bomb.replace("x0: &x0", "x-0: &x0"),
        ),
        (
            "a million aliases",
            format!("{entries}{}", "- *e\n".repeat(500_000)),
        ),
        (
            "a million merges",
            format!("{merges}{}", "- <<: *m\n".repeat(200_000)),
        ),
        ("brackets", "[".repeat(1 << 20)),
        ("braces", "{a: ".repeat(1 << 18)),
        ("dashes", "- ".repeat(1 << 19)),
        ("quotes", "\"".repeat((1 << 20) + 1)),
        ("question marks", "? ".repeat(1 << 18)),
        ("anchors", "&a ".repeat(1 << 18)),
        ("spaces", " ".repeat(1 << 22)),
        (
            "entries of nothing",
            format!("sync:\n{}", "- {}\n".repeat(30_000)),
        ),
        (
            "one job many times",
            format!("{entries}{}", "- *e\n".repeat(30_000)),
        ),
        (
            "unknown keys",
            std::iter::once("defaults:\n".to_owned())
                .chain((0..100_000).map(|n| format!("  k{n}: 1\n")))
                .collect(),
        ),
        (
            "patterns",
            format!("sync: [{{tags: {{allow: [{}]}}}}]\n", "a,".repeat(300_000)),
        ),
    ] {
        let began = Instant::now();
        let _ = Config::parse(&text, "test");
        // A debug build on a busy machine: what has no bound takes minutes.
        assert!(
            began.elapsed().as_secs() < 20,
            "{name} took {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn an_alias_bomb_is_refused_unless_nobody_reads_it() {
    let mut bomb = "x-0: &x0 [a,a,a,a,a,a,a,a,a]\n".to_owned();
    for n in 1..9 {
        let list = vec![format!("*x{}", n - 1); 9].join(",");
        bomb.push_str(&format!("x-{n}: &x{n} [{list}]\n"));
    }
    assert!(
        Config::parse(&bomb, "test").is_err(),
        "it is measured where it is made"
    );
    bomb.push_str("sync: *x8\n");
    assert!(Config::parse(&bomb, "test").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_panic_and_take_no_second(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let began = Instant::now();
        let read = Config::read_from(bytes.as_slice(), "test");
        if let Err(ConfigError::Faulty(report)) = read {
            for format in [Format::Human { colour: true }, Format::Json, Format::Github, Format::Gitlab] {
                let _ = report.render(format);
            }
        }
        prop_assert!(began.elapsed().as_secs() < 1);
    }

    #[test]
    fn what_is_near_a_file_never_panics(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "sync:", "- source: a", "  target: r.test/a", "  type: image", "  type: registry", "creds:",
                "- registry: r.test", "  pass: hunter2", "  user: [", "defaults: {", "}", "  tags:", "    allow: [x",
                "    - '(", "  <<: *a", "&a", "x-y: &a {source: b}", "? k", ": v", "\t", "  backup: '{{ .Ref.X }}'",
                "ä: ü", "--- ", "...", "# c", "  platforms: [a]", "  schedule: '* *'", "  mirrors: *b", "!!str 5", "|", ">", "  token: >-",
            ]),
            0..16,
        ),
        ends in prop::sample::select(vec!["\n", "\r\n", " "]),
    ) {
        let text = lines.join(ends);
        let report = match Config::parse(&text, "test") {
            Ok(config) => config.warnings,
            Err(ConfigError::Faulty(report)) => report,
            Err(_) => Report::default(),
        };
        for format in [Format::Human { colour: false }, Format::Json, Format::Github, Format::Gitlab] {
            let shown = report.render(format);
            prop_assert!(!shown.contains("hunter2"), "{}\n{}", text, shown);
        }
    }
}
