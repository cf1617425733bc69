//! Metrics of registries.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{CounterVec, Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec};

use super::family::{Counters, Each, Families, Sums, keep};

/// What registries are called that the configuration does not name.
const OTHER: &str = "other";

const BLOBS: [&str; 4] = ["copied", "mounted", "present", "failed"];
const DIRECTIONS: [&str; 2] = ["download", "upload"];
const RETRIES: [&str; 5] = ["rate_limited", "server", "timeout", "connection", "auth"];
const BRAKES: [&str; 3] = ["rate_limit", "concurrency", "bandwidth"];

/// From an answer of the same rack to a storage that assembles a large blob, in
/// seconds.
const LATENCIES: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The families, and the series of the registries of the configuration.
#[derive(Debug)]
pub struct RegistryMetrics {
    blobs: IntCounterVec,
    bytes: IntCounterVec,
    requests: IntCounterVec,
    latency: HistogramVec,
    in_flight: GaugeVec,
    retries: IntCounterVec,
    auth_failures: IntCounterVec,
    throttled: CounterVec,
    limit: GaugeVec,
    remaining: GaugeVec,
    window: GaugeVec,
    reset: GaugeVec,
    observed: GaugeVec,
    paused: GaugeVec,
    series: RwLock<HashMap<String, Arc<RegistrySeries>>>,
}

/// The series of one registry of which all labels are known.
#[derive(Debug)]
pub struct RegistrySeries {
    /// Blobs by `copied`, `mounted`, `present` and `failed`.
    pub blobs: Counters<4>,
    /// Bytes of blobs by `download` and `upload`.
    pub bytes: Counters<2>,
    /// Requests in flight.
    pub in_flight: Gauge,
    /// Retries by `rate_limited`, `server`, `timeout`, `connection` and `auth`.
    pub retries: Counters<5>,
    /// Credentials that were refused.
    pub auth_failures: IntCounter,
    /// Seconds of waiting by `rate_limit`, `concurrency` and `bandwidth`.
    pub throttled: Sums<3>,
    /// Whether copies from it are held back by its rate limit.
    pub paused: Gauge,
}

/// What a registry said of its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// So many pulls per window, if it said.
    pub limit: Option<u64>,
    /// So many are left.
    pub remaining: u64,
    /// How long the window is, if it said.
    pub window: Option<Duration>,
    /// When there are more, as Unix time in seconds, if it said.
    pub reset: Option<f64>,
    /// When it said so, as Unix time in seconds.
    pub observed: f64,
}

impl RegistryMetrics {
    pub(super) fn new(families: &Families<'_>) -> Self {
        const REGISTRY: &[&str] = &["registry"];
        let metrics = Self {
            blobs: families.counters(
                "regmirror_blobs_total",
                &["registry", "result"],
                "Blobs handled at the target registry by result: copied, mounted, present or \
                 failed.",
            ),
            bytes: families.counters(
                "regmirror_transfer_bytes_total",
                &["registry", "direction"],
                "Blob bytes transferred, by direction: download or upload.",
            ),
            requests: families.counters(
                "regmirror_registry_requests_total",
                &["registry", "operation", "method", "code"],
                "HTTP responses from registries; code is the status, or error when no response \
                 arrived.",
            ),
            latency: families.histograms(
                "regmirror_registry_request_duration_seconds",
                &["registry", "operation"],
                &LATENCIES,
                "Time to response headers of registry requests.",
            ),
            in_flight: families.gauges(
                "regmirror_registry_requests_in_flight",
                REGISTRY,
                "Registry requests in flight.",
            ),
            retries: families.counters(
                "regmirror_registry_retries_total",
                &["registry", "reason"],
                "Retried requests by reason: rate_limited, server, timeout, connection or auth.",
            ),
            auth_failures: families.counters(
                "regmirror_registry_auth_failures_total",
                REGISTRY,
                "Responses 401 or 403 to a request that carried a fresh credential; challenges \
                 are not counted.",
            ),
            throttled: families.sums(
                "regmirror_registry_throttled_seconds_total",
                &["registry", "reason"],
                "Time spent waiting before requests by reason: rate_limit, concurrency or \
                 bandwidth.",
            ),
            limit: families.gauges(
                "regmirror_registry_rate_limit",
                REGISTRY,
                "Pulls allowed per window as last reported by the registry.",
            ),
            remaining: families.gauges(
                "regmirror_registry_rate_limit_remaining",
                REGISTRY,
                "Pulls remaining in the window as last reported by the registry.",
            ),
            window: families.gauges(
                "regmirror_registry_rate_limit_window_seconds",
                REGISTRY,
                "Length of the rate limit window as last reported by the registry.",
            ),
            reset: families.gauges(
                "regmirror_registry_rate_limit_reset_timestamp_seconds",
                REGISTRY,
                "Unix time the limit resets if reported, else the estimate used for throttling.",
            ),
            observed: families.gauges(
                "regmirror_registry_rate_limit_observed_timestamp_seconds",
                REGISTRY,
                "Unix time the rate limit headers were last seen.",
            ),
            paused: families.gauges(
                "regmirror_registry_paused",
                REGISTRY,
                "Whether copies from the registry are held back by its rate limit (1) or not (0).",
            ),
            series: RwLock::default(),
        };
        metrics.keep([]);
        metrics
    }

