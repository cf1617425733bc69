//! Whether the configuration's file has changed. Its content tells: times of
//! files in a ConfigMap say nothing, and the names under which it swaps them
//! escape those who watch one file.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::board::Board;
use super::supervisor::Command;

use crate::config::{Config, ConfigError, MAX_SIZE};

/// Reads a file again when it has changed.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    /// What was read last, whether it could be used or not.
    seen: Option<[u8; 32]>,
}

impl Reloader {
    /// A reader of the file at `path`, for whoever reads it now for the first time.
    pub fn new(path: &Path) -> Self {
        Self {
            seen: hash(path),
            path: path.to_owned(),
        }
    }

    /// The configuration, if the file is not as it was when it was read last, or
    /// `anyway`.
    ///
    /// # Errors
    ///
    /// When it cannot be used; that is told once for each content.
    pub fn read(&mut self, anyway: bool) -> Option<Result<Config, ConfigError>> {
        let now = hash(&self.path);
        if now == self.seen && !anyway {
            return None;
        }
        self.seen = now;
        Some(Config::read(&self.path))
    }
}

/// What there is to say of a configuration without schedules.
pub const NO_SCHEDULE: &str = "no job has an `interval` or a `schedule`, so there is nothing to wait \
                               for: give `defaults` one, or run `regmirror once`";

/// Whoever asks for the configuration to be read again is told how many jobs it
/// has, or why it cannot be used.
pub type Asked = oneshot::Sender<Result<usize, String>>;

impl Reloader {
    /// Has the configuration read again when its content has changed, which is
    /// looked for so often (never, with 0), and when somebody asks. One that cannot
    /// be used is told of, and changes nothing. Never ends.
    pub async fn run<T>(
        mut self,
        interval: Duration,
        mut asked: mpsc::Receiver<Asked>,
        commands: mpsc::Sender<Command>,
        board: &Board,
    ) -> T {
        loop {
            let asking = match interval {
                Duration::ZERO => asked.recv().await,
                interval => tokio::time::timeout(interval, asked.recv())
                    .await
                    .unwrap_or_default(),
            };
            let Some(read) = self.read(asking.is_some()) else {
                continue;
            };
            let taken = take(read, &commands).await;
            match &taken {
                Ok((jobs, warnings)) => {
                    for warning in warnings.lines() {
                        tracing::warn!("{warning}");
                    }
                    tracing::info!(jobs, "the configuration was read again");
                }
                Err(why) => {
                    board.rejected(why);
                    for line in why.lines() {
                        tracing::error!("{line}");
                    }
                    tracing::error!("the configuration cannot be used; the one before stays");
                }
            }
            if let Some(asking) = asking {
                // They may have gone.
                let _ = asking.send(taken.map(|(jobs, _)| jobs));
            }
        }
    }
}

/// Goes on with a configuration that was read: how many jobs it has, and what is
/// odd about it.
async fn take(
    read: Result<Config, ConfigError>,
    commands: &mpsc::Sender<Command>,
) -> Result<(usize, String), String> {
    let config = read.map_err(|error| error.to_string())?;
    if config.schedules.is_empty() {
        return Err(NO_SCHEDULE.to_owned());
    }
    let told = (config.jobs.len(), config.warnings.to_string());
    let (sender, answer) = oneshot::channel();
    let gone = "the scheduler has ended";
    let sent = commands.send(Command::Reload(Box::new(config), sender));
    sent.await.map_err(|_| gone.to_owned())?;
    answer.await.map_err(|_| gone.to_owned())??;
    Ok(told)
}

/// The hash of a file's content; `None` when it cannot be read.
fn hash(path: &Path) -> Option<[u8; 32]> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    // What is longer is no configuration.
    file.take(MAX_SIZE + 1).read_to_end(&mut content).ok()?;
    Some(Sha256::digest(content).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_config_map_s_swap_is_seen_and_a_broken_file_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |version: &str, text: &str| {
            let dir = folder.path().join(version);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("config.yml"), text).unwrap();
            // As the kubelet does it.
            let new = folder.path().join("..data_tmp");
            symlink(version, &new).unwrap();
            std::fs::rename(new, folder.path().join("..data")).unwrap();
        };
        let file = folder.path().join("config.yml");
        symlink("..data/config.yml", &file).unwrap();
        let text = "defaults: {parallel: 3}\nsync: []\n";
        write("..1", text);
        let mut reloader = Reloader::new(&file);
        assert!(reloader.read(false).is_none());
        write("..2", text);
        assert!(reloader.read(false).is_none(), "the same content");
        write("..3", "sync: {");
        assert!(reloader.read(false).unwrap().is_err());
        assert!(reloader.read(false).is_none(), "it is still broken");
        assert!(reloader.read(true).unwrap().is_err(), "somebody asks");
        write("..4", &text.replace('3', "5"));
        assert_eq!(reloader.read(false).unwrap().unwrap().parallel, 5);
        std::fs::remove_file(&file).unwrap();
        assert!(reloader.read(false).unwrap().is_err(), "it is gone");
        assert!(reloader.read(false).is_none());
        symlink("..data/config.yml", &file).unwrap();
        assert_eq!(reloader.read(false).unwrap().unwrap().parallel, 5);
    }
}
