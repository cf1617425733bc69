//! What the program says of itself: help, completions, manual pages, version.
//!
//! The help is kept in `snapshots/help.txt`. After a change that is meant,
//! `REGMIRROR_BLESS=1 cargo test help` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::program::{regmirror, run, told};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["server"],
    &["once"],
    &["check"],
    &["config"],
    &["config", "validate"],
    &["config", "schema"],
    &["config", "convert"],
    &["auth"],
    &["auth", "check"],
    &["demo"],
    &["registry"],
    &["registry", "serve"],
    &["completions"],
    &["man"],
    &["version"],
];

#[test]
fn help_says_what_it_said() {
    let mut said = String::new();
    for command in COMMANDS {
        let (code, out, err) = told(&run(&[command, &["--help"][..]].concat()));
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
        assert!(!out.contains('\u{1b}'), "no colours in a pipe: {command:?}");
        let _ = writeln!(said, "==== regmirror {} --help\n\n{out}", command.join(" "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/help.txt");
    if std::env::var_os("REGMIRROR_BLESS").is_some() {
        std::fs::write(&path, &said).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    for (number, (now, then)) in said.lines().zip(kept.lines()).enumerate() {
        assert_eq!(now, then, "line {}", number + 1);
    }
    assert_eq!(said, kept);
}

#[test]
fn completions_know_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = told(&run(&["completions", shell]));
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        for word in ["max-duration", "convert", "serve", "spend-pulls"] {
            assert!(out.contains(word), "{shell}: {word}");
        }
    }
    // What bash is given is bash.
    let (_, out, _) = told(&run(&["completions", "bash"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("regmirror.bash");
    std::fs::write(&file, out).unwrap();
    let script = format!(
        "source {}; COMP_WORDS=(regmirror on); COMP_CWORD=1; \
         _regmirror regmirror on regmirror; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    match std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
    {
        Ok(output) => {
            let offered = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(offered.trim(), "once", "{output:?}");
        }
        Err(error) => println!("skipped: there is no bash here ({error})"),
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let (code, out, _) = told(&run(&["man"]));
    assert_eq!(code, 0);
    assert!(
        out.contains(".TH regmirror 1") && out.contains("once"),
        "{out}"
    );
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let (code, _, err) = told(&run(&["man", "--dir", dir]));
    assert_eq!(code, 0, "{err}");
    for command in COMMANDS {
        let name = [&["regmirror"][..], command].concat().join("-");
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1")));
        assert!(page.unwrap_or_default().contains(".SH SYNOPSIS"), "{name}");
    }
    let (code, _, err) = told(&run(&["man", "--dir", "/nonexistent/dir"]));
    assert_eq!(code, 1);
    assert!(err.contains("/nonexistent/dir"), "{err}");
}

#[test]
fn the_version_is_told_to_people_and_programs() {
    let (code, out, _) = told(&run(&["version"]));
    assert_eq!(code, 0);
    let first = format!("regmirror {}\n", env!("CARGO_PKG_VERSION"));
    assert!(out.starts_with(&first), "{out}");
    let (code, out, _) = told(&run(&["version", "-o", "json"]));
    assert_eq!(code, 0);
    let version: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let compiler = version["rustc_version"].as_str().unwrap();
    assert!(compiler.starts_with("rustc 1."), "{compiler}");
    let revision = version["revision"].as_str().unwrap();
    let commit = revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit());
    assert!(commit || revision == "unknown", "{revision}");
}

#[test]
fn regsync_s_flags_mean_here_what_they_mean_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("regsync.yml");
    std::fs::write(
        &file,
        "version: 1\ndefaults: {skipDockerConfig: true}\nsync: []\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    for line in [
        &[
            "once",
            "-c",
            file,
            "--missing",
            "-v",
            "debug",
            "--logopt",
            "json",
        ][..],
        &["-c", file, "-v", "info", "check", "--abort-on-error"],
        &[
            "--config",
            file,
            "--verbosity",
            "warning",
            "once",
            "--abort-on-error",
        ],
        &[
            "check",
            "--missing",
            "--config",
            file,
            "--verbosity",
            "trace",
        ],
        &["config", "-c", file, "-v", "fatal"],
        &["version"],
    ] {
        let (code, _, err) = told(&run(line));
        assert_eq!(code, 0, "{line:?}: {err}");
    }
    // A switch is on, or off, in whatever way variables say so.
    let quiet = |value: &str| {
        let mut command = regmirror(&["check", "-c", file]);
        command.env("REGMIRROR_QUIET", value);
        told(&command.output().unwrap())
    };
    for (value, is_quiet) in [("1", true), ("true", true), ("yes", true)]
        .into_iter()
        .chain([("0", false), ("false", false), ("no", false), ("", false)])
    {
        let (code, out, err) = quiet(value);
        assert_eq!((code, out.is_empty()), (0, is_quiet), "{value:?}: {err}");
    }
    // Each may come from the environment instead.
    let mut command = regmirror(&["check"]);
    command
        .env("REGMIRROR_CONFIG", file)
        .env("REGMIRROR_OUTPUT", "json")
        .env("REGMIRROR_MISSING", "true")
        .env("REGMIRROR_LOG_FORMAT", "json");
    let (code, out, err) = told(&command.output().unwrap());
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["command"], "check");
    for line in err.lines() {
        serde_json::from_str::<Value>(line).expect("a JSON log line");
    }
    // In a pod, the log is for programs, unless somebody wants it otherwise.
    for (format, json) in [(None, true), (Some("text"), false)] {
        let mut command = regmirror(&["once", "-c", file]);
        command.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        command.envs(format.map(|format| ("REGMIRROR_LOG_FORMAT", format)));
        let (code, _, err) = told(&command.output().unwrap());
        assert_eq!((code, err.is_empty()), (0, false));
        let line = err.lines().next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(line).is_ok(), json, "{err}");
    }
}
