//! Which jobs are due. It has no clock: whoever asks says what time it is.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::schedule::Schedule;

/// How far the clock may go back, in seconds, without being taken for another
/// time altogether.
const SLIP: i64 = 1;

/// The longest time over which the first runs of intervals are spread.
const SPREAD: Duration = Duration::from_secs(60);

/// The jobs and when each is due.
#[derive(Debug)]
pub struct Agenda {
    /// The zone of schedules that name none.
    local: Tz,
    entries: BTreeMap<String, Entry>,
    /// When somebody asked last.
    seen: DateTime<Utc>,
}

#[derive(Debug)]
struct Entry {
    schedule: Option<Schedule>,
    due: Option<DateTime<Utc>>,
    running: bool,
    paused: bool,
    /// Whether it is no job any more, and only its run goes on.
    leaving: bool,
}

/// A run that is due, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// It begins.
    Run,
    /// It does not, and is not made up for.
    Skip(Skip),
}

/// Why a run that is due does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The one before is still running.
    StillRunning,
    /// Somebody paused the job.
    Paused,
}

/// Why a run that somebody asks for does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// There is no such job.
    #[error("there is no such job")]
    Unknown,
    /// It is running.
    #[error("it is running already")]
    Running,
}

impl Agenda {
    /// An agenda without jobs. `local` is the zone of schedules that name none.
    pub fn new(local: Tz, now: DateTime<Utc>) -> Self {
        Self {
            local,
            entries: BTreeMap::new(),
            seen: now,
        }
    }

    /// Takes over the jobs of a configuration. What runs, is paused or is due of
    /// a job whose schedule did not change stays so. The first runs of intervals
    /// are spread by `jitter`, uniform in `0.0..1.0`.
    pub fn set<'a>(
        &mut self,
        jobs: impl IntoIterator<Item = (&'a str, Option<&'a Schedule>)>,
        now: DateTime<Utc>,
        mut jitter: impl FnMut() -> f64,
    ) {
        let mut before = std::mem::take(&mut self.entries);
        for (name, schedule) in jobs {
            let known = before.remove(name);
            let entry = match known {
                Some(entry) if entry.schedule.as_ref() == schedule && !entry.leaving => entry,
                known => Entry {
                    due: schedule.and_then(|schedule| self.first(schedule, now, jitter())),
                    schedule: schedule.cloned(),
                    running: known.as_ref().is_some_and(|known| known.running),
                    paused: known.is_some_and(|known| known.paused && !known.leaving),
                    leaving: false,
                },
            };
            self.entries.insert(name.to_owned(), entry);
        }
        // Should it come back, it must not run twice.
        for (name, entry) in before.into_iter().filter(|(_, entry)| entry.running) {
            let entry = Entry {
                schedule: None,
                due: None,
                leaving: true,
                ..entry
            };
            self.entries.insert(name, entry);
        }
    }

    /// When a job is due for the first time. An interval does not have to pass
    /// once more for that.
    fn first(&self, schedule: &Schedule, now: DateTime<Utc>, jitter: f64) -> Option<DateTime<Utc>> {
        match schedule.interval() {
            Some(interval) => {
                let spread = interval.min(SPREAD).mul_f64(jitter);
                now.checked_add_signed(TimeDelta::from_std(spread).ok()?)
            }
            None => schedule.next(now, self.local),
        }
    }

    /// The runs that are due at `now`, and since when, each job's once: what was
    /// missed while nobody asked does not add up.
    pub fn due(&mut self, now: DateTime<Utc>) -> Vec<(String, Call, DateTime<Utc>)> {
        let turned_back = now < self.seen - TimeDelta::seconds(SLIP);
        self.seen = now;
        let local = self.local;
        let mut calls = Vec::new();
        for (name, entry) in &mut self.entries {
            let (Some(schedule), Some(due)) = (&entry.schedule, entry.due) else {
                continue;
            };
            let next = || schedule.next(now, local);
            if due > now {
                // What is due in what is now a far future is due sooner.
                if turned_back {
                    entry.due = next().map_or(Some(due), |next| Some(next.min(due)));
                }
                continue;
            }
            entry.due = match schedule.interval() {
                Some(interval) => after(due, interval, now).or_else(next),
                None => next(),
            };
            let call = match (entry.paused, entry.running) {
                (true, _) => Call::Skip(Skip::Paused),
                (false, true) => Call::Skip(Skip::StillRunning),
                (false, false) => {
                    entry.running = true;
                    Call::Run
                }
            };
            calls.push((name.clone(), call, due));
        }
        calls
    }

    /// When somebody should ask next, if any job has a schedule.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        self.entries.values().filter_map(|entry| entry.due).min()
    }

    /// When a job is due, if it has a schedule.
    pub fn due_of(&self, job: &str) -> Option<DateTime<Utc>> {
        self.entries.get(job)?.due
    }

    /// The time between the next two runs of a job, if it has a schedule.
    pub fn interval_of(&self, job: &str) -> Option<Duration> {
        let entry = self.entries.get(job)?;
        let (schedule, due) = (entry.schedule.as_ref()?, entry.due?);
        (schedule.next(due, self.local)? - due).to_std().ok()
    }

    /// Begins a run that somebody asks for, paused or not.
    ///
    /// # Errors
    ///
    /// When it cannot begin.
    pub fn trigger(&mut self, job: &str) -> Result<(), TriggerError> {
        let entry = self.entries.get_mut(job).filter(|entry| !entry.leaving);
        let entry = entry.ok_or(TriggerError::Unknown)?;
        match std::mem::replace(&mut entry.running, true) {
            false => Ok(()),
            true => Err(TriggerError::Running),
        }
    }

    /// A job's run has ended.
    pub fn ended(&mut self, job: &str) {
        match self.entries.get_mut(job) {
            Some(entry) if entry.leaving => drop(self.entries.remove(job)),
            Some(entry) => entry.running = false,
            None => {}
        }
    }

    /// Pauses a job or goes on with it. Returns whether there is such a job.
    pub fn pause(&mut self, job: &str, paused: bool) -> bool {
        match self.entries.get_mut(job).filter(|entry| !entry.leaving) {
            Some(entry) => {
                entry.paused = paused;
                true
            }
            None => false,
        }
    }

    /// The jobs there are.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        let here = self.entries.iter().filter(|(_, entry)| !entry.leaving);
        here.map(|(name, _)| name.as_str())
    }

    /// Whether a job is paused.
    pub fn is_paused(&self, job: &str) -> bool {
        self.entries.get(job).is_some_and(|entry| entry.paused)
    }
}

