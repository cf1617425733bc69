//! What the program says of its own making: the commit and the compiler.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=REGMIRROR_REVISION");
    println!("cargo:rerun-if-changed=src/build.rs");
    // A commit moves one of these; neither is there in a source archive.
    for path in [".git/HEAD", ".git/logs/HEAD"] {
        if std::path::Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let revision = std::env::var("REGMIRROR_REVISION").ok();
    let revision = revision.filter(|given| !given.is_empty()).or_else(head);
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = first_line(Command::new(rustc).arg("--version"));
    for (name, value) in [("REVISION", revision), ("RUSTC", rustc)] {
        let value = value.unwrap_or_else(|| "unknown".to_owned());
        println!("cargo:rustc-env=REGMIRROR_{name}={value}");
    }
}

/// The commit that is checked out here, and not in a repository around this.
fn head() -> Option<String> {
    let ours = std::path::Path::new(".git").exists();
    ours.then(|| first_line(Command::new("git").args(["rev-parse", "HEAD"])))?
}

/// The first line that a command prints, if it succeeds.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
