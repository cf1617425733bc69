//! The five fields of cron, by robfig's rules, on the cron crate.
//!
//! That crate has seconds, counts weekdays from 1, wants day and weekday both to
//! fit, and loses hours when the clock is set back. So the fields are read here
//! and given to it as plain lists of numbers, and it runs on wall-clock time,
//! which is mapped to the zone here.

use std::str::FromStr;

use chrono::{DateTime, Duration, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use cron::Schedule as Cron;

/// How far ahead a date is looked for: the 29th of February may be 8 years off,
/// robfig gives up after 5.
const YEARS: i64 = 9;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When all fields fit. If both the day and the weekday are limited, one of them
/// is enough; then there are two schedules.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    text: String,
    schedules: Vec<Cron>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

/// What a field allows, a bit for each number.
#[derive(Debug, Clone, Copy)]
struct Field {
    bits: u64,
    /// Whether it says `*` or `?`, and so limits nothing.
    star: bool,
}

/// What a field is called, its first and last number, and names for them.
struct Rules {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const RULES: [Rules; 5] = [
    Rules {
        name: "minute",
        first: 0,
        last: 59,
        names: &[],
    },
    Rules {
        name: "hour",
        first: 0,
        last: 23,
        names: &[],
    },
    Rules {
        name: "day",
        first: 1,
        last: 31,
        names: &[],
    },
    Rules {
        name: "month",
        first: 1,
        last: 12,
        names: &MONTHS,
    },
    Rules {
        name: "weekday",
        first: 0,
        last: 7,
        names: &WEEKDAYS,
    },
];

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = match <[&str; 5]>::try_from(words) {
            Ok(words) => words,
            Err(words) if words.len() == 6 => {
                return Err("6 fields: there are no seconds, leave the first field out".to_owned());
            }
            Err(words) => {
                let message = "expected minute, hour, day, month and weekday";
                return Err(format!("{} fields: {message}", words.len()));
            }
        };
        let [minutes, hours, days, months, weekdays] = &RULES;
        let (minute, hour) = (minutes.field(minute)?, hours.field(hour)?);
        let (day, month) = (days.field(day)?, months.field(month)?);
        let weekday = weekdays.field(weekday)?.with_sunday_once();
        let schedule = |day: Field, weekday: Field| {
            let parts = [
                "0".to_owned(),
                minutes.listed(minute, 0),
                hours.listed(hour, 0),
                days.listed(day, 0),
                months.listed(month, 0),
                // The crate counts from Sunday as 1.
                weekdays.listed(weekday, 1),
            ];
            Cron::from_str(&parts.join(" ")).map_err(|error| format!("cannot be used: {error}"))
        };
        let any = Field {
            bits: u64::MAX,
            star: true,
        };
        let schedules = match day.star || weekday.star {
            true => vec![schedule(day, weekday)?],
            false => vec![schedule(day, any)?, schedule(any, weekday)?],
        };
        let expression = Self {
            text: text.to_owned(),
            schedules,
        };
        match expression.next(DateTime::UNIX_EPOCH, Tz::UTC) {
            Some(_) => Ok(expression),
            None => Err("it is never due: no such day exists".to_owned()),
        }
    }

    /// The first instant after `after` that the clock in `zone` shows such a time
    /// at.
    pub(super) fn next(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let firsts = self
            .schedules
            .iter()
            .filter_map(|cron| next(cron, after, zone));
        firsts.min()
    }
}

/// Clocks are set back by at most this. Within it, later times of the clock may
/// be earlier instants.
const SHIFT: Duration = Duration::hours(3);

fn next(cron: &Cron, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let wall = after.with_timezone(&zone).naive_local();
    let begin = wall.checked_sub_signed(SHIFT)?.and_utc();
    let end = wall.checked_add_signed(Duration::days(366 * YEARS))?;
    let mut best: Option<(NaiveDateTime, DateTime<Utc>)> = None;
    for candidate in cron.after(&begin) {
        let clock = candidate.naive_utc();
        if clock > end || best.is_some_and(|(found, _)| clock > found + SHIFT) {
            break;
        }
        // None in a gap, two where the clock was set back.
        let instants = zone.from_local_datetime(&clock);
        for instant in [instants.earliest(), instants.latest()]
            .into_iter()
            .flatten()
        {
            let instant = instant.with_timezone(&Utc);
            if instant > after && best.is_none_or(|(_, found)| instant < found) {
                best = Some((clock, instant));
            }
        }
    }
    best.map(|(_, instant)| instant)
}

impl Field {
    /// Sunday may be called 7.
    fn with_sunday_once(self) -> Self {
        let sunday = (self.bits | self.bits >> 7) & 1;
        Self {
            bits: self.bits & 0b111_1110 | sunday,
            ..self
        }
    }
}

impl Rules {
    /// A field: parts with commas between.
    fn field(&self, text: &str) -> Result<Field, String> {
        let mut field = Field {
            bits: 0,
            star: false,
        };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let part = self.part(part)?;
            field.bits |= part.bits;
            field.star |= part.star;
        }
        match field.bits {
            0 => Err(format!("{}: {text:?} names nothing", self.name)),
            _ => Ok(field),
        }
    }

    /// `5`, `mon-fri`, `*/15`, `10-40/5`, `?`.
    fn part(&self, text: &str) -> Result<Field, String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let star = matches!(range, "*" | "?");
        let (first, last) = match range.split_once('-') {
            _ if star => (self.first, self.last),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            None => {
                let number = self.number(range)?;
                // With a step it is a beginning.
                (number, if step.is_some() { self.last } else { number })
            }
        };
        if first > last {
            return Err(format!("{}: {text:?} begins after its end", self.name));
        }
        let step = match step {
            None => 1,
            Some(step) => match step.parse::<u32>() {
                Ok(step @ 1..) => step,
                _ => {
                    return Err(format!(
                        "{}: {step:?} is no step, expected a number from 1",
                        self.name
                    ));
                }
            },
        };
        let mut bits = 0;
        let mut number = first;
        while number <= last {
            bits |= 1 << number;
            number = number.saturating_add(step);
        }
        Ok(Field {
            bits,
            star: star && step == 1,
        })
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = self.names.iter().position(|name| *name == lower) {
            return Ok(self.first + u32::try_from(at).unwrap_or_default());
        }
        let expected = format!(
            "{}: {text:?} is not from {} to {}",
            self.name, self.first, self.last
        );
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(number) if digits && (self.first..=self.last).contains(&number) => Ok(number),
            _ => Err(expected),
        }
    }

    /// The numbers of a field as a list, each with `shift` added; `*` for all.
    fn listed(&self, field: Field, shift: u32) -> String {
        if field.star {
            return "*".to_owned();
        }
        let numbers = (self.first..=self.last).filter(|number| field.bits & 1 << number != 0);
        let numbers: Vec<String> = numbers.map(|number| (number + shift).to_string()).collect();
        numbers.join(",")
    }
}
