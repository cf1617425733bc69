//! Metrics of the pool and the scheduler.

use prometheus::{Gauge, Histogram};

use super::family::Families;

/// From no wait to a first copy of everything before one, in seconds.
const WAITS: [f64; 9] = [0.01, 0.1, 1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0];

/// The series.
#[derive(Debug)]
pub struct PoolMetrics {
    /// The size of the pool.
    pub workers: Gauge,
    /// How much of it is in use.
    pub busy: Gauge,
    /// How many images wait for a place.
    pub queued: Gauge,
    /// How long they waited, in seconds.
    pub waited: Histogram,
    /// When the scheduler looked at the clock, as Unix time in seconds.
    pub last_tick: Gauge,
}

impl PoolMetrics {
    pub(super) fn new(families: &Families<'_>) -> Self {
        Self {
            workers: families.gauge("regmirror_workers", "Configured size of the worker pool."),
            busy: families.gauge("regmirror_workers_busy", "Workers executing a task."),
            queued: families.gauge("regmirror_queue_tasks", "Tasks waiting for a worker."),
            waited: families.histogram(
                "regmirror_queue_wait_duration_seconds",
                &WAITS,
                "Time tasks waited for a worker.",
            ),
            last_tick: families.gauge(
                "regmirror_scheduler_last_tick_timestamp_seconds",
                "Unix time of the last scheduler loop iteration.",
            ),
        }
    }
}
