//! Metrics, as Prometheus reads them.
//!
//! One struct for each subject; who has news of it sets it there. Names, labels,
//! help and units are a contract with dashboards and alerts: what is here may be
//! added to, and not renamed. No label holds a tag, a digest, a repository or a
//! run's name: jobs and registries come from the configuration, and when one is
//! gone from it, so are its series.

mod cell;
mod family;
mod jobs;
mod pool;
mod process;
mod registries;

use prometheus::{Registry, TextEncoder};

pub use cell::{Count, Number};
pub use family::Each;
use family::Families;
pub use jobs::{JobMetrics, JobSeries};
pub use pool::PoolMetrics;
pub use process::{BuildInfo, ConfigMetrics, ProcessMetrics};
pub use registries::{Quota, RegistryMetrics, RegistrySeries};

/// All metrics of a daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Of the configuration.
    pub config: ConfigMetrics,
    /// Of jobs.
    pub jobs: JobMetrics,
    /// Of registries.
    pub registries: RegistryMetrics,
    /// Of the pool and the scheduler.
    pub pool: PoolMetrics,
    /// Of the process.
    pub process: ProcessMetrics,
}

impl Metrics {
    /// The metrics of a program that was built like this.
    pub fn new(build: &BuildInfo) -> Self {
        let registry = Registry::new();
        let families = Families(&registry);
        let metrics = Self {
            config: ConfigMetrics::new(&families),
            jobs: JobMetrics::new(&families),
            registries: RegistryMetrics::new(&families),
            pool: PoolMetrics::new(&families),
            process: ProcessMetrics::new(&families, build),
            registry,
        };
        family::register(
            &metrics.registry,
            prometheus::process_collector::ProcessCollector::for_self(),
        );
        metrics
    }

    /// All of them in Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> String {
        self.process.take_over_log();
        let families = self.registry.gather();
        let text = TextEncoder::new().encode_to_string(&families);
        let mut text = text.expect("every family has a sample");
        self.jobs.write(&mut text);
        text
    }
}

/// The type of [`Metrics::text`], for `Content-Type`.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of [`open_metrics`], for `Content-Type`.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The same in the OpenMetrics format, in which the family of a counter is called
/// without `_total`, and which has an end.
pub fn open_metrics(text: &str) -> String {
    let mut converted = String::with_capacity(text.len() + 8);
    for line in text.lines() {
        let family = line
            .strip_prefix("# HELP ")
            .or_else(|| line.strip_prefix("# TYPE "))
            .and_then(|rest| rest.split_once(' '));
        match family.and_then(|(name, rest)| Some((name.strip_suffix("_total")?, rest))) {
            Some((name, rest)) => {
                converted.push_str(&line[.."# HELP ".len()]);
                converted.push_str(name);
                converted.push(' ');
                converted.push_str(rest);
            }
            None => converted.push_str(line),
        }
        converted.push('\n');
    }
    converted.push_str("# EOF\n");
    converted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_differs_in_the_families_of_counters_and_the_end() {
        let text = "# HELP a_total Of _total.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\
                    # HELP d D.\n# TYPE d gauge\nd 2\n";
        let wanted = "# HELP a Of _total.\n# TYPE a counter\na_total{b=\"c\"} 1\n\
                      # HELP d D.\n# TYPE d gauge\nd 2\n# EOF\n";
        assert_eq!(open_metrics(text), wanted);
    }

    #[test]
    fn series_of_what_is_gone_are_gone() {
        let metrics = Metrics::new(&BuildInfo {
            version: "1",
            revision: "2",
            rustc_version: "3",
        });
        metrics.jobs.keep(["a", "b"]);
        metrics.registries.keep(["x", "y"]);
        let b = metrics.jobs.of("b").unwrap();
        metrics
            .registries
            .answered("y", "ping", "GET", Some(200), 0.1);
        let text = metrics.text();
        assert!(text.contains("sync_job=\"b\"") && text.contains("registry=\"y\""));
        metrics.jobs.keep(["a"]);
        metrics.registries.keep(["x"]);
        // Whoever still has it does not bring it back.
        b.running.set(1.0);
        let text = metrics.text();
        assert!(metrics.jobs.of("b").is_none());
        assert!(!text.contains("sync_job=\"b\""), "{text}");
        assert!(!text.contains("registry=\"y\""), "{text}");
        assert!(text.contains("sync_job=\"a\"") && text.contains("registry=\"x\""));
        metrics
            .registries
            .answered("y", "ping", "GET", Some(200), 0.1);
        let other = "registry_requests_total{code=\"200\",method=\"GET\",operation=\"ping\",\
                     registry=\"other\"} 1";
        assert!(metrics.text().contains(other), "{}", metrics.text());
    }
}
