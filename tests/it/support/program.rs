//! The real binary.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

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

/// Whether other programs are there. Where one is not, the test is skipped, or fails
/// if the variable `required` asks for that.
pub(crate) fn available(programs: &[&str], required: &str) -> bool {
    match programs.iter().find(|program| !has(program)) {
        Some(absent) => skipped(&format!("{absent} is not installed"), required),
        None => true,
    }
}

/// Tells that a test is skipped, and why; fails if the variable `required` asks for
/// it. Gives false.
pub(crate) fn skipped(why: &str, required: &str) -> bool {
    let required = std::env::var(required).is_ok_and(|value| value == "1");
    assert!(!required, "{why}");
    // Not with eprintln!, whose text a test that passes does not show.
    // In one piece, as several tests write at once.
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
    false
}

/// Whether `program` is on the path.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs a command to its end and returns what it printed. It has to succeed.
pub(crate) fn printed(command: &mut Command) -> Vec<u8> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output.stdout
}

/// Exit code, standard output and standard error.
pub(crate) fn told(output: &Output) -> (i32, String, String) {
    (
        output.status.code().expect("not killed by a signal"),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// The program and its configuration, for registries of this process: it is never
/// waited for in a way that would keep them from answering.
pub(crate) struct Program {
    pub(crate) command: Command,
    pub(crate) folder: TempDir,
}

impl Program {
    /// The program with `-c FILE` after its arguments.
    pub(crate) fn new(config: &str, arguments: &[&str]) -> Self {
        let mut command = regmirror(arguments);
        command.args(["-c", "mirror.yml"]);
        let program = Self::of(command);
        let path = program.folder.path().join("mirror.yml");
        std::fs::write(&path, config).expect("a file");
        // Otherwise the first line is a warning of that.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file");
        program
    }

    /// A command as it is, which has its configuration from elsewhere.
    pub(crate) fn of(mut command: Command) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        command
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command, folder }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn start(&mut self) -> Child {
        self.command.spawn().expect("the program starts")
    }

    /// Exit code, standard output and standard error.
    pub(crate) async fn run(&mut self) -> (i32, String, String) {
        let child = self.start();
        end(child).await
    }

    /// What the program wrote to a file.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("a file")
    }
}

/// Waits for the program's end.
pub(crate) async fn end(child: Child) -> (i32, String, String) {
    let id = Pid::from_raw(child.id().cast_signed()).expect("a process");
    let mut output = tokio::task::spawn_blocking(move || child.wait_with_output());
    let limit = Duration::from_secs(60);
    let Ok(output) = tokio::time::timeout(limit, &mut output).await else {
        // Otherwise the thread that waits for it keeps the test from ending as well.
        let _ = kill_process(id, Signal::KILL);
        let output = output.await.expect("no panic").expect("it ends");
        panic!("it does not end: {output:?}");
    };
    told(&output.expect("no panic").expect("it ends"))
}
