//! `regmirror config`: what it shows, checks, describes and converts.

use std::fs;

use regmirror::config::{Config, ConfigError};
use regmirror::sync::{IndexForm, Job, Platforms, Scope};
use serde_json::Value;

use crate::support::program::{regmirror, run, run_with_input, told, with_input};
use crate::support::tls::Ca;

/// The example of regsync's documentation, as people have it.
const REGSYNC: &str = r#"
version: 1
creds:
  - registry: registry:5000
    tls: disabled
    scheme: http
  - registry: docker.io
    user: "{{env \"HUB_USER\"}}"
    pass: "{{env \"HUB_PASS\"}}"
defaults:
  ratelimit:
    min: 100
    retry: 15m
  parallel: 2
  interval: 60m
  backup: "bkup-{{.Ref.Tag}}"
x-sched-a: &sched-a "15 01 * * *"
sync:
  - source: busybox:latest
    target: registry:5000/library/busybox:latest
    type: image
  - source: alpine
    target: registry:5000/library/alpine
    type: repository
    tags:
      allow:
      - "latest"
      - "edge"
      - "3"
      - "3.\\d+"
    schedule: *sched-a
    backup: "{{$t := time.Now}}{{printf \"%s/backups/%s:%s-%d%d%d\" .Ref.Registry .Ref.Repository .Ref.Tag $t.Year $t.Month $t.Day}}"
  - source: registry:5000/team
    target: "{{.Sync.Source}}-copy"
    type: repository
    platforms: ["linux/amd64", "linux/arm64"]
    digestTags: yes
    referrers: on
    mediaTypes:
    - application/vnd.docker.distribution.manifest.v2+json
"#;

#[test]
fn regsync_s_example_gives_regsync_s_jobs() {
    let config = Config::parse(REGSYNC, "regsync.yml").unwrap_or_else(|error| panic!("{error}"));
    // Where its author is not told otherwise, it is the file of a day at work.
    let warnings = config.warnings.to_string();
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert!(
        warnings.contains("creds[0].scheme: tls: disabled stands for http"),
        "{warnings}"
    );
    assert_eq!(config.parallel, 2);
    let [image, repository, team] = config.jobs.as_slice() else {
        panic!("{config:?}");
    };
    let Scope::Image { source, target } = &image.scope else {
        panic!("{image:?}");
    };
    assert_eq!(source.to_string(), "docker.io/library/busybox:latest");
    assert_eq!(target.to_string(), "registry:5000/library/busybox:latest");
    let Scope::Repository { source, tags, .. } = &repository.scope else {
        panic!("{repository:?}");
    };
    assert_eq!(source.repository.as_str(), "library/alpine");
    for (tag, taken) in [
        ("3", true),
        ("3.18", true),
        ("latest", true),
        ("latest-x", false),
        ("2.7", false),
    ] {
        assert_eq!(tags.excludes(tag).is_none(), taken, "{tag}");
    }
    let Scope::Repository { target, .. } = &team.scope else {
        panic!("{team:?}");
    };
    assert_eq!(target.to_string(), "registry:5000/team-copy");
    assert!(
        matches!(&team.policy.platforms, Platforms::Some { platforms, index: IndexForm::Sparse } if platforms.len() == 2)
    );
    assert!(team.policy.digest_tags && team.policy.referrers.is_some());
    assert_eq!(team.policy.media_types.len(), 1);
    for job in &config.jobs {
        assert_eq!(job.policy.rate_limit.unwrap().min, 100);
        assert_eq!(job.policy.rate_limit.unwrap().retry.as_secs(), 900);
        assert!(job.policy.backup.is_some());
    }
    let due = |name: &str| config.schedules[name].to_string();
    assert_eq!(due("registry:5000/library/busybox:latest"), "@every 3600s");
    assert_eq!(due("registry:5000/library/alpine"), "15 01 * * *");
    assert_eq!(due("registry:5000/team-copy"), "@every 3600s");
}

/// The jobs, without what templates see of the entry: that is filled in, too.
fn plain(config: &Config) -> Vec<Job> {
    let mut jobs = config.jobs.clone();
    for backup in jobs.iter_mut().filter_map(|job| job.policy.backup.as_mut()) {
        backup.entry = regmirror::template::Value::NIL;
    }
    jobs
}

