//! When a job is due: intervals, and cron's expressions as robfig/cron v3 reads
//! them, which regsync uses.

pub(crate) mod duration;
mod expression;
mod zone;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use expression::Expression;
pub use zone::local_zone;

/// When a job is due.
///
/// Times of the day are those of the local zone, or of the zone that is named.
/// A time that a change of the clock leaves out is not made up for; one that it
/// has twice comes twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    when: When,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum When {
    Every(Duration),
    Cron {
        zone: Option<Tz>,
        expression: Box<Expression>,
    },
}

/// Text that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no schedule: {reason}")]
pub struct ScheduleError {
    text: String,
    reason: String,
}

impl Schedule {
    /// Reads a schedule: five fields of cron, a word such as `@daily`, or
    /// `@every DURATION`; before it perhaps `CRON_TZ=Zone `.
    ///
    /// # Errors
    ///
    /// What is wrong with it. One that is never due is wrong.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        when(text.trim())
            .map(|when| Self {
                text: text.trim().to_owned(),
                when,
            })
            .map_err(|reason| ScheduleError {
                text: text.chars().take(120).collect(),
                reason,
            })
    }

    /// Due every so often: `interval`.
    ///
    /// # Errors
    ///
    /// When it is less than a second.
    pub fn every(interval: Duration) -> Result<Self, ScheduleError> {
        let text = format!("@every {}s", interval.as_secs_f64());
        match every(interval) {
            Ok(when) => Ok(Self { text, when }),
            Err(reason) => Err(ScheduleError { text, reason }),
        }
    }

    /// How long it is between two runs, where that is what it says.
    pub fn interval(&self) -> Option<Duration> {
        match self.when {
            When::Every(interval) => Some(interval),
            When::Cron { .. } => None,
        }
    }

    /// The first time after `after` at which it is due. `local` is the zone of
    /// those that name none.
    pub fn next(&self, after: DateTime<Utc>, local: Tz) -> Option<DateTime<Utc>> {
        match &self.when {
            When::Every(interval) => {
                let interval = TimeDelta::from_std(*interval).ok()?;
                after.checked_add_signed(interval)
            }
            When::Cron { zone, expression } => expression.next(after, zone.unwrap_or(local)),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn every(interval: Duration) -> Result<When, String> {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    match (Duration::from_secs(1)..=YEAR).contains(&interval) {
        true => Ok(When::Every(interval)),
        false => Err("an interval is from a second to a year".to_owned()),
    }
}

fn when(text: &str) -> Result<When, String> {
    let zoned = text
        .strip_prefix("CRON_TZ=")
        .or_else(|| text.strip_prefix("TZ="));
    let (zone, rest) = match zoned {
        None => (None, text),
        Some(zoned) => {
            let (name, rest) = zoned
                .split_once(' ')
                .ok_or("a zone stands before a schedule: CRON_TZ=Europe/Berlin 0 3 * * *")?;
            (Some(zone::named(name)?), rest.trim())
        }
    };
    let lower = rest.to_ascii_lowercase();
    let fields = match lower.as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        word if word.starts_with('@') => {
            let interval = word.strip_prefix("@every ").ok_or(
                "the words are @yearly, @monthly, @weekly, @daily, @hourly and @every DURATION",
            )?;
            let interval = duration::parse(interval.trim()).map_err(|error| error.to_string())?;
            return every(interval);
        }
        _ => rest,
    };
    let expression = Box::new(Expression::parse(fields)?);
    Ok(When::Cron { zone, expression })
}

#[cfg(test)]
mod tests;
