//! A run as lines of JSON, while it happens.

use std::sync::Mutex;

use super::output;
use super::stop::{Cause, Stop};
use crate::report::{Job, Line, Tag};
use crate::sync::{Event, Watch};

/// Prints each event as a line. Keeps none.
#[derive(Debug)]
pub(super) struct JsonLines {
    /// Told when nobody reads the lines any more.
    stop: Stop,
    /// One line at a time, and none after one that failed.
    open: Mutex<bool>,
}

impl JsonLines {
    pub(super) fn new(stop: Stop) -> Self {
        Self {
            stop,
            open: Mutex::new(true),
        }
    }

    /// Prints one line. Whoever runs on this thread waits elsewhere until the
    /// reader takes it.
    pub(super) fn print(&self, line: &Line) {
        tokio::task::block_in_place(|| {
            let mut open = self.open.lock().expect("nothing panics while it prints");
            *open = *open && output::try_print(&line.line());
            if !*open {
                self.stop.because(Cause::Output);
            }
        });
    }
}

impl Watch for JsonLines {
    fn see(&self, event: Event<'_>) {
        match event {
            Event::Tag { job, tag, .. } => self.print(&Line::Tag(Tag::of(job, tag))),
            Event::Ended { report } => {
                let mut job = Job::from(report);
                job.tags.clear();
                self.print(&Line::Job(job));
            }
            _ => {}
        }
    }
}