#[test]
fn the_effective_configuration_has_every_default_and_is_one_itself() {
    // Where the variables are not set, nobody signs in; a hidden password is one.
    let regsync = &REGSYNC.replace("{{env \\\"HUB_USER\\\"}}", "me");
    let regsync = &regsync.replace("{{env \\\"HUB_PASS\\\"}}", "secret");
    for text in [
        regsync,
        include_str!("../../config/full.yml"),
        include_str!("../../config/minimal.yml"),
    ] {
        let config = Config::parse(text, "test").unwrap_or_else(|error| panic!("{error}"));
        let shown = config.effective();
        let again =
            Config::parse(&shown, "shown").unwrap_or_else(|error| panic!("{error}\n{shown}"));
        assert_eq!(plain(&again), plain(&config), "{shown}");
        assert_eq!(again.schedules, config.schedules);
        assert_eq!(
            (again.parallel, again.blob_limit, again.cache),
            (config.parallel, config.blob_limit, config.cache)
        );
        assert_eq!(again.effective(), shown, "nothing is left to fill in");
    }
    let shown = Config::parse(REGSYNC, "test").unwrap().effective();
    for filled in [
        "parallel: 2",
        "interval: 60m",
        "retry: 15m",
        "backupFailure: stop",
        "name: registry:5000/team-copy",
        "reqConcurrent: 6",
        "referrerSlow: false",
        "platformIndex: sparse",
    ] {
        assert!(shown.contains(filled), "{filled} is missing:\n{shown}");
    }
    assert!(
        shown.contains("{{env \"HUB_USER\"}}") || shown.contains("{{env \\\"HUB_USER\\\"}}"),
        "as it was written: {shown}"
    );
}

/// Secrets of every kind in one file: none is in anything that is printed.
#[test]
fn j2_no_secret_is_printed_by_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("token"), "CANARY-file\n").unwrap();
    let pair = Ca::new().client();
    let key = pair.key.lines().nth(1).unwrap().to_owned();
    let indented = |text: &str| {
        text.lines()
            .map(|line| format!("      {line}\n"))
            .collect::<String>()
    };
    let text = format!(
        "x-secret: &secret CANARY-anchor\n\
         creds:\n\
         - registry: a.test\n  user: me\n  pass: CANARY-pass\n\
         - registry: b.test\n  token: CANARY-token\n\
         - registry: c.test\n  user: '{{{{ env \"CANARY_USER\" }}}}'\n  pass: '{{{{ file \"{token}\" }}}}'\n\
         - registry: d.test\n  clientCert: |\n{cert}  clientKey: |\n{key}\
         - registry: e.test\n  user: me\n  pass: *secret\n\
         - registry: '{{{{ env \"CANARY_HOST\" }}}}'\n  user: me\n  pass: '{{{{ env \"CANARY_PASS\" | printf \"x%s\" }}}}'\n\
         sync:\n\
         - source: '{{{{ env \"CANARY_HOST\" }}}}/canary:1'\n  target: r.test/a\n  type: image\n\
         - source: a\n  target: '{{{{ env \"CANARY_HOST\" }}}}/{{{{ .Sync.Type }}}}'\n  type: image\n",
        token = path("token"),
        cert = indented(&pair.certificate),
        key = indented(&pair.key),
    );
    let good = path("good.yml");
    fs::write(&good, &text).unwrap();
    let bad = path("bad.yml");
    let broken = text
        .replace(
            "registry: a.test",
            "registry: a.test\n  passs: CANARY-slip\n  tls: never",
        )
        .replace("}}/canary:1", "}}/UPPER:-")
        .replace("type: image\n- source: a", "type: imag\n- source: a")
        + "- {source: '{{ env \"CANARY_PASS\" }}', target: '{{ env \"CANARY_PASS\" }} x', type: repository}\n";
    fs::write(&bad, broken).unwrap();
    // What an entry inherits is told of at `defaults`, and a secret all the same.
    let inherited = path("inherited.yml");
    let text_inherited = "defaults:\n  referrers: true\n  referrerSource: '{{ env \"CANARY_PASS\" }} x'\n\
                          \x20 referrerTarget: '{{ env \"CANARY_PASS\" }} y'\n  backup: '{{ env \"CANARY_PASS\" }} z'\n\
                          sync:\n- {source: a, target: r.test/a, type: image}\n";
    fs::write(&inherited, text_inherited).unwrap();
    let torn = path("torn.yml");
    fs::write(
        &torn,
        text.replace("- registry: e.test", "- registry: \"e.test"),
    )
    .unwrap();
    let mut printed = String::new();
    for (file, code) in [(&good, 0), (&bad, 3), (&torn, 3), (&inherited, 3)] {
        for arguments in [
            &["config"][..],
            &["config", "validate"],
            &["config", "validate", "--format", "json"],
            &["config", "validate", "--format", "github"],
            &["config", "validate", "--format", "gitlab"],
            &["once", "--log-format", "json"],
        ] {
            if arguments[0] == "once" && code == 0 {
                continue;
            }
            let mut command = regmirror(arguments);
            command
                .args(["-c", file, "-v", "trace"])
                .env("CANARY_USER", "CANARY-user")
                .env("CANARY_PASS", "CANARY-variable")
                .env("CANARY_HOST", "canary-host.test");
            let (ended, out, err) = told(&with_input(command, ""));
            assert_eq!(ended, code, "{arguments:?} {file}: {out}{err}");
            printed.push_str(&out);
            printed.push_str(&err);
        }
    }
    for secret in ["CANARY-", "canary-host", &key] {
        let line = printed.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is printed");
    }
    assert!(printed.contains("***"));
}

