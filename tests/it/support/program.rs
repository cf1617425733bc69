//! The real binary.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// `regmirror` with an environment that holds nothing of the developer's.
pub(crate) fn regmirror(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regmirror"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    regmirror(arguments).output().expect("the program starts")
}

/// Runs it to its end with `input` on standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &str) -> Output {
    with_input(regmirror(arguments), input)
}

/// Runs a command to its end with `input` on standard input.
pub(crate) fn with_input(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that ends before it has read everything is no fault here.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

/// Exit code, standard output and standard error.
pub(crate) fn told(output: &Output) -> (i32, String, String) {
    (
        output.status.code().expect("not killed by a signal"),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