    /// Gives each of these registries its series, and takes those of all others
    /// away.
    pub fn keep<'a>(&self, registries: impl IntoIterator<Item = &'a str>) {
        let mut names: HashSet<&str> = registries.into_iter().collect();
        names.insert(OTHER);
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        for name in &names {
            if !series.contains_key(*name) {
                series.insert((*name).to_owned(), Arc::new(self.new_series(name)));
            }
        }
        if series.len() == names.len() {
            return;
        }
        series.retain(|name, _| names.contains(name.as_str()));
        let stays = |name: &str| names.contains(name);
        for family in [
            &self.blobs,
            &self.bytes,
            &self.requests,
            &self.retries,
            &self.auth_failures,
        ] {
            keep(family, "registry", stays);
        }
        for family in [
            &self.in_flight,
            &self.limit,
            &self.remaining,
            &self.window,
            &self.reset,
            &self.observed,
            &self.paused,
        ] {
            keep(family, "registry", stays);
        }
        keep(&self.latency, "registry", stays);
        keep(&self.throttled, "registry", stays);
    }

    /// The series of a registry, or those of all that the configuration does not
    /// name.
    pub fn of(&self, registry: &str) -> Arc<RegistrySeries> {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let found = series.get(registry).or_else(|| series.get(OTHER));
        Arc::clone(found.expect("there is always a place for others"))
    }

    /// Counts an answer, or that there was none, after so many seconds.
    pub fn answered(
        &self,
        registry: &str,
        operation: &str,
        method: &str,
        status: Option<u16>,
        seconds: f64,
    ) {
        // Held, so that nothing comes back that is being taken away.
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let registry = match series.contains_key(registry) {
            true => registry,
            false => OTHER,
        };
        let code = status.map_or_else(|| "error".to_owned(), |status| status.to_string());
        self.requests
            .with_label_values(&[registry, operation, method, &code])
            .inc();
        self.latency
            .with_label_values(&[registry, operation])
            .observe(seconds);
    }

    /// Shows what a registry said of its limit.
    pub fn limited(&self, registry: &str, quota: &Quota) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        // Of several others no number would be true.
        if !series.contains_key(registry) {
            return;
        }
        let set = |family: &GaugeVec, value: f64| {
            family.with_label_values(&[registry]).set(value);
        };
        #[expect(clippy::cast_precision_loss, reason = "pulls are few")]
        let count = |count: u64| count as f64;
        set(&self.remaining, count(quota.remaining));
        set(&self.observed, quota.observed);
        if let Some(limit) = quota.limit {
            set(&self.limit, count(limit));
        }
        if let Some(window) = quota.window {
            set(&self.window, window.as_secs_f64());
        }
        if let Some(reset) = quota.reset {
            set(&self.reset, reset);
        }
    }

    fn new_series(&self, registry: &str) -> RegistrySeries {
        let each =
            |family: &IntCounterVec, value: &str| family.with_label_values(&[registry, value]);
        RegistrySeries {
            blobs: Each::of(BLOBS, |value| each(&self.blobs, value)),
            bytes: Each::of(DIRECTIONS, |value| each(&self.bytes, value)),
            in_flight: self.in_flight.with_label_values(&[registry]),
            retries: Each::of(RETRIES, |value| each(&self.retries, value)),
            auth_failures: self.auth_failures.with_label_values(&[registry]),
            throttled: Each::of(BRAKES, |value| {
                self.throttled.with_label_values(&[registry, value])
            }),
            paused: self.paused.with_label_values(&[registry]),
        }
    }
}