#[test]
fn validate_fails_on_unknown_keys_and_on_nothing_less() {
    let entry = "- {source: a, target: localhost/a, type: image";
    for (text, code, told_of) in [
        (format!("sync:\n{entry}}}\n"), 0, "can be used"),
        (
            format!("sync:\n{entry}, tags: {{allow: [x]}}}}\n"),
            0,
            "has no effect for this type",
        ),
        (
            format!("sync:\n{entry}, colour: red}}\n"),
            3,
            "has keys that do not exist",
        ),
        (
            format!("sync:\n{entry}, type: image}}\n"),
            3,
            "stands here twice",
        ),
        ("sync: []\n".to_owned(), 0, "nothing to do"),
        ("# x\n".repeat(3 << 20), 3, "4 MiB"),
    ] {
        let (ended, out, err) = told(&run_with_input(&["config", "validate", "-c", "-"], &text));
        assert_eq!(ended, code, "{out}{err}");
        assert!(format!("{out}{err}").contains(told_of), "{out}{err}");
    }
    assert_eq!(told(&run(&["config", "validate"])).0, 2, "which file?");
    assert_eq!(told(&run(&["config", "-c", "/nowhere.yml"])).0, 3);
    let (_, out, _) = told(&run_with_input(
        &["config", "validate", "-c", "-", "--format", "json"],
        "version: 7\n",
    ));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["findings"][0]["check"], "config/value");
}

fn converted(tool: &str, more: &[&str], text: &str) -> (Config, String, String) {
    let mut arguments = vec!["config", "convert", "--from", tool];
    arguments.extend(more);
    arguments.push("-");
    let (code, out, err) = told(&run_with_input(&arguments, text));
    assert_eq!(code, 0, "{err}");
    assert!(
        !out.contains("CANARY") && !err.contains("CANARY"),
        "{out}{err}"
    );
    let config = Config::parse(&out, tool).unwrap_or_else(|error| panic!("{error}\n{out}"));
    (config, out, err)
}

fn jobs(config: &Config) -> Vec<String> {
    let line = |scope: &Scope| match scope {
        Scope::Image { source, target } => format!("{source} -> {target}"),
        Scope::Repository { source, target, .. } => format!("{source}/* -> {target}/*"),
        Scope::Registry { source, target, .. } => format!("{source}/** -> {target}/**"),
    };
    config.jobs.iter().map(|job| line(&job.scope)).collect()
}

