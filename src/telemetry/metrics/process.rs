//! Metrics of the process: what it was built from and configured with, whom it
//! answers, what it logs.

use prometheus::{Gauge, IntCounter, IntCounterVec};

use super::family::{Counters, Each, Families};
use crate::telemetry::logged;

const RELOADS: [&str; 2] = ["success", "failure"];

/// What the program was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version.
    pub version: &'static str,
    /// The commit.
    pub revision: &'static str,
    /// The compiler.
    pub rustc_version: &'static str,
}

/// The series of the configuration.
#[derive(Debug)]
pub struct ConfigMetrics {
    /// Whether the last attempt to load it succeeded.
    pub last_reload_successful: Gauge,
    /// When one last did, as Unix time in seconds.
    pub last_reload_success: Gauge,
    /// Attempts by `success` and `failure`.
    pub reloads: Counters<2>,
    /// The first 48 bits of its hash.
    pub hash: Gauge,
    /// How many jobs it has.
    pub jobs: Gauge,
}

impl ConfigMetrics {
    pub(super) fn new(families: &Families<'_>) -> Self {
        let reloads = families.counters(
            "regmirror_config_reloads_total",
            &["result"],
            "Configuration load attempts by result.",
        );
        Self {
            last_reload_successful: families.gauge(
                "regmirror_config_last_reload_successful",
                "Whether the last configuration load attempt succeeded (1) or failed (0).",
            ),
            last_reload_success: families.gauge(
                "regmirror_config_last_reload_success_timestamp_seconds",
                "Unix time of the last successful configuration load.",
            ),
            reloads: Each::of(RELOADS, |value| reloads.with_label_values(&[value])),
            hash: families.gauge(
                "regmirror_config_hash",
                "First 48 bits of the SHA-256 of the active configuration, to compare replicas.",
            ),
            jobs: families.gauge(
                "regmirror_config_sync_jobs",
                "Sync jobs in the active configuration that this instance owns.",
            ),
        }
    }
}

/// The series of the process itself.
#[derive(Debug)]
pub struct ProcessMetrics {
    requests: IntCounterVec,
    messages: [(&'static str, IntCounter); 5],
}

impl ProcessMetrics {
    pub(super) fn new(families: &Families<'_>, build: &BuildInfo) -> Self {
        let info = families.gauges(
            "regmirror_build_info",
            &["version", "revision", "rustc_version"],
            "Constant 1, labelled with the version, revision and compiler the binary was built \
             from.",
        );
        info.with_label_values(&[build.version, build.revision, build.rustc_version])
            .set(1.0);
        let messages = families.counters(
            "regmirror_log_messages_total",
            &["level"],
            "Log events emitted by level.",
        );
        let of = |level| (level, messages.with_label_values(&[level]));
        Self {
            requests: families.counters(
                "regmirror_http_requests_total",
                &["path", "code"],
                "Requests to the daemon's own endpoints; path is the route pattern.",
            ),
            messages: ["error", "warn", "info", "debug", "trace"].map(of),
        }
    }

    /// Counts a request to an endpoint of ours.
    pub fn requested(&self, path: &str, status: u16) {
        self.requests
            .with_label_values(&[path, &status.to_string()])
            .inc();
    }

    /// Shows the counts of what was logged by now.
    pub(super) fn take_over_log(&self) {
        for (level, count) in logged() {
            let known = self.messages.iter().find(|(known, _)| *known == level);
            if let Some((_, counter)) = known {
                counter.inc_by(count.saturating_sub(counter.get()));
            }
        }
    }
}
