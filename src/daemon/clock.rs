//! The time of the day, which tests move.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Tells what time it is, and waits.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time of the day, which may be set back or forward at any time.
    fn now(&self) -> DateTime<Utc>;

    /// Waits so long, by a clock that nobody sets. It may wake up early.
    async fn wait(&self, time: Duration);
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
