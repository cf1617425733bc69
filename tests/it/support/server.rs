//! Servers of other projects, and ours, each in a process of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take until it listens.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A server on loopback, in a process of its own that ends with it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    log: PathBuf,
    _dir: TempDir,
}

impl Server {
    /// Starts a server and waits until its log names its address, which is
    /// what follows `announced`.
    pub(crate) fn start(mut command: Command, dir: TempDir, announced: &str) -> Self {
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
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log is there")).into_owned()
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
