//! The programs: which are there, how they are run, and that none outlives its
//! test.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::program::{available, printed, regmirror};
pub(super) use crate::support::server::Server;

/// Whether the programs that nearly every test needs are there.
pub(super) fn installed() -> bool {
    available(&["docker-registry", "skopeo"], "REGMIRROR_REQUIRE_INTEROP")
}

/// Runs skopeo with these arguments and returns what it printed.
pub(super) fn skopeo(arguments: &[&str]) -> Vec<u8> {
    // The signature policy is the machine's, and not what is tested.
    printed(
        Command::new("skopeo")
            .arg("--insecure-policy")
            .args(arguments),
    )
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
