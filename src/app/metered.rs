//! Requests to registries, as metrics count them.

use std::sync::Arc;

use crate::daemon::Known;
use crate::http::{Brake, Meter, Setback, Traffic};
use crate::registry::{Registry, operation};
use crate::store::Source as _;
use crate::telemetry::metrics::{Metrics, Quota};
use tokio::time::Instant;

/// Makes the meters of registries; without metrics, those that count nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Meters(pub(super) Option<Arc<Metrics>>);

impl Meters {
    pub(super) fn of(&self, registry: &str) -> Arc<dyn Meter> {
        match &self.0 {
            Some(metrics) => Arc::new(Metered {
                metrics: Arc::clone(metrics),
                registry: registry.to_owned(),
            }),
            None => Arc::new(()),
        }
    }
}

#[derive(Debug)]
struct Metered {
    metrics: Arc<Metrics>,
    registry: String,
}

impl Meter for Metered {
    fn note(&self, traffic: Traffic<'_>) {
        let all = &self.metrics.registries;
        let series = all.of(&self.registry);
        let count = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        match traffic {
            Traffic::Began => series.in_flight.inc(),
            Traffic::Over => series.in_flight.dec(),
            Traffic::Answered {
                operation,
                method,
                status,
                took,
            } => {
                let status = status.map(|status| status.as_u16());
                let seconds = took.as_secs_f64();
                all.answered(&self.registry, operation, method.as_str(), status, seconds);
            }
            Traffic::Retried(setback) => {
                let reason = match setback {
                    Setback::RateLimited => "rate_limited",
                    Setback::Server => "server",
                    Setback::Timeout => "timeout",
                    Setback::Connection => "connection",
                    Setback::Auth => "auth",
                };
                series.retries.get(reason).inc();
            }
            Traffic::Refused => series.auth_failures.inc(),
            Traffic::Waited(brake, time) => {
                let reason = match brake {
                    Brake::RateLimit => "rate_limit",
                    Brake::Concurrency => "concurrency",
                };
                series.throttled.get(reason).inc_by(time.as_secs_f64());
            }
            Traffic::Sent(operation::UPLOAD, bytes) => {
                series.bytes.get("upload").inc_by(count(bytes));
            }
            Traffic::Received(operation::BLOB, bytes) => {
                series.bytes.get("download").inc_by(count(bytes));
            }
            Traffic::Sent(..) | Traffic::Received(..) => {}
        }
    }
}

/// What is known of a registry.
pub(super) fn known(registry: &Registry) -> Known {
    let now = Instant::now();
    let quiet = registry.allowance().quiet_until;
    let quota = registry.quota().map(|told| {
        let wall = chrono::Utc::now().timestamp_micros();
        #[expect(clippy::cast_precision_loss, reason = "for some 285 years")]
        let wall = wall as f64 / 1e6;
        Quota {
            limit: told.limit,
            remaining: told.remaining,
            window: told.window,
            reset: told
                .renewed
                .map(|renewed| wall + renewed.saturating_duration_since(now).as_secs_f64()),
            observed: wall - told.observed.elapsed().as_secs_f64(),
        }
    });
    Known {
        registry: registry.name().to_owned(),
        quiet: quiet.map(|until| until.saturating_duration_since(now)),
        quota,
    }
}
