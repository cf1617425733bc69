//! The programs: which are there, how they are run, and that none outlives its
//! test.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::program::regmirror;

/// How long a server may take until it listens.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Whether the programs that nearly every test needs are there. Where they are
/// not, the test is skipped, or fails if the environment asks for that.
pub(super) fn installed() -> bool {
    let needed = ["docker-registry", "skopeo"];
    let Some(absent) = needed.into_iter().find(|program| !has(program)) else {
        return true;
    };
    let required = std::env::var("REGMIRROR_REQUIRE_INTEROP").is_ok_and(|value| value == "1");
    assert!(!required, "{absent} is not installed");
    // Not with eprintln!, whose text a test that passes does not show.
    // In one piece, as several tests write at once.
    let line = format!("skipped: {absent} is not installed\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}

/// Whether `program` is on the path.
pub(super) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs a command to its end and returns what it printed. It has to succeed.
pub(super) fn run(command: &mut Command) -> Vec<u8> {
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

/// Runs skopeo with these arguments and returns what it printed.
pub(super) fn skopeo(arguments: &[&str]) -> Vec<u8> {
    // The signature policy is the machine's, and not what is tested.
    run(Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments))
}

/// Copies an image, or an index with all that it lists, by skopeo.
pub(super) fn skopeo_copy(from: &str, to: &str) {
    skopeo(&[
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        from,
        to,
    ]);
}

/// The manifest at `image` as skopeo sees it, byte for byte.
pub(super) fn skopeo_raw(image: &str) -> Vec<u8> {
    skopeo(&["inspect", "--raw", "--tls-verify=false", image])
}

/// What `regmirror once` said of its only job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) copied: u64,
    pub(super) unchanged: u64,
    /// The bytes of blobs that were sent, as printed.
    pub(super) sent: String,
}

impl Report {
    /// That of a run that had nothing to do.
    pub(super) fn idle(tags: u64) -> Self {
        Self {
            copied: 0,
            unchanged: tags,
            sent: "0 B".to_owned(),
        }
    }
}

/// Runs `regmirror once` on a configuration of one job. It has to succeed.
pub(super) fn once(kind: &str, source: &str, target: &str) -> Report {
    let output = attempt(kind, source, target, "");
    let printed = String::from_utf8(output.stdout).expect("regmirror prints text");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{said}");
    report(&printed)
}

/// Runs `regmirror once` on a configuration of one job, `more` of which is in
/// YAML's flow style.
pub(super) fn attempt(kind: &str, source: &str, target: &str, more: &str) -> Output {
    command(&["once"], kind, source, target, more)
}

/// The same with another command.
pub(super) fn command(
    command: &[&str],
    kind: &str,
    source: &str,
    target: &str,
    more: &str,
) -> Output {
    let hosts = [source, target].into_iter().filter_map(|reference| {
        let host = reference.split('/').next()?;
        (!reference.contains("://")).then_some(host)
    });
    let creds: String = hosts
        .map(|host| format!("  - {{registry: '{host}', tls: disabled}}\n"))
        .collect();
    let text = format!(
        "version: 1\n\
         creds:\n{creds}\
         defaults: {{skipDockerConfig: true, referrers: true}}\n\
         sync:\n  - {{name: job, type: {kind}, source: '{source}', target: '{target}'{more}}}\n",
    );
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.yml");
    fs::write(&config, text).expect("the configuration is written");
    let config = config.to_str().expect("a path that is text");
    let mut command = regmirror(&[command, &["-c", config]].concat());
    command.stdin(Stdio::null()).output().expect("it runs")
}

/// Reads the row below the heading: `job  copied  unchanged  excluded  failed  sent`.
pub(super) fn report(printed: &str) -> Report {
    let row = printed.lines().nth(1);
    let cells: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
    let ["job", copied, unchanged, _excluded, "0", sent @ ..] = cells.as_slice() else {
        panic!("regmirror printed no such table:\n{printed}");
    };
    Report {
        copied: copied.parse().expect("a count"),
        unchanged: unchanged.parse().expect("a count"),
        sent: sent.join(" "),
    }
}

/// A registry on loopback, in a process of its own that ends with it.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(super) address: String,
    log: PathBuf,
    _dir: TempDir,
}

impl Server {
    /// `docker-registry serve`, empty, with deletion enabled.
    pub(super) fn docker_registry() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.yml");
        let storage = dir.path().join("storage");
        let text = format!(
            "version: 0.1\n\
             log: {{level: info}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:0', secret: interop}}\n",
            storage.display(),
        );
        fs::write(&config, text).expect("the configuration is written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config);
        Self::start(command, dir, "listening on ")
    }

    /// `regmirror registry serve --memory`.
    pub(super) fn memory() -> Self {
        Self::embedded(&["--memory"])
    }

    /// `regmirror registry serve --dir`.
    pub(super) fn directory(dir: &Path) -> Self {
        Self::embedded(&["--dir", dir.to_str().expect("a path that is text")])
    }

    fn embedded(content: &[&str]) -> Self {
        let mut command = regmirror(&["registry", "serve", "--listen", "127.0.0.1:0"]);
        command.args(content);
        let dir = tempfile::tempdir().expect("a directory");
        Self::start(command, dir, "serving a registry on http://")
    }

    /// Starts a server and waits until its log names its address, which is
    /// what follows `announced`.
    fn start(mut command: Command, dir: TempDir, announced: &str) -> Self {
        let log = dir.path().join("log");
        let output = File::create(&log).expect("a log file");
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("the server starts");
        let mut server = Self {
            process,
            address: String::new(),
            log,
            _dir: dir,
        };
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            if let Some(address) = address(&server.log(), announced) {
                server.address = address;
                return server;
            }
            let ended = server.process.try_wait().expect("the process is ours");
            let running = ended.is_none() && Instant::now() < deadline;
            assert!(running, "{command:?} does not serve:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has logged so far.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log is there")).into_owned()
    }

    /// The requests in docker-registry's log that could change something, such
    /// as `PUT /v2/team/app/manifests/1`.
    pub(super) fn writes(&self) -> Vec<String> {
        let log = self.log();
        let requests = log
            .lines()
            .filter_map(|line| line.split('"').nth(1)?.strip_suffix(" HTTP/1.1"));
        let changing =
            |request: &&str| !request.starts_with("GET ") && !request.starts_with("HEAD ");
        requests.filter(changing).map(str::to_owned).collect()
    }

    /// How regmirror names a repository, or an image of it.
    pub(super) fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// How skopeo names an image.
    pub(super) fn docker(&self, rest: &str) -> String {
        format!("docker://{}/{rest}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is no reason to panic twice.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address that follows `announced`, once its line is complete.
fn address(log: &str, announced: &str) -> Option<String> {
    let (_, rest) = log.split_once(announced)?;
    let end = rest.find(['\n', '"'])?;
    Some(rest[..end].to_owned())
}