/// The first time after `now` that is some whole intervals after `due`.
fn after(due: DateTime<Utc>, interval: Duration, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let step = i64::try_from(interval.as_millis())
        .ok()
        .filter(|step| *step > 0)?;
    let passed = (now - due).num_milliseconds() / step + 1;
    due.checked_add_signed(TimeDelta::milliseconds(step.checked_mul(passed)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-11-24T{text}Z").parse().unwrap()
    }

    fn agenda(jobs: &[(&str, &str)], now: DateTime<Utc>) -> Agenda {
        let mut agenda = Agenda::new(Tz::UTC, now);
        set(&mut agenda, jobs, now);
        agenda
    }

    fn set(agenda: &mut Agenda, jobs: &[(&str, &str)], now: DateTime<Utc>) {
        let schedules: Vec<_> = jobs
            .iter()
            .map(|(name, text)| (*name, Schedule::parse(text).ok()))
            .collect();
        let jobs = schedules.iter();
        agenda.set(
            jobs.map(|(name, schedule)| (*name, schedule.as_ref())),
            now,
            || 0.5,
        );
    }

    /// The calls at a time, as text.
    fn calls(agenda: &mut Agenda, now: DateTime<Utc>) -> Vec<String> {
        let calls = agenda.due(now).into_iter();
        let text = |(job, call, _)| match call {
            Call::Run => format!("{job} runs"),
            Call::Skip(Skip::StillRunning) => format!("{job} still runs"),
            Call::Skip(Skip::Paused) => format!("{job} is paused"),
        };
        calls.map(text).collect()
    }

    #[test]
    fn one_run_of_a_job_at_a_time_and_each_on_its_own_schedule() {
        let jobs = [
            ("cron", "0 * * * *"),
            ("often", "@every 10m"),
            ("never", "-"),
        ];
        let mut agenda = agenda(&jobs, at("10:30:00"));
        assert_eq!(agenda.next(), Some(at("10:30:30")), "spread over a minute");
        assert!(calls(&mut agenda, at("10:30:29")).is_empty());
        assert_eq!(calls(&mut agenda, at("10:30:30")), ["often runs"]);
        assert!(calls(&mut agenda, at("10:30:30")).is_empty());
        assert_eq!(calls(&mut agenda, at("10:40:30")), ["often still runs"]);
        agenda.ended("often");
        assert_eq!(calls(&mut agenda, at("10:50:30")), ["often runs"]);
        agenda.ended("often");
        let both = calls(&mut agenda, at("11:00:31"));
        assert_eq!(both, ["cron runs", "often runs"]);
        assert_eq!(agenda.due_of("cron"), Some(at("12:00:00")));
        assert_eq!(agenda.due_of("never"), None);
        assert_eq!(agenda.interval_of("cron"), Some(Duration::from_secs(3600)));
        assert_eq!(agenda.interval_of("often"), Some(Duration::from_secs(600)));
    }

    #[test]
    fn what_was_slept_through_runs_once() {
        let jobs = [("cron", "*/5 * * * *"), ("often", "@every 1m")];
        let mut agenda = agenda(&jobs, at("10:00:00"));
        assert_eq!(calls(&mut agenda, at("10:00:30")), ["often runs"]);
        agenda.ended("often");
        let woken = calls(&mut agenda, at("19:32:10"));
        assert_eq!(woken, ["cron runs", "often runs"]);
        // And then as before.
        assert_eq!(agenda.due_of("cron"), Some(at("19:35:00")));
        assert_eq!(agenda.due_of("often"), Some(at("19:32:30")));
    }

    #[test]
    fn a_clock_that_is_turned_back_delays_nothing_for_long() {
        let jobs = [("cron", "0 * * * *"), ("often", "@every 10m")];
        let mut agenda = agenda(&jobs, at("20:30:00"));
        assert!(calls(&mut agenda, at("08:15:00")).is_empty());
        assert_eq!(agenda.due_of("cron"), Some(at("09:00:00")));
        assert_eq!(agenda.due_of("often"), Some(at("08:25:00")));
    }

    #[test]
    fn a_paused_job_is_skipped_but_for_those_who_ask() {
        let mut agenda = agenda(&[("a", "0 * * * *")], at("10:30:00"));
        assert!(agenda.pause("a", true) && !agenda.pause("b", true));
        assert_eq!(calls(&mut agenda, at("11:00:00")), ["a is paused"]);
        assert_eq!(agenda.trigger("a"), Ok(()));
        assert_eq!(agenda.trigger("a"), Err(TriggerError::Running));
        assert_eq!(agenda.trigger("b"), Err(TriggerError::Unknown));
        agenda.ended("a");
        assert!(agenda.pause("a", false) && !agenda.is_paused("a"));
        assert_eq!(calls(&mut agenda, at("12:00:00")), ["a runs"]);
    }

    #[test]
    fn a_reload_leaves_alone_what_did_not_change() {
        let jobs = [
            ("same", "@every 10m"),
            ("other", "@every 10m"),
            ("gone", "@hourly"),
        ];
        let mut agenda = agenda(&jobs, at("10:00:00"));
        calls(&mut agenda, at("10:00:30"));
        agenda.pause("same", true);
        let jobs = [
            ("same", "@every 10m"),
            ("other", "@every 20m"),
            ("new", "@hourly"),
        ];
        set(&mut agenda, &jobs, at("10:05:00"));
        assert_eq!(agenda.due_of("same"), Some(at("10:10:30")));
        assert!(agenda.is_paused("same"));
        assert_eq!(agenda.due_of("other"), Some(at("10:05:30")));
        // Its run goes on.
        assert_eq!(calls(&mut agenda, at("10:05:30")), ["other still runs"]);
        assert_eq!(agenda.due_of("gone"), None);
        assert_eq!(agenda.trigger("gone"), Err(TriggerError::Unknown));
        assert_eq!(agenda.due_of("new"), Some(at("11:00:00")));
    }

    #[test]
    fn a_job_that_went_and_came_back_while_it_ran_runs_once() {
        let mut agenda = agenda(&[("a", "@every 10m")], at("10:00:00"));
        assert_eq!(calls(&mut agenda, at("10:00:30")), ["a runs"]);
        set(&mut agenda, &[], at("10:01:00"));
        assert_eq!(agenda.trigger("a"), Err(TriggerError::Unknown));
        assert!(!agenda.pause("a", true));
        assert_eq!(agenda.next(), None);
        set(&mut agenda, &[("a", "@every 10m")], at("10:02:00"));
        assert_eq!(calls(&mut agenda, at("10:02:30")), ["a still runs"]);
        agenda.ended("a");
        assert_eq!(calls(&mut agenda, at("10:12:30")), ["a runs"]);
        set(&mut agenda, &[], at("10:13:00"));
        agenda.ended("a");
        assert!(agenda.entries.is_empty());
    }

    proptest! {
        /// However the clock goes, whatever is due is due later than now when it
        /// was asked for, a job never runs twice at once, and none is lost.
        #[test]
        fn nothing_is_lost_and_nothing_runs_twice(
            steps in prop::collection::vec((-7200i64..90_000, any::<bool>()), 1..60),
        ) {
            let jobs = [("cron", "*/7 3-9 * * *"), ("often", "@every 90s")];
            let mut now = at("10:00:00");
            let mut agenda = agenda(&jobs, now);
            let mut running = std::collections::BTreeSet::new();
            for (seconds, end) in steps {
                now += TimeDelta::seconds(seconds);
                for (job, call, _) in agenda.due(now) {
                    match call {
                        Call::Run => prop_assert!(running.insert(job)),
                        Call::Skip(_) => prop_assert!(running.contains(&job)),
                    }
                }
                for (job, longest) in [("cron", 25 * 3600), ("often", 90)] {
                    let due = agenda.due_of(job).expect("it has a schedule");
                    prop_assert!(due > now, "{job}: {due} at {now}");
                    let wait = (due - now).num_seconds();
                    prop_assert!(wait <= longest, "{job}: {wait} s");
                }
                if end {
                    running.iter().for_each(|job| agenda.ended(job));
                    running.clear();
                }
            }
        }
    }
}