#[test]
fn dregsy_s_tasks_are_converted() {
    use base64::Engine as _;
    let auth =
        base64::prelude::BASE64_STANDARD.encode(r#"{"username": "alex", "password": "CANARY"}"#);
    let text = format!(
        "relay: skopeo\ntasks:\n- name: task1\n  interval: 60\n  verbose: true\n\
         \x20 source:\n    registry: source.acme.com\n    auth: {auth}\n\
         \x20 target:\n    registry: dest.acme.com\n    auth-refresh: 10h\n    skip-tls-verify: true\n\
         \x20 mappings:\n\
         \x20 - from: test/image\n    to: archive/test/image\n    tags: ['0.1.0', 'regex: ^1\\.[0-9]+$', 'semver: >=2.0.0 <3.0.0']\n\
         \x20 - from: test/another-image\n    platform: linux/arm64\n\
         \x20 - from: regex:team/.*\n\
         \x20 - from: regex:x/(.*)\n    to: regex:x/(.*),y/$1\n"
    );
    let (config, out, err) = converted("dregsy", &[], &text);
    assert_eq!(
        jobs(&config),
        [
            "source.acme.com/test/image/* -> dest.acme.com/archive/test/image/*",
            "source.acme.com/test/another-image/* -> dest.acme.com/test/another-image/*",
            "source.acme.com/** -> dest.acme.com/**",
        ]
    );
    let Scope::Repository { tags, .. } = &config.jobs[0].scope else {
        panic!("{config:?}");
    };
    for (tag, taken) in [
        ("0.1.0", true),
        ("0x1.0", false),
        ("1.7", true),
        ("21.7", false),
        ("2.5.0", true),
        ("3.0.0", false),
    ] {
        assert_eq!(tags.excludes(tag).is_none(), taken, "{tag}: {out}");
    }
    assert!(
        out.contains("{{env \"SOURCE_ACME_COM_PASS\"}}") || out.contains("SOURCE_ACME_COM_PASS"),
        "{out}"
    );
    for told_of in ["set SOURCE_ACME_COM_PASS", "auth-refresh", "rewrites names"] {
        assert!(err.contains(told_of), "{told_of} is missing: {err}");
    }
    assert_eq!(config.schedules.len(), 3);
}

#[test]
fn skopeo_s_file_is_converted() {
    let text = "registry.example.com:\n\
                \x20 images:\n    busybox: []\n    team/redis:\n    - '1.0'\n    - '2.0'\n    - 'sha256:0000000000000000000000000000000011111111111111111111111111111111'\n\
                \x20 images-by-tag-regex:\n    nginx: ^1\\.13\\.[12]-alpine-perl$\n\
                \x20 images-by-semver:\n    alpine: '>= 3.12.0'\n\
                \x20 credentials:\n    username: john\n    password: CANARY\n\
                \x20 tls-verify: false\n  cert-dir: /nowhere/certs\n\
                quay.io:\n  tls-verify: true\n  images:\n    coreos/redis: [v1]\n";
    let more = ["--target", "mirror.test/all"];
    let mut arguments = vec!["config", "convert", "--from", "skopeo"];
    arguments.extend(more);
    arguments.push("-");
    let (code, out, err) = told(&run_with_input(&arguments, text));
    assert_eq!(code, 0, "{err}");
    assert!(!out.contains("CANARY"), "{out}");
    assert!(
        err.contains("mirror.test/all/redis: several repositories go there"),
        "{err}"
    );
    assert!(out.contains("/nowhere/certs/ca.crt"), "{out}");
    // The certificate is not on this machine.
    let out = out
        .lines()
        .filter(|line| !line.contains("regcert"))
        .collect::<Vec<_>>()
        .join("\n");
    let config = Config::parse(&out, "test").unwrap_or_else(|error| panic!("{error}\n{out}"));
    let mut found = jobs(&config);
    found.sort();
    assert_eq!(
        found,
        [
            "quay.io/coreos/redis/* -> mirror.test/all/redis/*",
            "registry.example.com/alpine/* -> mirror.test/all/alpine/*",
            "registry.example.com/busybox/* -> mirror.test/all/busybox/*",
            "registry.example.com/nginx/* -> mirror.test/all/nginx/*",
            "registry.example.com/team/redis/* -> mirror.test/all/redis/*",
            "registry.example.com/team/redis@sha256:0000000000000000000000000000000011111111111111111111111111111111 -> mirror.test/all/redis",
        ]
    );
    let (code, _, err) = told(&run_with_input(
        &["config", "convert", "--from", "skopeo", "-"],
        text,
    ));
    assert_eq!(code, 3);
    assert!(err.contains("--target HOST[/PATH]"), "{err}");
}

#[test]
fn image_syncer_s_rules_are_converted() {
    let text = r#"{
        "auth": {
            "quay.io": {"username": "$QUAY_USER", "password": "CANARY"},
            "r.test:5000/team": {"username": "x", "password": "CANARY", "insecure": true}
        },
        "images": {
            "quay.io/coreos/proxy": "r.test:5000/team/proxy",
            "quay.io/coreos/etcd:v1": "r.test:5000/team/etcd",
            "quay.io/coreos/dns:v1,v2": ["r.test:5000/a/dns", "r.test:5000/b/dns"],
            "quay.io/coreos/web:/a+/": "r.test:5000/team/web",
            "quay.io/coreos/old:v3": ""
        }
    }"#;
    let (config, out, err) = converted("image-syncer", &["--target", "usual.test/x"], text);
    assert_eq!(
        jobs(&config),
        [
            "quay.io/coreos/dns/* -> r.test:5000/a/dns/*",
            "quay.io/coreos/dns/* -> r.test:5000/b/dns/*",
            "quay.io/coreos/etcd:v1 -> r.test:5000/team/etcd:v1",
            "quay.io/coreos/old:v3 -> usual.test/x/old:v3",
            "quay.io/coreos/proxy/* -> r.test:5000/team/proxy/*",
            "quay.io/coreos/web/* -> r.test:5000/team/web/*",
        ]
    );
    assert!(
        out.contains("tls: disabled") && out.contains("QUAY_USER"),
        "{out}"
    );
    assert!(
        err.contains("set QUAY_IO_PASS") && err.contains("a whole registry"),
        "{err}"
    );
}

