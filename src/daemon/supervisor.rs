//! The supervisor: owns every run, begins those that are due, ends them all
//! before it ends itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::agenda::{Agenda, Call, TriggerError};
use super::board::Board;
use super::clock::Clock;
use crate::config::Config;
use crate::schedule::local_zone;
use crate::sync::{
    Audience, Job, Outcome, PoolStatus, RunId, RunReport, TagReport, Tally, panic_text,
};
use crate::telemetry::metrics::Quota;

/// How long nobody looks at the clock at most: it may have been set.
const TICK: Duration = Duration::from_secs(10);

/// What runs jobs.
#[async_trait]
pub trait Engine: Debug + Send + Sync + 'static {
    /// Runs a job once, and begins nothing more of it after `stop`.
    async fn run(&self, id: RunId, job: &Job, stop: &CancellationToken) -> RunReport;

    /// Goes on with the registries and limits of another configuration. Runs under
    /// way keep those that they began with.
    ///
    /// # Errors
    ///
    /// Why it cannot; it goes on as before then.
    fn configure(&self, config: &Config) -> Result<(), String>;

    /// How the pool stands.
    fn pool(&self) -> PoolStatus;

    /// What is known of the registries that were asked for something.
    fn registries(&self) -> Vec<Known>;
}

/// What is known of a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its name.
    pub registry: String,
    /// For how long it asked to be left alone.
    pub quiet: Option<Duration>,
    /// What it said of its limit.
    pub quota: Option<Quota>,
}

/// Why a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The process began: what the target lacks is copied, and nothing else.
    First,
    /// It was due.
    Scheduled,
    /// Somebody asked for it.
    Triggered,
}

/// What a supervisor is told.
#[derive(Debug)]
pub enum Command {
    /// To go on with another configuration. The answer is why it cannot.
    Reload(Box<Config>, oneshot::Sender<Result<(), String>>),
    /// To run a job now.
    Trigger(String, oneshot::Sender<Result<RunId, TriggerError>>),
    /// To begin no run of a job, or of any, until told otherwise, or to go on. The
    /// answer is of how many jobs.
    Pause(Option<String>, bool, oneshot::Sender<usize>),
    /// To end a run when what is under way is done. The answer is whether it goes on.
    Cancel(String, oneshot::Sender<bool>),
}

/// A run under way.
#[derive(Debug)]
struct Run {
    id: RunId,
    job: String,
    kind: Kind,
    stop: CancellationToken,
}

/// Runs jobs when they are due, until it is stopped.
#[derive(Debug)]
pub struct Supervisor {
    clock: Arc<dyn Clock>,
    engine: Arc<dyn Engine>,
    board: Arc<Board>,
    agenda: Agenda,
    jobs: BTreeMap<String, Arc<Job>>,
    tasks: JoinSet<RunReport>,
    runs: HashMap<Id, Run>,
}

impl Supervisor {
    /// A supervisor of the jobs of `config`, none of which runs yet. It tells the
    /// board what it does.
    pub fn new(
        config: &Config,
        engine: Arc<dyn Engine>,
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut supervisor = Self {
            agenda: Agenda::new(local_zone(), clock.now()),
            clock,
            engine,
            board,
            jobs: BTreeMap::new(),
            tasks: JoinSet::new(),
            runs: HashMap::new(),
        };
        supervisor.set(config);
        supervisor
    }

