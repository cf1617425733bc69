//! Layouts on disk. What no request shows is tested beside the code, in
//! `src/layout`. There is no garbage collection of layouts, and no import of
//! tar archives (I7).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regmirror::layout::LayoutStore;
use regmirror::oci::{Manifest, MediaType, Repository};
use regmirror::store::{Blob, Sink, Source};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Fault;
use crate::support::bench::{Bench, failures};
use crate::support::images::{complete, push, push_image, repo, tagged};
use crate::support::program::{regmirror, told};

/// A source, and a layout that is to become its mirror.
struct Mirror {
    bench: Bench,
    folder: TempDir,
}

impl Mirror {
    /// A source whose tag `1` has moved since the layout got it, and whose tag
    /// `2` is new.
    async fn new() -> Self {
        let mirror = Self {
            bench: Bench::new().await,
            folder: tempfile::tempdir().unwrap(),
        };
        let (source, app) = (mirror.bench.source.store(), repo("app"));
        push_image(source, &app, Some("1"), &[b"old"]).await;
        let job = mirror.job();
        let summary = mirror.bench.run(&[&job]).await;
        assert_eq!(summary.totals.copied, 1);
        push_image(source, &app, Some("1"), &[b"new", b"shared"]).await;
        push_image(source, &app, Some("2"), &[b"two", b"shared"]).await;
        mirror
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    fn store(&self) -> LayoutStore {
        LayoutStore::new(self.path())
    }

    fn job(&self) -> String {
        let path = self.path().display().to_string();
        format!("source: SOURCE/app, target: 'ocidir://{path}', type: repository")
    }

    /// The command that mirrors once, one image after the other.
    fn once(&self) -> Command {
        let path = self.folder.path().join("mirror.yml");
        let text = self.bench.config(&[&self.job()]);
        let text = text.replace("skipDockerConfig", "parallel: 1, skipDockerConfig");
        fs::write(&path, text).unwrap();
        let mut command = regmirror(&["once", "-c", path.to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What `tag` may point at: what it pointed at, or what it points at at
    /// the source.
    async fn check(&self, old: &Manifest, at: &str) {
        let store = self.store();
        let root = Repository::unnamed();
        let index = fs::read(self.path().join("index.json")).expect(at);
        let _: Value = serde_json::from_slice(&index).expect(at);
        let first = tagged(&store, &root, "1").await;
        let first = first.unwrap_or_else(|| panic!("{at}: the tag is lost"));
        let new = tagged(self.bench.source.store(), &repo("app"), "1").await;
        assert!(
            first == *old.digest() || Some(&first) == new.as_ref(),
            "{at}"
        );
        let second = tagged(&store, &root, "2").await;
        for digest in [Some(first), second].into_iter().flatten() {
            let whole = complete(&store, &root, &digest).await;
            assert!(whole.is_ok(), "{at}: {whole:?}");
        }
    }

    /// An undisturbed run completes what another left.
    async fn make_up(&self, at: &str) {
        let job = self.job();
        let summary = self.bench.run(&[&job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new(), "{at}");
        for name in ["1", "2"] {
            let want = tagged(self.bench.source.store(), &repo("app"), name).await;
            let have = tagged(&self.store(), &Repository::unnamed(), name).await;
            assert_eq!(have, want, "{at}");
            let whole = complete(&self.store(), &Repository::unnamed(), &have.unwrap()).await;
            assert!(whole.is_ok(), "{at}: {whole:?}");
        }
    }

    async fn old(&self) -> Manifest {
        let root = Repository::unnamed();
        let digest = tagged(&self.store(), &root, "1").await.unwrap();
        self.store().manifest(&root, &digest).await.unwrap()
    }

    /// Runs a command to its end without blocking the registry, from its first
    /// request on with files of at most so many bytes.
    async fn limited(&self, command: Command, bytes: u64) -> Output {
        self.bench.source.fail_request(0, Fault::Hold);
        let mut command = command;
        let child = command.spawn().unwrap();
        self.bench.source.held().await;
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        for (resource, most) in [(Resource::Fsize, bytes), (Resource::Core, 0)] {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            prlimit(Some(pid), resource, limit).unwrap();
        }
        self.bench.source.release();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
        ended.await.unwrap().unwrap()
    }
}

/// Every file below `root` with its bytes.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

fn temporary(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = files(root).into_keys().collect();
    found.retain(|path| path.extension().is_some_and(|it| it == "tmp"));
    found
}

#[tokio::test]
async fn i1_a_run_leaves_a_damaged_layout_as_it_is() {
    for (name, content) in [
        ("oci-layout", ""),
        ("index.json", ""),
        ("index.json", "{\"schemaVersion\":2,\"manifests\":[{]}"),
        ("oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}"),
    ] {
        let mirror = Mirror::new().await;
        fs::write(mirror.path().join(name), content).unwrap();
        let before = files(&mirror.path());
        let job = mirror.job();
        let summary = mirror.bench.run(&[&job]).await;
        let said = failures(&summary);
        assert_eq!((said.len(), summary.totals.copied), (2, 0), "{said:?}");
        let path = mirror.path().display().to_string();
        assert!(
            said[0].contains(&path) && said[0].contains(name),
            "{said:?}"
        );
        assert_eq!(files(&mirror.path()), before, "{name}: {content}");
    }
}

/// Killed while it waits for each of its requests, so between any two steps.
#[tokio::test]
async fn i2_a_process_killed_between_any_two_steps_leaves_the_old_or_the_new() {
    let whole = Mirror::new().await;
    let before = whole.bench.source.requests();
    whole.make_up("undisturbed").await;
    let requests = whole.bench.source.requests() - before;
    assert!(requests > 8, "{requests}");
    for number in 0..requests {
        let at = format!("killed at request {number} of {requests}");
        let mirror = Mirror::new().await;
        let old = mirror.old().await;
        mirror.bench.source.fail_request(number, Fault::Hold);
        let mut child = mirror.once().spawn().unwrap();
        mirror.bench.source.held().await;
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        child.wait().unwrap();
        mirror.bench.source.release();
        mirror.check(&old, &at).await;
        mirror.make_up(&at).await;
    }
}

/// The kernel kills a process that writes beyond its limit: in the middle of
/// a file, with its first bytes written.
#[tokio::test]
async fn i2_a_process_killed_in_the_middle_of_a_file_leaves_the_old_or_the_new() {
    let mut killed = 0;
    for bytes in (0..1200).step_by(60) {
        let at = format!("killed after {bytes} bytes of a file");
        let mirror = Mirror::new().await;
        let old = mirror.old().await;
        let output = mirror.limited(mirror.once(), bytes).await;
        match output.status.code() {
            None => killed += 1,
            code => assert_eq!(code, Some(0), "{at}"),
        }
        mirror.check(&old, &at).await;
        mirror.make_up(&at).await;
    }
    assert!(killed > 5, "{killed}");
}

#[tokio::test]
async fn i3_processes_that_write_to_one_layout_lose_no_tag() {
    const PROCESSES: usize = 4;
    const TAGS: usize = 8;
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let (source, app) = (bench.source.store(), repo("app"));
    let image = push_image(source, &app, None, &[b"x"]).await;
    let mut children = Vec::new();
    for process in 0..PROCESSES {
        for tag in 0..TAGS {
            push(source, &app, Some(&format!("p{process}-{tag}")), &image).await;
        }
        let entry = format!(
            "source: SOURCE/app, target: 'ocidir://{}', type: repository, \
             tags: {{allow: ['p{process}-.*']}}",
            path.display()
        );
        let file = folder.path().join(format!("{process}.yml"));
        fs::write(&file, bench.config(&[&entry])).unwrap();
        let mut command = regmirror(&["once", "-c", file.to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        children.push(command.spawn().unwrap());
    }
    for child in children {
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let (code, out, err) = told(&ended.await.unwrap());
        assert_eq!(code, 0, "{out}{err}");
    }
    let store = LayoutStore::new(path.clone());
    let root = Repository::unnamed();
    for process in 0..PROCESSES {
        for tag in 0..TAGS {
            let name = format!("p{process}-{tag}");
            let found = tagged(&store, &root, &name).await;
            assert_eq!(found.as_ref(), Some(image.digest()), "{name}");
        }
    }
    complete(&store, &root, image.digest()).await.unwrap();
    assert_eq!(temporary(&path), Vec::<PathBuf>::new());
}

/// A run adds. What it does not understand, cannot read or has no use for any
/// more is left where it is.
#[tokio::test]
async fn i4_nothing_in_a_layout_is_ever_deleted_by_a_run() {
    let mirror = Mirror::new().await;
    let (root, path) = (Repository::unnamed(), mirror.path());
    let store = mirror.store();
    let unreadable = push_image(&store, &root, Some("unreadable"), &[b"its layer"]).await;
    let hex = unreadable.digest().hex();
    fs::write(path.join("blobs/sha256").join(hex), "{").unwrap();
    let unreferenced = Blob::from_bytes(MediaType::OCTET_STREAM, "of nobody");
    store.put_blob(&root, unreferenced).await.unwrap();
    fs::create_dir_all(path.join("blobs/blake3")).unwrap();
    fs::create_dir_all(path.join("ingest/x")).unwrap();
    for name in [
        "README.md",
        "blobs/notes.txt",
        "blobs/sha256/short",
        "blobs/blake3/abc",
        "ingest/x/data",
        ".other.tmp",
        ".regmirror-of-another-process.tmp",
    ] {
        fs::write(path.join(name), name).unwrap();
    }
    let index = path.join("index.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let odd = json!({"mediaType": "what/ever", "digest": "blake3:12", "size": -1, "x": [1]});
    document["manifests"]
        .as_array_mut()
        .unwrap()
        .push(odd.clone());
    fs::write(&index, document.to_string()).unwrap();

    let before = files(&path);
    mirror.make_up("with odd files").await;
    let after = files(&path);
    for (name, bytes) in &before {
        if *name != index {
            assert_eq!(after.get(name), Some(bytes), "{}", name.display());
        }
    }
    assert!(after.len() > before.len());
    let document: Value = serde_json::from_slice(&after[&index]).unwrap();
    let entries = document["manifests"].as_array().unwrap();
    assert!(entries.contains(&odd));
    let unreadable = json!(unreadable.digest());
    assert!(entries.iter().any(|entry| entry["digest"] == unreadable));
}

#[tokio::test]
async fn i5_a_run_writes_through_no_link() {
    for linked in ["blobs", "blobs/sha256", "index.json"] {
        let mirror = Mirror::new().await;
        let outside = mirror.folder.path().join("outside");
        let inside = mirror.path().join(linked);
        fs::rename(&inside, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &inside).unwrap();
        let content = |path: &Path| match path.is_dir() {
            true => files(path),
            false => BTreeMap::from([(path.to_owned(), fs::read(path).unwrap())]),
        };
        let before = content(&outside);
        let job = mirror.job();
        let said = failures(&mirror.bench.run(&[&job]).await);
        assert_eq!(said.len(), 2, "{said:?}");
        let words = [linked, "symbolic link"];
        assert!(words.iter().all(|word| said[0].contains(word)), "{said:?}");
        assert_eq!(content(&outside), before, "{linked}");
    }
}

#[tokio::test]
async fn i6_names_in_a_layout_that_are_no_tags_are_left_out() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let store = LayoutStore::new(path.to_owned());
    let root = Repository::unnamed();
    let image = push_image(&store, &root, Some("good"), &[b"x"]).await;
    let index = path.join("index.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    for name in [
        "docker.io/library/alpine:3",
        "../../../etc/x",
        "a@b",
        "x y",
        "-x",
        "%2e%2e",
    ] {
        let mut entry = json!(image.descriptor());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        document["manifests"].as_array_mut().unwrap().push(entry);
    }
    fs::write(&index, document.to_string()).unwrap();
    let entry = format!(
        "source: 'ocidir://{}', target: TARGET/app, type: repository",
        path.display()
    );
    let summary = bench.run(&[&entry]).await;
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert_eq!(summary.totals.copied, 1);
    let mut manifests = bench.target.log();
    manifests.retain(|line| line.contains("/manifests/") && !line.contains("sha256:"));
    for line in manifests {
        assert!(line.contains("/manifests/good "), "{line}");
    }
}

/// A disk that is full, which a limit on the size of files stands in for: the
/// write fails as it does there, and the program goes on.
#[tokio::test]
async fn i8_a_disk_that_is_full_costs_neither_the_index_nor_a_file() {
    // The index is longer than any other file, so that the first limit hits
    // the blobs, the second it alone.
    for (bytes, tags) in [(20, 1), (1500, 20)] {
        let mirror = Mirror::new().await;
        let (store, root) = (mirror.store(), Repository::unnamed());
        let old = mirror.old().await;
        for number in 0..tags {
            push(&store, &root, Some(&format!("kept-{number}")), &old).await;
        }
        let before = fs::read(mirror.path().join("index.json")).unwrap();
        let once = mirror.once();
        let mut command = Command::new("sh");
        // Without the trap the kernel would end the program.
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
            .arg(once.get_program())
            .args(once.get_args())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (code, out, err) = told(&mirror.limited(command, bytes).await);
        let at = format!("{bytes} bytes");
        assert_eq!(code, 1, "{at}: {out}{err}");
        let path = mirror.path().display().to_string();
        let line = out.lines().find(|line| line.starts_with("FAILED"));
        let line = line.unwrap_or_else(|| panic!("{at}: {out}{err}"));
        for word in [path.as_str(), "File too large", "free space"] {
            assert!(line.contains(word), "{at}: {line}");
        }
        assert_eq!(temporary(&mirror.path()), Vec::<PathBuf>::new(), "{at}");
        let after = fs::read(mirror.path().join("index.json")).unwrap();
        assert_eq!(after, before, "{at}");
        mirror.check(&old, &at).await;
        mirror.make_up(&at).await;
    }
}