#[test]
fn what_is_no_file_of_a_tool_is_told_without_its_secrets() {
    for (tool, text) in [
        ("dregsy", "tasks:\n- name: x\n  source: CANARY\n"),
        ("skopeo", "quay.io: CANARY\n"),
        ("image-syncer", "images: {a: {b: CANARY}}\n"),
        ("dregsy", "}{"),
    ] {
        let arguments = [
            "config", "convert", "--from", tool, "--target", "t.test", "-",
        ];
        let (code, out, err) = told(&run_with_input(&arguments, text));
        assert_eq!((code, out.as_str()), (3, ""), "{tool}: {err}");
        assert!(
            err.contains(tool) && !err.contains("CANARY"),
            "{tool}: {err}"
        );
    }
    assert_eq!(
        told(&run(&["config", "convert", "--from", "make", "-"])).0,
        2
    );
}

#[test]
fn a_broken_file_is_an_error_of_its_own_kind() {
    assert!(matches!(
        Config::parse("[", "test"),
        Err(ConfigError::Faulty(_))
    ));
}

#[test]
fn secrets_are_shown_to_those_who_ask_for_them() {
    let text = "creds:\n\
                - {registry: a.test, user: me, pass: in-clear}\n\
                - {registry: b.test, token: \"{{ env \\\"TOKEN\\\" }}\"}\n\
                sync: []\n";
    let shown = |arguments: &[&str]| {
        let (code, out, err) = told(&run_with_input(arguments, text));
        assert_eq!(code, 0, "{err}");
        assert!(!err.contains("in-clear"), "{err}");
        out
    };
    let hidden = shown(&["config", "-c", "-"]);
    assert!(
        hidden.contains("pass: '***'") && !hidden.contains("in-clear"),
        "{hidden}"
    );
    let clear = shown(&["config", "-c", "-", "--show-secrets"]);
    assert!(clear.contains("pass: in-clear"), "{clear}");
    assert!(
        clear.contains("{{ env \"TOKEN\" }}"),
        "as it is written: {clear}"
    );
    let again = Config::parse(&clear, "test").expect("a configuration");
    assert_eq!(again.with_secrets(), clear);
}
