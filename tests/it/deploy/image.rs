//! The image that `.ci/image` builds by the Dockerfile, in real containers (podman and
//! runc): user 65532, no capabilities, a root file system that nobody can write to.
//!
//! `REGMIRROR_IMAGE=localhost/regmirror` names it, without its tag.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::VERSION;
use super::pod::Pod;
use super::rendered::Rendered;
use super::running::{once, server};
use super::workflows::{github_script, gitlab_scripts};
use crate::support::Fault;
use crate::support::bench::Bench;
use crate::support::images::{push_image, repo, tagged};
use crate::support::program::{end, printed, skipped, told};

/// The most that the program may have, in bytes.
const LARGEST: u64 = 20_000_000;

/// The image, if somebody named one: then it has to be there.
fn image() -> Option<String> {
    let named = std::env::var("REGMIRROR_IMAGE").ok();
    let named = named.filter(|name| !name.is_empty());
    if named.is_none() {
        skipped("no image: REGMIRROR_IMAGE names one", "");
    }
    named
}

fn podman(arguments: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A container under way, and what it logs. It does not outlive this.
struct Container {
    name: String,
    child: Option<Child>,
    log: Receiver<String>,
}

impl Container {
    /// Starts one of `image`, by podman's `options`, with `arguments`.
    fn start(image: &str, options: &[String], arguments: &[String]) -> Self {
        let name = format!("regmirror-test-{:08x}", fastrand::u32(..));
        let mut command = restricted(&name);
        if !options
            .iter()
            .any(|option| option.starts_with("--network="))
        {
            // Registries are on this machine's loopback.
            command.arg("--network=host");
        }
        let mut child = command
            .args(options)
            .arg(image)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("podman starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            name,
            child: Some(child),
            log,
        }
    }

    /// Starts a pod's container. A server listens on loopback, where there is a place.
    fn of(pod: &Pod, image: &str) -> Self {
        let mut options = Vec::new();
        for mount in pod.mounts() {
            let mode = if mount.read_only { "ro" } else { "rw" };
            options.push(format!(
                "--volume={}:{}:{mode}",
                mount.folder.display(),
                mount.path
            ));
        }
        for (name, value) in pod.variables() {
            options.push(format!("--env={name}={value}"));
        }
        let arguments = pod.arguments().into_iter();
        let arguments: Vec<_> = arguments
            .map(|text| text.replace("=0.0.0.0:9090", "=127.0.0.1:0"))
            .collect();
        Self::start(image, &options, &arguments)
    }

    /// What podman says of it.
    fn inspect(&self, format: &str) -> String {
        let text = printed(&mut podman(&["inspect", "--format", format, &self.name]));
        String::from_utf8(text).expect("text").trim().to_owned()
    }

    /// Waits until its log has a line with `part`.
    fn says(&self, part: &str) -> String {
        let mut seen = String::new();
        let began = Instant::now();
        loop {
            let left = Duration::from_secs(30).saturating_sub(began.elapsed());
            let line = self.log.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no `{part}` in:\n{seen}"));
            if line.contains(part) {
                return line;
            }
            seen += &line;
            seen.push('\n');
        }
    }

    /// Waits until it listens: its address.
    fn address(&self) -> String {
        let line = self.says("\"serving\"");
        let event: Value = serde_json::from_str(&line).expect("an event");
        event["http"].as_str().expect("an address").to_owned()
    }

    /// Runs the program in it once more.
    fn exec(&self, arguments: &[&str]) -> (i32, String, String) {
        let program = ["exec", &self.name, "/usr/local/bin/regmirror"];
        let output = podman(&[&program, arguments].concat()).output();
        told(&output.expect("podman runs"))
    }

    fn signal(&self, signal: Signal) {
        let number = signal.as_raw().to_string();
        printed(&mut podman(&["kill", "--signal", &number, &self.name]));
    }

    /// Waits for its end: its code, and what it said and logged that nobody read yet.
    async fn end(mut self) -> (i32, String, String) {
        let child = self.child.take().expect("it runs");
        let (code, out, _) = end(child).await;
        let log: Vec<String> = self.log.iter().collect();
        (code, out, log.join("\n"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = podman(&["rm", "--force", "--time=0", &self.name]).output();
            let _ = child.wait();
        }
    }
}

/// `podman run`, as restricted as the pods are.
fn restricted(name: &str) -> Command {
    let mut command = podman(&["run", "--rm", "--name", name]);
    command.args([
        "--user=65532:65532",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        // It speaks to systemd, which is not here.
        "--no-healthcheck",
    ]);
    command
}

/// A directory with this configuration, for whichever user.
fn configured(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("a directory");
    std::fs::write(folder.path().join("config.yml"), text).expect("a file");
    folder
}

/// Runs the image to its end.
async fn run(image: &str, options: &[&str], arguments: &[&str]) -> (i32, String, String) {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    Container::start(image, &owned(options), &owned(arguments))
        .end()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_without_anything_it_could_write_to() {
    let Some(image) = image() else { return };
    let (code, out, err) = run(&format!("{image}:release"), &[], &["demo"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("\nNothing to do"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_with_the_configuration_that_comes_along_lives_and_ends_when_told() {
    let Some(image) = image() else { return };
    let rendered = Rendered::overlay("singleton").expect("kubectl");
    let map: k8s_openapi::api::core::v1::ConfigMap = rendered.only("ConfigMap");
    let text = &map.data.unwrap()["config.yml"];
    let pod = server(&[("regmirror-config", &[("config.yml", text)])]).unwrap();
    let container = Container::of(&pod, &format!("{image}:release"));
    let address = container.address();

    // What the kernel knows of it.
    let id = container.inspect("{{.State.Pid}}");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("Uid:"), "65532\t65532\t65532\t65532");
    assert_eq!(field("Gid:"), "65532\t65532\t65532\t65532");
    assert!(
        field("NSpid:").ends_with("\t1"),
        "the first process: {status}"
    );
    assert_eq!(field("NoNewPrivs:"), "1");
    for capabilities in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
    let mounts = std::fs::read_to_string(format!("/proc/{id}/mounts")).unwrap();
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(1) == Some("/"))
        .unwrap();
    assert!(
        root.split(' ')
            .nth(3)
            .unwrap()
            .split(',')
            .any(|option| option == "ro"),
        "{root}"
    );

    let (code, _, err) = container.exec(&["healthcheck", "--http-addr", &address]);
    assert_eq!(code, 0, "{err}");
    let url = format!("http://{address}");
    let (_, out, err) = container.exec(&["ctl", "status", "--url", &url]);
    assert!(out.contains("2 jobs"), "{out}{err}");
    assert!(pod.folder("data").join("state").is_dir());
    container.signal(Signal::TERM);
    let (code, out, err) = container.end().await;
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_the_first_process_it_drains() {
    let Some(image) = image() else { return };
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let job = "name: app, source: SOURCE/app, target: TARGET/app, type: repository, interval: 1s";
    let text = bench.config(&[job]);
    let pod = server(&[("regmirror-config", &[("config.yml", &text)])]).expect("kubectl");
    let container = Container::of(&pod, &format!("{image}:release"));
    bench.target.held().await;
    container.signal(Signal::TERM);
    container.says("a second signal stops at once");
    bench.target.release();
    let (code, out, err) = container.end().await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        tagged(bench.target.store(), &repo("app"), "1")
            .await
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_may_not_have_is_its_last_line() {
    let Some(image) = image() else { return };
    let release = format!("{image}:release");
    let text = "defaults: {interval: 1h}\n\
                sync: [{source: 'r.test/a:1', target: 'r.test/b:1', type: image}]\n";
    let folder = configured(text);
    let config = format!("--volume={}:/etc/regmirror:ro", folder.path().display());
    let loopback = "--http-addr=127.0.0.1:0";
    for (arguments, wanted, last) in [
        (
            &["server", "--http-addr=127.0.0.1:80"][..],
            1,
            "ports below 1024 are not for every user",
        ),
        (
            &["server", loopback, "--state-dir=/var/lib/regmirror"],
            1,
            "Read-only file system",
        ),
        (
            &["server", loopback, "--state-dir=/etc/regmirror/state"],
            1,
            "/etc/regmirror/state",
        ),
        (
            &["server", loopback, "-c", "/etc/none.yml"],
            3,
            "/etc/none.yml",
        ),
        (
            &["once", "--report=/report.json"],
            2,
            "could not write /report.json",
        ),
    ] {
        let (code, out, err) = run(&release, &[&config], arguments).await;
        assert_eq!(code, wanted, "{arguments:?}: {out}{err}");
        assert!(
            err.lines().last().unwrap().contains(last),
            "{arguments:?}: {err}"
        );
    }
    // Without a ConfigMap there is no file where the image looks for it.
    let (code, _, err) = run(&release, &[], &["server"]).await;
    assert_eq!(code, 3);
    assert!(err.contains("/etc/regmirror/config.yml"), "{err}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing was written"
    );
}

/// Answers for names under `mirror.test` with 127.0.0.1, and knows no others.
fn serve_names(socket: &UdpSocket) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        let question = &packet[12..length];
        let end = question.iter().position(|byte| *byte == 0).unwrap() + 1;
        let ours = question[..end].ends_with(b"\x06mirror\x04test\0");
        let address = question[end..end + 2] == [0, 1];
        let mut answer = packet[..2].to_vec();
        // A response: no error, or no such name; one question, perhaps one answer.
        answer.extend([
            0x81,
            if ours { 0x80 } else { 0x83 },
            0,
            1,
            0,
            u8::from(ours && address),
        ]);
        answer.extend([0, 0, 0, 0]);
        answer.extend(&question[..end + 4]);
        if ours && address {
            // The name at byte 12, A, IN, for a minute, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        let _ = socket.send_to(&answer, from);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up_by_dns_though_all_is_linked_in() {
    let Some(image) = image() else { return };
    let Ok(socket) = UdpSocket::bind("127.0.0.77:53") else {
        skipped("nobody may serve names here", "");
        return;
    };
    std::thread::spawn(move || serve_names(&socket));
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let named = |address: &str| address.replace("127.0.0.1", "registry.mirror.test");
    let text = bench
        .config(&["source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image"])
        .replace(bench.source.address(), &named(bench.source.address()));
    let folder = configured(&text);
    // As the kubelet writes it.
    let resolver = folder.path().join("resolv.conf");
    std::fs::write(
        &resolver,
        "search ns.svc.cluster.local\nnameserver 127.0.0.77\noptions ndots:5\n",
    )
    .unwrap();
    let options = [
        format!("--volume={}:/etc/regmirror:ro", folder.path().display()),
        format!("--volume={}:/etc/resolv.conf:ro", resolver.display()),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (code, out, err) = run(&format!("{image}:release"), &options, &["once"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        tagged(bench.target.store(), &repo("app"), "1")
            .await
            .is_some()
    );
    std::fs::write(
        folder.path().join("config.yml"),
        text.replace("mirror.test", "nowhere.test"),
    )
    .unwrap();
    let (code, out, err) = run(
        &format!("{image}:release"),
        &options,
        &["once", "--max-duration=1s"],
    )
    .await;
    assert!(code == 1 || code == 5, "{out}{err}");
    assert!(
        err.contains("failed to lookup address information"),
        "{out}{err}"
    );
}

/// Whether an ELF file of 64 bits names an interpreter, which loads its libraries: a
/// program header of type 3.
fn is_interpreted(program: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = program[at..at + size].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|header| number(start + header * size, 4) == 3)
}

#[test]
fn it_is_small_static_and_says_what_it_is() {
    let Some(image) = image() else { return };
    let release = format!("{image}:release");
    let known: Value =
        serde_json::from_slice(&printed(&mut podman(&["inspect", &release]))).unwrap();
    let config = &known[0]["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(
        config["Entrypoint"],
        serde_json::json!(["/usr/local/bin/regmirror"])
    );
    assert_eq!(config["Cmd"], serde_json::json!(["server"]));
    assert_eq!(config["ExposedPorts"], serde_json::json!({"9090/tcp": {}}));
    let health = &known[0]["Healthcheck"]["Test"];
    assert_eq!(
        health,
        &serde_json::json!(["CMD", "/usr/local/bin/regmirror", "healthcheck"])
    );
    let label = |name: &str| {
        let label = &config["Labels"][format!("org.opencontainers.image.{name}")];
        label
            .as_str()
            .unwrap_or_else(|| panic!("{name} is missing"))
            .to_owned()
    };
    assert_eq!(label("title"), "regmirror");
    assert_eq!(label("version"), VERSION);
    assert_eq!(label("licenses"), "Apache-2.0");
    assert_eq!(label("revision").len(), 40);
    for name in ["description", "url", "source", "documentation", "created"] {
        assert!(!label(name).is_empty(), "{name}");
    }

    let container = format!("regmirror-look-{:08x}", fastrand::u32(..));
    printed(&mut podman(&["create", "--name", &container, &release]));
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let path = archive.display().to_string();
    printed(&mut podman(&["export", "--output", &path, &container]));
    printed(&mut podman(&["rm", &container]));
    let tar = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        command
            .arg("--directory")
            .arg(folder.path())
            .arg("--file")
            .arg(&archive);
        printed(command.args(arguments))
    };
    let names = String::from_utf8(tar(&["--list"])).unwrap();
    for path in [
        "etc/ssl/certs/ca-certificates.crt",
        "usr/share/zoneinfo/Europe/Berlin",
        "licenses/LICENSE",
        "tmp/",
    ] {
        assert!(names.lines().any(|line| line == path), "{path}");
    }
    tar(&["--extract", "usr/local/bin/regmirror"]);
    let program = std::fs::read(folder.path().join("usr/local/bin/regmirror")).unwrap();
    assert!((program.len() as u64) < LARGEST, "{} bytes", program.len());
    assert!(program.starts_with(b"\x7fELF\x02\x01"));
    assert!(!is_interpreted(&program), "it needs a loader and libraries");
    let here = std::fs::read(env!("CARGO_BIN_EXE_regmirror")).unwrap();
    assert!(is_interpreted(&here), "that would be told");
    // The list of what it is made of, which `cargo auditable` puts there.
    assert!(
        program.windows(7).any(|part| part == b".dep-v0"),
        "no list of dependencies"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_image_has_a_shell() {
    let Some(image) = image() else { return };
    let options = ["--entrypoint=sh"];
    let script = "id -u && regmirror version && command -v grep";
    let (code, out, err) = run(&format!("{image}:debug"), &options, &["-c", script]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("65532\nregmirror "), "{out}");
    let (code, _, err) = run(&format!("{image}:release"), &options, &["-c", "true"]).await;
    assert_eq!(code, 127, "{err}");
    assert!(err.contains("\"sh\""), "there is none in the other: {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_health_check_asks_where_it_listens() {
    let Some(image) = image() else { return };
    let text = "{defaults: {interval: 1h}, sync: [{source: 'r.test/a:1', target: 'r.test/b:1', \
                type: image}]}";
    let folder = configured(text);
    // A network of its own, where it listens as the image has it.
    let options = [
        format!("--volume={}:/etc/regmirror:ro", folder.path().display()),
        "--network=none".to_owned(),
    ];
    let container = Container::start(&format!("{image}:release"), &options, &[]);
    container.says("http=0.0.0.0:9090");
    let (code, _, err) = container.exec(&["healthcheck"]);
    assert_eq!(code, 0, "{err}");
    container.signal(Signal::TERM);
    assert_eq!(container.end().await.0, 0);
}

/// A configuration of one tag, and an image with it in a directory.
async fn repository(bench: &Bench) -> tempfile::TempDir {
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let folder = tempfile::tempdir().unwrap();
    // As a runner leaves it, for whichever user the image has.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let entry = "name: app, source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";
    let text = bench.config(&[entry]);
    std::fs::write(folder.path().join("mirror.yml"), text).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn github_s_step_mirrors_and_fills_the_summary() {
    let Some(image) = image() else { return };
    let bench = Bench::new().await;
    let folder = repository(&bench).await;
    // What the step calls docker is podman, on this machine's network; and the runner's
    // user, whose files they are, is not root.
    const USER: u32 = 1001;
    let bin = tempfile::tempdir().unwrap();
    std::fs::set_permissions(bin.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for (name, script) in [
        (
            "docker",
            "verb=$1; shift; exec podman \"$verb\" --network=host --no-healthcheck \"$@\"",
        ),
        ("id", &format!("echo {USER}")),
    ] {
        let path = bin.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    for path in [folder.path().to_owned(), folder.path().join("mirror.yml")] {
        chown(&path, Some(USER), Some(USER)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    }
    let path = format!(
        "{}:{}",
        bin.path().display(),
        std::env::var("PATH").unwrap()
    );
    let summary = bin.path().join("summary.md");
    for (command, there) in [("check", false), ("once", true)] {
        std::fs::write(&summary, "").unwrap();
        chown(&summary, Some(USER), Some(USER)).unwrap();
        let child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &github_script()])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("IMAGE", format!("{image}:release"))
            .env("COMMAND", command)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", &summary)
            .env("DOCKER_AUTH_CONFIG", "")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (code, out, err) = end(child).await;
        assert_eq!(code, 0, "{command}: {out}{err}");
        let written = std::fs::read_to_string(&summary).unwrap();
        assert!(written.contains("| app |"), "{command}: {written}");
        let found = tagged(bench.target.store(), &repo("app"), "1").await;
        assert_eq!(found.is_some(), there, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlab_s_jobs_run_in_the_image_with_the_shell() {
    let Some(image) = image() else { return };
    let bench = Bench::new().await;
    let folder = repository(&bench).await;
    let volume = format!("--volume={}:/builds", folder.path().display());
    let options = [volume.as_str(), "--workdir=/builds", "--entrypoint=sh"];
    for script in gitlab_scripts() {
        let (code, out, err) = run(&format!("{image}:debug"), &options, &["-c", &script]).await;
        assert_eq!(code, 0, "{script}: {out}{err}");
        let report = std::fs::read_to_string(folder.path().join("gl-code-quality.json")).unwrap();
        assert_eq!(report.trim(), "[]", "nothing failed");
        let found = tagged(bench.target.store(), &repo("app"), "1").await;
        assert_eq!(found.is_some(), script.contains(" once "), "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_on_the_volume_are_written_and_read_again() {
    let Some(image) = image() else { return };
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let layout = "ocidir:///var/lib/regmirror/layouts/team/app";
    let out = format!("name: out, source: SOURCE/app, target: '{layout}', type: repository");
    let back = format!("name: in, source: '{layout}', target: TARGET/app, type: repository");
    let pod = once(&[("regmirror-config", &[])]).expect("kubectl");
    // One pod after the other, with the same volume.
    for entry in [out, back] {
        pod.update(
            "regmirror-config",
            &[("config.yml", &bench.config(&[&entry]))],
        );
        let container = Container::of(&pod, &format!("{image}:release"));
        let (code, out, err) = container.end().await;
        assert_eq!(code, 0, "{entry}: {out}{err}");
    }
    assert!(
        tagged(bench.target.store(), &repo("app"), "1")
            .await
            .is_some()
    );
}
