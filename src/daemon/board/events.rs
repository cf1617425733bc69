//! What runs tell of themselves while they go on.

use chrono::TimeDelta;

use super::{Board, is_layout, stamp};
use crate::report::Transfer;
use crate::sync::{Delivery, Event, Outcome, RunId, Watch};

impl Watch for Board {
    fn see(&self, event: Event<'_>) {
        match event {
            // The supervisor knows both first.
            Event::Started { .. } | Event::Ended { .. } => {}
            Event::Listed { job, run, count } => {
                self.progress(job, run, |run| run.tags_known += count);
            }
            Event::Tag { job, run, tag } => self.tag(job, run, &tag.outcome),
            Event::Held { job, store, wait } => self.held(job, store, wait),
            Event::Released { job, store, waited } => self.released(job, store, waited),
            Event::Placed(waited) => {
                let histogram = &self.metrics.pool.waited;
                histogram.observe(waited.as_secs_f64());
            }
            Event::Backup { job, kept } => {
                if let Some(series) = self.metrics.jobs.of(job) {
                    let result = if kept { "success" } else { "failure" };
                    series.backups.get(result).inc();
                }
            }
            Event::Blob { store, delivery } => {
                if !is_layout(store) {
                    let result = match delivery {
                        Some(Delivery::Copied) => "copied",
                        Some(Delivery::Mounted) => "mounted",
                        Some(Delivery::Present | Delivery::Shared) => "present",
                        None => "failed",
                    };
                    self.metrics.registries.of(store).blobs.get(result).inc();
                }
            }
            Event::Sending {
                transfer,
                blob,
                target,
            } => {
                let begun = Transfer {
                    transfer,
                    digest: blob.digest.to_string(),
                    target: target.to_owned(),
                    bytes: 0,
                    size: blob.size,
                    started: stamp(self.clock.now()),
                };
                self.change(|state| state.transfers.insert(transfer, begun));
            }
            // Whoever shows transfers looks at them each second anyway.
            Event::Sent { transfer, bytes } => {
                if let Some(transfer) = self.lock().transfers.get_mut(&transfer) {
                    transfer.bytes += bytes;
                }
            }
            Event::Over { transfer } => {
                self.change(|state| state.transfers.remove(&transfer));
            }
        }
    }
}

impl Board {
    fn tag(&self, job: &str, run: &RunId, outcome: &Outcome) {
        let (result, copied, failed) = match outcome {
            Outcome::Copied { .. } => (Some("copied"), 1, 0),
            Outcome::Unchanged { .. } => (Some("unchanged"), 0, 0),
            Outcome::Excluded(_) => (Some("skipped"), 0, 0),
            Outcome::Failed { .. } => (Some("failed"), 0, 1),
            Outcome::Pending { .. } => (None, 0, 0),
        };
        self.progress(job, run, |progress| {
            progress.tags_done += 1;
            // A listing that failed is told of as a tag.
            progress.tags_known = progress.tags_known.max(progress.tags_done);
            progress.copied += copied;
            progress.failed += failed;
        });
        if let (Some(series), Some(result)) = (self.metrics.jobs.of(job), result) {
            series.processed.get(result).inc();
        }
    }

    fn progress(&self, job: &str, run: &RunId, change: impl FnOnce(&mut crate::report::Progress)) {
        self.change_job(job, |entry| {
            let mut runs = entry.runs.iter_mut();
            let run = runs.find(|under| under.progress.run_id == run.as_str());
            if let Some(run) = run {
                change(&mut run.progress);
            }
        });
    }

    fn held(&self, job: &str, store: &str, wait: std::time::Duration) {
        let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        let now = self.clock.now();
        let until = now.checked_add_signed(wait).unwrap_or(now);
        let place = (store.to_owned(), job.to_owned());
        self.change_job(job, |_| {});
        self.change(|state| {
            let held = state.holds.entry(place).or_insert((0, until));
            *held = (held.0 + 1, until);
        });
    }

    fn released(&self, job: &str, store: &str, waited: std::time::Duration) {
        let place = (store.to_owned(), job.to_owned());
        self.change_job(job, |_| {});
        self.change(|state| {
            if let Some((images, _)) = state.holds.get_mut(&place) {
                *images = images.saturating_sub(1);
                if *images == 0 {
                    state.holds.remove(&place);
                }
            }
        });
        if !is_layout(store) {
            let series = self.metrics.registries.of(store);
            series
                .throttled
                .get("rate_limit")
                .inc_by(waited.as_secs_f64());
        }
    }
}
