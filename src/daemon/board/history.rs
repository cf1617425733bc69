//! The runs that there were: the latest, and the latest that failed, which the
//! others must not push out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::report::{Run, RunResult};

/// How many runs are kept.
const RUNS: usize = 200;

/// How many that failed are kept.
const FAILURES: usize = 100;

/// Runs, the latest first.
#[derive(Debug, Default)]
pub(super) struct History {
    runs: VecDeque<Arc<Run>>,
    failures: VecDeque<Arc<Run>>,
}

impl History {
    /// Keeps a run, and forgets what is too old.
    pub(super) fn add(&mut self, run: Run) {
        let run = Arc::new(run);
        if matches!(run.job.result, RunResult::Failure | RunResult::Partial) {
            self.failures.push_front(Arc::clone(&run));
            self.failures.truncate(FAILURES);
        }
        self.runs.push_front(run);
        self.runs.truncate(RUNS);
    }

    /// All that are kept.
    pub(super) fn all(&self) -> Vec<Arc<Run>> {
        let older = |run: &&Arc<Run>| !self.runs.iter().any(|known| Arc::ptr_eq(known, run));
        let older = self.failures.iter().filter(older);
        self.runs.iter().chain(older).cloned().collect()
    }

    /// Those that failed.
    pub(super) fn failures(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.failures.iter()
    }

    /// A run by its name.
    pub(super) fn find(&self, id: &str) -> Option<&Arc<Run>> {
        let mut all = self.runs.iter().chain(&self.failures);
        all.find(|run| run.job.run_id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Job, Trigger};
    use crate::sync::Totals;

    fn run(number: usize, result: RunResult) -> Run {
        Run {
            trigger: Trigger::Schedule,
            lag_ms: 0,
            job: Job {
                sync_job: "a".to_owned(),
                run_id: number.to_string(),
                result,
                started: String::new(),
                duration_ms: 1,
                totals: Totals::default(),
                tags: Vec::new(),
            },
        }
    }

    #[test]
    fn failures_outlive_what_went_well_and_all_is_bounded() {
        let mut history = History::default();
        history.add(run(0, RunResult::Failure));
        for number in 1..=RUNS {
            history.add(run(number, RunResult::Success));
        }
        assert_eq!(history.runs.len(), RUNS);
        let all = history.all();
        assert_eq!(all.len(), RUNS + 1, "each once");
        assert_eq!(all[0].job.run_id, RUNS.to_string());
        assert_eq!(all[RUNS].job.run_id, "0");
        assert!(history.find("0").is_some());
        for number in 0..2 * FAILURES {
            history.add(run(1000 + number, RunResult::Partial));
        }
        assert_eq!(history.failures.len(), FAILURES);
        assert_eq!(history.all().len(), RUNS);
        assert!(history.find("0").is_none());
    }
}