    /// Runs jobs when they are due, and does what it is told, until `stop`. Then
    /// it begins nothing more, and ends when what is under way is done. Dropped,
    /// it ends at once.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in names {
            self.begin(&name, Kind::First, None);
        }
        loop {
            let now = self.clock.now();
            self.board.ticked(now);
            self.begin_due(now);
            let wait = self.wait(now);
            let clock = Arc::clone(&self.clock);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                Some(command) = commands.recv() => self.obey(command),
                () = clock.wait(wait) => {}
            }
        }
        self.board.drains();
        for run in self.runs.values() {
            run.stop.cancel();
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// How long nothing is due.
    fn wait(&self, now: DateTime<Utc>) -> Duration {
        let next = self.agenda.next().map(|next| next - now);
        let next = next.map(|wait| wait.to_std().unwrap_or_default());
        next.map_or(TICK, |wait| wait.min(TICK))
    }

    fn begin_due(&mut self, now: DateTime<Utc>) {
        for (name, call, due) in self.agenda.due(now) {
            self.board.scheduled(&name, &self.agenda);
            match call {
                Call::Run => drop(self.begin(&name, Kind::Scheduled, Some(due))),
                Call::Skip(why) => self.board.skipped(&name, why),
            }
        }
    }

    fn begin(&mut self, name: &str, kind: Kind, due: Option<DateTime<Utc>>) -> RunId {
        let id = RunId::new();
        let Some(job) = self.jobs.get(name) else {
            return id;
        };
        self.board.began(name, &id, kind, due);
        // A run brings all that a first pass would.
        let first = |run: &&Run| run.job == name && run.kind == Kind::First;
        if let Some(run) = self.runs.values().find(first) {
            run.stop.cancel();
        }
        let (engine, stop) = (Arc::clone(&self.engine), CancellationToken::new());
        let job = match kind {
            Kind::First => {
                let mut job = Job::clone(job);
                job.policy.missing_only = true;
                Arc::new(job)
            }
            Kind::Scheduled | Kind::Triggered => Arc::clone(job),
        };
        let (token, named) = (stop.clone(), id.clone());
        let task = self
            .tasks
            .spawn(async move { engine.run(named, &job, &token).await });
        let run = Run {
            id: id.clone(),
            job: name.to_owned(),
            kind,
            stop,
        };
        self.runs.insert(task.id(), run);
        id
    }

    fn ended(&mut self, ended: Result<(Id, RunReport), JoinError>) {
        let (id, report) = match ended {
            Ok((id, report)) => (id, Ok(report)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(run) = self.runs.remove(&id) else {
            return;
        };
        let report = report.unwrap_or_else(|error| panicked(&run, error));
        self.board.ended(&run.job, run.kind, &report);
        if run.kind != Kind::First {
            self.agenda.ended(&run.job);
        }
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may have gone; what was asked for is done.
        match command {
            Command::Reload(config, answer) => {
                let done = self.engine.configure(&config);
                if done.is_ok() {
                    self.set(&config);
                }
                let _ = answer.send(done);
            }
            Command::Trigger(name, answer) => {
                let done = self.agenda.trigger(&name);
                let done = done.map(|()| self.begin(&name, Kind::Triggered, None));
                let _ = answer.send(done);
            }
            Command::Pause(name, paused, answer) => {
                let named = |job: &&str| name.as_ref().is_none_or(|name| name == job);
                let jobs = self.agenda.jobs().filter(named).map(str::to_owned);
                let jobs: Vec<String> = jobs.collect();
                for job in &jobs {
                    self.agenda.pause(job, paused);
                    self.board.paused(job, paused);
                    tracing::info!(sync_job = %job, paused, "somebody asked for it");
                }
                let _ = answer.send(jobs.len());
            }
            Command::Cancel(id, answer) => {
                let mut runs = self.runs.values();
                let run = runs.find(|run| run.id.as_str() == id);
                if let Some(run) = run {
                    tracing::info!(sync_job = %run.job, run_id = %run.id, "somebody cancelled it");
                    run.stop.cancel();
                }
                let _ = answer.send(run.is_some());
            }
        }
    }

    /// Takes over the jobs of a configuration. Runs of those that are gone are told
    /// to stop.
    fn set(&mut self, config: &Config) {
        let schedules = config.jobs.iter().map(|job| {
            let schedule = config.schedules.get(&job.name);
            (job.name.as_str(), schedule)
        });
        self.agenda.set(schedules, self.clock.now(), fastrand::f64);
        self.board.configured(config, &self.agenda);
        for job in &config.jobs {
            if self.board.was_paused(&job.name) {
                self.agenda.pause(&job.name, true);
            }
        }
        let jobs = config.jobs.iter();
        self.jobs = jobs
            .map(|job| (job.name.clone(), Arc::new(job.clone())))
            .collect();
        for run in self.runs.values() {
            if !self.jobs.contains_key(&run.job) {
                run.stop.cancel();
            }
        }
    }
}

/// What there is to say of a run that ended by a panic.
fn panicked(run: &Run, error: JoinError) -> RunReport {
    let said = match error.try_into_panic() {
        Ok(panic) => panic_text(&*panic).to_owned(),
        Err(error) => error.to_string(),
    };
    let Run { id, job, .. } = run;
    tracing::error!(sync_job = %job, run_id = %id, "a run ended by a fault of our own: {said}");
    let tally = Tally::begin(job, id.clone(), &Audience::default());
    tally.tag(TagReport {
        source: job.clone(),
        target: String::new(),
        outcome: Outcome::fault(&said),
    });
    tally.end(false)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::{Notify, watch};

    use super::*;
    use crate::report::{JobState, RunResult};
    use crate::telemetry::metrics::{BuildInfo, Metrics};

    /// A clock that tests move.
    #[derive(Debug)]
    struct Moved(watch::Sender<DateTime<Utc>>, Mutex<Option<DateTime<Utc>>>);

    #[async_trait]
    impl Clock for Moved {
        fn now(&self) -> DateTime<Utc> {
            let now = *self.0.borrow();
            *self.1.lock().unwrap() = Some(now);
            now
        }

        /// Until it is not as late as when somebody looked last.
        async fn wait(&self, _time: Duration) {
            let seen = *self.1.lock().unwrap();
            let mut moved = self.0.subscribe();
            let moved = moved.wait_for(|now| Some(*now) != seen).await;
            moved.expect("the clock is there");
        }
    }

    /// Tells of runs, which end when they are let go or told to stop.
    #[derive(Debug)]
    struct Told {
        told: mpsc::UnboundedSender<String>,
        go: Notify,
        panics: Mutex<bool>,
    }

    #[async_trait]
    impl Engine for Told {
        async fn run(&self, id: RunId, job: &Job, stop: &CancellationToken) -> RunReport {
            let kind = if job.policy.missing_only {
                "looks for what is missing"
            } else {
                "runs"
            };
            // Whoever is told may let it go at once.
            let mut go = std::pin::pin!(self.go.notified());
            go.as_mut().enable();
            self.told.send(format!("{} {kind}", job.name)).unwrap();
            let panics = std::mem::take(&mut *self.panics.lock().unwrap());
            assert!(!panics, "a fault");
            let word = tokio::select! {
                () = go => "done",
                () = stop.cancelled() => "stopped",
            };
            self.told.send(format!("{} {word}", job.name)).unwrap();
            Tally::begin(&job.name, id, &Audience::default()).end(stop.is_cancelled())
        }

        fn configure(&self, config: &Config) -> Result<(), String> {
            match config.parallel {
                13 => Err("no thirteen".to_owned()),
                _ => Ok(()),
            }
        }

        fn pool(&self) -> PoolStatus {
            PoolStatus {
                places: 1,
                busy: 0,
                waiting: 0,
            }
        }

        fn registries(&self) -> Vec<Known> {
            Vec::new()
        }
    }

    struct Bench {
        clock: Arc<Moved>,
        engine: Arc<Told>,
        board: Arc<Board>,
        told: mpsc::UnboundedReceiver<String>,
        commands: mpsc::Sender<Command>,
        stop: CancellationToken,
        task: JoinSet<()>,
    }

    fn config(jobs: &[(&str, &str)], parallel: usize) -> Config {
        let mut text =
            format!("defaults: {{skipDockerConfig: true, parallel: {parallel}}}\nsync:\n");
        for (name, schedule) in jobs {
            text += &format!(
                "- {{name: {name}, source: 'a.io/{name}', target: 'b.io/{name}', \
                 type: repository, schedule: '{schedule}'}}\n"
            );
        }
        Config::parse(&text, "test").unwrap()
    }

    impl Bench {
        fn new(jobs: &[(&str, &str)], now: &str) -> Self {
            let clock = Arc::new(Moved(
                watch::Sender::new(now.parse().unwrap()),
                Mutex::default(),
            ));
            let (sender, told) = mpsc::unbounded_channel();
            let engine = Arc::new(Told {
                told: sender,
                go: Notify::new(),
                panics: Mutex::default(),
            });
            let metrics = Metrics::new(&BuildInfo {
                version: "1",
                revision: "2",
                rustc_version: "3",
            });
            let board = Arc::new(Board::new(Arc::new(metrics), Arc::clone(&clock) as _));
            let supervisor = Supervisor::new(
                &config(jobs, 4),
                Arc::clone(&engine) as _,
                Arc::clone(&board),
                Arc::clone(&clock) as _,
            );
            let (commands, receiver) = mpsc::channel(4);
            let stop = CancellationToken::new();
            let mut task = JoinSet::new();
            task.spawn(supervisor.run(receiver, stop.clone()));
            Self {
                clock,
                engine,
                board,
                told,
                commands,
                stop,
                task,
            }
        }

        fn move_to(&self, time: &str) {
            self.clock.0.send_replace(time.parse().unwrap());
        }

        /// Whatever is told next.
        async fn next(&mut self) -> String {
            let told = tokio::time::timeout(Duration::from_secs(10), self.told.recv());
            told.await.expect("something is told").unwrap()
        }

        async fn expect(&mut self, lines: &[&str]) {
            let mut told = Vec::new();
            for _ in lines {
                told.push(self.next().await);
            }
            told.sort();
            assert_eq!(told, lines);
        }

        /// Waits until the board shows something of a job.
        async fn shows(&self, job: &str, what: impl Fn(&crate::report::JobStatus) -> bool) {
            let mut changes = self.board.changes();
            let shown = changes.wait_for(|_| self.board.job(job).is_some_and(|job| what(&job)));
            let shown = tokio::time::timeout(Duration::from_secs(10), shown).await;
            let now = self.board.job(job);
            shown
                .unwrap_or_else(|_| panic!("the board shows {now:?}"))
                .unwrap();
        }

        /// Waits until something is so that the board tells of.
        async fn until(&self, so: impl Fn(&Self) -> bool) {
            let mut changes = self.board.changes();
            let limit = Duration::from_secs(10);
            let so = tokio::time::timeout(limit, changes.wait_for(|_| so(self))).await;
            so.expect("it is so in time").unwrap();
        }

        fn metric(&self, line: &str) -> bool {
            let text = self.board.metrics().text();
            text.lines().any(|known| known == line)
        }

        async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
            let (sender, answer) = oneshot::channel();
            self.commands.send(command(sender)).await.unwrap();
            answer.await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_first_pass_delays_nobody_and_yields_to_the_run_that_is_due() {
        let mut bench = Bench::new(
            &[("a", "0 3 * * *"), ("b", "0 9 * * *")],
            "2026-11-24T02:59:00Z",
        );
        bench
            .expect(&["a looks for what is missing", "b looks for what is missing"])
            .await;
        bench.move_to("2026-11-24T03:00:00Z");
        bench.expect(&["a runs", "a stopped"]).await;
        // The next one is not due, and the first pass of the other goes on.
        bench.move_to("2026-11-24T03:00:01Z");
        bench.engine.go.notify_waiters();
        bench.expect(&["a done", "b done"]).await;
        bench.move_to("2026-11-24T09:00:00Z");
        bench.expect(&["b runs"]).await;
    }

    #[tokio::test]
    async fn a_due_run_that_meets_a_running_one_is_told_of_and_skipped() {
        let mut bench = Bench::new(&[("a", "0 * * * *")], "2026-11-24T02:59:00Z");
        bench.expect(&["a looks for what is missing"]).await;
        bench.move_to("2026-11-24T03:00:00Z");
        bench.expect(&["a runs", "a stopped"]).await;
        bench.move_to("2026-11-24T04:00:00Z");
        let skipped =
            "regmirror_sync_runs_skipped_total{reason=\"still_running\",sync_job=\"a\"} 1";
        bench
            .shows("a", |job| {
                job.next_run.as_deref() == Some("2026-11-24T05:00:00.000Z")
            })
            .await;
        bench.until(|bench| bench.metric(skipped)).await;
        bench.engine.go.notify_waiters();
        bench.expect(&["a done"]).await;
        bench.move_to("2026-11-24T05:00:00Z");
        bench.expect(&["a runs"]).await;
    }

    #[tokio::test]
    async fn what_is_late_was_due_and_has_not_succeeded_since() {
        // Nothing is late at a weekend.
        let jobs = [("a", "0 3 * * 1-5"), ("b", "0 20 * * 0")];
        let mut bench = Bench::new(&jobs, "2026-11-26T03:30:00Z");
        bench
            .expect(&["a looks for what is missing", "b looks for what is missing"])
            .await;
        bench.engine.go.notify_waiters();
        bench.expect(&["a done", "b done"]).await;
        let since = |bench: &Bench, time: &str| {
            let seconds = match time {
                "never" => 0,
                time => time.parse::<DateTime<Utc>>().unwrap().timestamp(),
            };
            let name = "regmirror_sync_due_since_timestamp_seconds";
            bench.metric(&format!("{name}{{sync_job=\"a\"}} {seconds}"))
        };
        assert!(since(&bench, "never"), "the pass at the start is not due");
        bench.move_to("2026-11-27T03:00:00Z");
        bench.expect(&["a runs"]).await;
        assert!(since(&bench, "2026-11-27T03:00:00Z"));
        bench.engine.go.notify_waiters();
        bench.expect(&["a done"]).await;
        bench.shows("a", |job| job.last_success.is_some()).await;
        assert!(since(&bench, "never"));
        bench.move_to("2026-11-29T20:00:00Z");
        bench.expect(&["b runs"]).await;
        assert!(since(&bench, "never"));
        // A failure and another; paused, too.
        *bench.engine.panics.lock().unwrap() = true;
        bench.move_to("2026-11-30T03:00:00Z");
        bench.expect(&["a runs"]).await;
        bench.shows("a", |job| job.state == JobState::Failing).await;
        bench
            .ask(|answer| Command::Pause(Some("a".to_owned()), true, answer))
            .await;
        bench.move_to("2026-12-01T03:00:00Z");
        let skipped = "regmirror_sync_runs_skipped_total{reason=\"paused\",sync_job=\"a\"} 1";
        bench.until(|bench| bench.metric(skipped)).await;
        assert!(
            since(&bench, "2026-11-30T03:00:00Z"),
            "the first time counts"
        );
    }

    #[tokio::test]
    async fn a_panic_is_one_failed_run() {
        let mut bench = Bench::new(&[("a", "0 * * * *")], "2026-11-24T02:59:00Z");
        bench.expect(&["a looks for what is missing"]).await;
        *bench.engine.panics.lock().unwrap() = true;
        bench.move_to("2026-11-24T03:00:00Z");
        bench.expect(&["a runs", "a stopped"]).await;
        bench.shows("a", |job| job.state == JobState::Failing).await;
        let error = bench.board.job("a").unwrap().last_run.unwrap().error;
        assert!(error.unwrap().contains("a fault"));
        let failed = "regmirror_sync_runs_total{result=\"failure\",sync_job=\"a\"} 1";
        assert!(bench.metric(failed));
        bench.move_to("2026-11-24T04:00:00Z");
        bench.expect(&["a runs"]).await;
    }

    #[tokio::test]
    async fn somebody_may_ask_for_a_run_for_its_end_and_for_none() {
        let mut bench = Bench::new(&[("a", "0 * * * *")], "2026-11-24T02:59:00Z");
        bench.expect(&["a looks for what is missing"]).await;
        let trigger = |name: &str| {
            let name = name.to_owned();
            |answer| Command::Trigger(name, answer)
        };
        let id = bench.ask(trigger("a")).await.unwrap();
        bench.expect(&["a runs", "a stopped"]).await;
        assert_eq!(bench.ask(trigger("a")).await, Err(TriggerError::Running));
        assert_eq!(bench.ask(trigger("b")).await, Err(TriggerError::Unknown));
        let cancel = |id: String| |answer| Command::Cancel(id, answer);
        assert!(!bench.ask(cancel("another".to_owned())).await);
        assert!(bench.ask(cancel(id.to_string())).await);
        bench.expect(&["a stopped"]).await;
        bench.shows("a", |job| job.state == JobState::Ok).await;
        let last = bench.board.job("a").unwrap().last_run.unwrap();
        assert_eq!(
            (last.run_id, last.result),
            (id.to_string(), RunResult::Canceled)
        );
        assert_eq!(bench.board.run(id.as_str()).unwrap().job.sync_job, "a");

        let pause = |name: Option<&str>| {
            let name = name.map(str::to_owned);
            |answer| Command::Pause(name, true, answer)
        };
        assert_eq!(bench.ask(pause(Some("b"))).await, 0);
        assert_eq!(bench.ask(pause(None)).await, 1);
        bench.move_to("2026-11-24T03:00:00Z");
        let skipped = "regmirror_sync_runs_skipped_total{reason=\"paused\",sync_job=\"a\"} 1";
        bench.until(|bench| bench.metric(skipped)).await;
        assert_eq!(bench.board.job("a").unwrap().state, JobState::Paused);
    }

    #[tokio::test]
    async fn a_reload_drains_what_is_gone_and_keeps_what_cannot_be_taken() {
        let both = [("a", "0 3 * * *"), ("b", "0 3 * * *")];
        let mut bench = Bench::new(&both, "2026-11-24T02:59:00Z");
        bench
            .expect(&["a looks for what is missing", "b looks for what is missing"])
            .await;
        bench.move_to("2026-11-24T03:00:00Z");
        bench
            .expect(&["a runs", "a stopped", "b runs", "b stopped"])
            .await;
        let reload = |config| |answer| Command::Reload(Box::new(config), answer);
        let refused = bench.ask(reload(config(&[], 13))).await;
        assert_eq!(refused, Err("no thirteen".to_owned()));
        assert_eq!(bench.ask(reload(config(&both[..1], 4))).await, Ok(()));
        bench.expect(&["b stopped"]).await;
        bench.engine.go.notify_waiters();
        bench.expect(&["a done"]).await;
        bench.move_to("2026-11-25T03:00:00Z");
        bench.expect(&["a runs"]).await;
    }

    #[tokio::test]
    async fn a_stop_waits_for_what_is_under_way_and_begins_nothing() {
        let mut bench = Bench::new(&[("a", "0 3 * * *")], "2026-11-24T02:59:00Z");
        bench.expect(&["a looks for what is missing"]).await;
        bench.stop.cancel();
        bench.expect(&["a stopped"]).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), bench.task.join_next());
        ended.await.expect("it ends").unwrap().unwrap();
        bench.move_to("2026-11-24T03:00:00Z");
        assert!(bench.told.try_recv().is_err());
    }
}
