//! What is known of jobs across restarts: one file in a directory, written whole
//! beside the old one and then put in its place.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Board;
use super::history::History;
use crate::report::{Job as Ran, LastRun, Run, RunResult, Tag, TagCounts, TagResult};
use crate::sync::RunReport;

/// The version of the file.
const VERSION: u32 = 1;

/// How much of a file is read, in bytes. It holds a bounded number of runs.
const LONGEST: u64 = 256 << 20;

/// How long a change waits for others, to be written with them.
const QUIET: Duration = Duration::from_secs(5);

/// What is known of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) last_start: Option<DateTime<Utc>>,
    pub(super) last_completion: Option<DateTime<Utc>>,
    pub(super) last_success: Option<DateTime<Utc>>,
    /// When it was first due since then. What is late is told by this, and not by how
    /// long ago the last success was: schedules need not be even.
    pub(super) due_since: Option<DateTime<Utc>>,
    pub(super) last_run: Option<LastRun>,
    pub(super) tags: TagCounts,
    pub(super) paused: bool,
}

impl Record {
    /// A run of it has completed.
    pub(super) fn completed(
        &mut self,
        ran: &Ran,
        report: &RunReport,
        lag_ms: u64,
        now: DateTime<Utc>,
    ) {
        let totals = report.totals;
        self.last_completion = Some(now);
        if ran.result == RunResult::Success {
            self.last_success = Some(now);
            self.due_since = None;
        }
        self.tags = TagCounts {
            in_sync: totals.copied + totals.unchanged,
            pending: totals.pending,
            failed: totals.failed,
        };
        let failure = |tag: &Tag| {
            let failed = tag.result == TagResult::Failed;
            tag.detail.clone().filter(|_| failed)
        };
        self.last_run = Some(LastRun {
            run_id: ran.run_id.clone(),
            result: ran.result,
            started: ran.started.clone(),
            duration_ms: ran.duration_ms,
            lag_ms,
            totals,
            error: ran.tags.iter().find_map(failure),
        });
    }
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    jobs: BTreeMap<String, Record>,
    runs: Vec<Arc<Run>>,
}

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not write to the state directory {}: {cause}", path.display())]
pub struct StateError {
    path: PathBuf,
    cause: io::Error,
}

/// Keeps what is known in a directory.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    /// What was written last.
    written: u64,
}

impl Keeper {
    /// Puts what is in `folder` on the board, which is empty. That nothing of use is
    /// there is a warning.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written to.
    pub fn open(folder: &Path, board: &Board) -> Result<Self, StateError> {
        let keeper = Self {
            folder: folder.to_owned(),
            written: 0,
        };
        let failed = |cause| keeper.failed(cause);
        std::fs::create_dir_all(folder).map_err(failed)?;
        // A probe: what cannot be written in an hour should be known now.
        let probe = folder.join(".probe");
        std::fs::write(&probe, []).map_err(failed)?;
        std::fs::remove_file(&probe).map_err(failed)?;
        match keeper.read() {
            Ok(Some(saved)) => board.restore(saved),
            Ok(None) => {}
            Err(why) => {
                let path = keeper.path();
                tracing::warn!(
                    "{} is of no use ({why}): nothing is known of earlier runs",
                    path.display()
                );
                // Somebody may want to look at it.
                let _ = std::fs::rename(&path, path.with_extension("json.bad"));
            }
        }
        Ok(keeper)
    }

    /// Writes what has changed, soon after it did, until `stop`. Then once more.
    pub async fn run(mut self, board: Arc<Board>, stop: CancellationToken) {
        let mut changes = board.changes();
        while !stop.is_cancelled() {
            let quiet = async {
                let _ = changes.changed().await;
                tokio::time::sleep(QUIET).await;
            };
            stop.run_until_cancelled(quiet).await;
            let (version, saved) = board.saved();
            if version != self.written {
                let (path, text) = (self.path(), serde_json::to_vec(&saved));
                let text = text.expect("maps with text for keys");
                let wrote = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
                match wrote {
                    Ok(Ok(())) => self.written = version,
                    Ok(Err(cause)) => tracing::error!("{}", self.failed(cause)),
                    Err(error) => tracing::error!(%error, "could not write the state"),
                }
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    fn read(&self) -> Result<Option<Saved>, String> {
        let path = self.path();
        let size = match std::fs::metadata(&path) {
            Ok(known) => known.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if size > LONGEST {
            return Err(format!("it has {size} bytes"));
        }
        let text = std::fs::read(&path).map_err(|error| error.to_string())?;
        let saved: Saved = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        match saved.version {
            VERSION => Ok(Some(saved)),
            other => Err(format!("its version is {other}, not {VERSION}")),
        }
    }

    fn failed(&self, cause: io::Error) -> StateError {
        StateError {
            path: self.folder.clone(),
            cause,
        }
    }
}

/// Puts a file in the place of another one, which is there until then.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

impl Board {
    fn restore(&self, saved: Saved) {
        let mut history = History::default();
        for run in saved.runs.into_iter().rev() {
            history.add(Arc::unwrap_or_clone(run));
        }
        self.change(|state| {
            state.history = history;
            state.others = saved.jobs;
        });
    }

    fn saved(&self) -> (u64, Saved) {
        let state = self.lock();
        let jobs = state.jobs.iter();
        let jobs = jobs.map(|(name, entry)| (name.clone(), entry.record.clone()));
        let saved = Saved {
            version: VERSION,
            jobs: jobs.collect(),
            runs: state.history.all(),
        };
        (state.recorded, saved)
    }
}
