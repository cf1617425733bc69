//! Times, and Go's way to lay them out: by the date
//! `Mon Jan 2 15:04:05 MST 2006`.

use chrono::format::{Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveTime, TimeZone, Timelike, Utc};

use super::Surroundings;
use super::functions::suggestion;
use super::value::{Data, Value};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// What Go's layouts write, and what chrono calls it. Of two that begin alike
/// the longer comes first.
const LAYOUTS: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("2006", "%Y"),
    ("Z07:00", "Z%:z"),
    ("Z0700", "Z%z"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("-07", "%#z"),
    (".000000000", "%.9f"),
    (".000000", "%.6f"),
    (".000", "%.3f"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

pub(super) fn month(number: u32) -> &'static str {
    named(&MONTHS, number.wrapping_sub(1))
}

pub(super) fn weekday(number: u32) -> &'static str {
    named(&WEEKDAYS, number)
}

fn named(names: &[&'static str], number: u32) -> &'static str {
    let name = usize::try_from(number)
        .ok()
        .and_then(|number| names.get(number));
    name.copied().unwrap_or("?")
}

/// A time as Go prints it.
pub(super) fn text(at: &DateTime<FixedOffset>) -> String {
    let fraction = at.format("%.f").to_string();
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!(
        "{}{fraction} {} {}",
        at.format("%Y-%m-%d %H:%M:%S"),
        at.format("%z"),
        zone(at)
    )
}

/// Go's name of a zone: `UTC`, or the offset where it knows no name.
fn zone(at: &DateTime<FixedOffset>) -> String {
    match at.offset().local_minus_utc() {
        0 => "UTC".to_owned(),
        _ => at.format("%z").to_string(),
    }
}

/// `time.Now` and `time.Parse`.
pub(super) fn clock(
    name: &str,
    arguments: &[Value],
    surroundings: &dyn Surroundings,
) -> Result<Value, String> {
    match (name, texts(arguments).as_deref()) {
        ("Now", Some([])) => Ok(Data::Time(surroundings.now()).into()),
        ("Now", _) => Err("`time.Now` gets no arguments".to_owned()),
        ("Parse", Some([layout, text])) => parse(layout, text)
            .map(|at| Data::Time(at).into())
            .ok_or_else(|| match arguments.iter().any(|argument| argument.secret) {
                true => "`time.Parse` cannot read the text by its layout".to_owned(),
                false => format!("`time.Parse` cannot read {text:?} by the layout {layout:?}"),
            }),
        ("Parse", _) => Err(
            "`time.Parse` gets a layout and a text: time.Parse \"2006-01-02\" \"2024-12-31\""
                .to_owned(),
        ),
        _ => Err(format!(
            "`time` has no `.{name}`{}",
            suggestion(name, ["Now", "Parse"].into_iter())
        )),
    }
}

/// What a time has after its dot.
pub(super) fn method(
    at: &DateTime<FixedOffset>,
    name: &str,
    arguments: &[Value],
) -> Result<Value, String> {
    const NAMES: [&str; 14] = [
        "Year",
        "Month",
        "Day",
        "Hour",
        "Minute",
        "Second",
        "Nanosecond",
        "YearDay",
        "Weekday",
        "Unix",
        "UnixMilli",
        "UTC",
        "String",
        "Format",
    ];
    let none = |value: Value| match arguments.is_empty() {
        true => Ok(value),
        false => Err(format!("`.{name}` gets no arguments")),
    };
    let number = |number: u32| Value::from(i64::from(number));
    match name {
        "Year" => none(i64::from(at.year()).into()),
        "Month" => none(Data::Month(at.month()).into()),
        "Day" => none(number(at.day())),
        "Hour" => none(number(at.hour())),
        "Minute" => none(number(at.minute())),
        "Second" => none(number(at.second())),
        "Nanosecond" => none(number(at.nanosecond())),
        "YearDay" => none(number(at.ordinal())),
        "Weekday" => none(Data::Weekday(at.weekday().num_days_from_sunday()).into()),
        "Unix" => none(at.timestamp().into()),
        "UnixMilli" => none(at.timestamp_millis().into()),
        "UTC" => none(Data::Time(at.with_timezone(&Utc).fixed_offset()).into()),
        "String" => none(text(at).into()),
        "Format" => match texts(arguments).as_deref() {
            Some([layout]) => Ok(format(at, layout).into()),
            _ => Err("`.Format` gets a layout: .Format \"2006-01-02\"".to_owned()),
        },
        _ => Err(format!(
            "a time has no `.{name}`{}",
            suggestion(name, NAMES.into_iter())
        )),
    }
}

fn texts(arguments: &[Value]) -> Option<Vec<&str>> {
    let texts = arguments.iter().map(|argument| match &argument.data {
        Data::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// The parts of a layout: what is written as it is, and chrono's name of what is
/// not.
fn parts(layout: &str) -> Vec<Result<&'static str, &str>> {
    let mut parts = Vec::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let known = LAYOUTS.iter().find(|(text, _)| {
            // `Jan` is no month in `January`, and none in `Janet`.
            rest.strip_prefix(text).is_some_and(|after| {
                !matches!(*text, "Jan" | "Mon")
                    || !after.starts_with(|c: char| c.is_ascii_lowercase())
            })
        });
        match known {
            Some((text, name)) => {
                parts.push(Ok(*name));
                rest = &rest[text.len()..];
            }
            None => {
                parts.push(Err(&rest[..first.len_utf8()]));
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    parts
}

fn format(at: &DateTime<FixedOffset>, layout: &str) -> String {
    let utc = at.offset().local_minus_utc() == 0;
    let parts = parts(layout).into_iter().map(|part| match part {
        Err(text) => text.to_owned(),
        Ok("%Z") => zone(at),
        Ok("Z%:z" | "Z%z") if utc => "Z".to_owned(),
        Ok("Z%:z") => at.format("%:z").to_string(),
        Ok("Z%z") => at.format("%z").to_string(),
        Ok("%#z") => at.format("%z").to_string()[..3].to_owned(),
        Ok(name) => at.format(name).to_string(),
    });
    parts.collect()
}

/// What the text leaves open is as Go has it: the year 0, the first of January,
/// midnight, UTC.
fn parse(layout: &str, text: &str) -> Option<DateTime<FixedOffset>> {
    let names: String = parts(layout)
        .into_iter()
        .map(|part| match part {
            Ok(name) => name.trim_start_matches('Z').to_owned(),
            Err("%") => "%%".to_owned(),
            Err(text) => text.to_owned(),
        })
        .collect();
    // A `Z` in the text is an offset of nothing.
    let zulu = layout
        .contains("Z07")
        .then(|| text.strip_suffix('Z'))
        .flatten();
    let text = zulu.map_or(text.to_owned(), |text| format!("{text}+00:00"));
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, &text, StrftimeItems::new(&names)).ok()?;
    if parsed.year().is_none() && parsed.year_mod_100().is_none() {
        parsed.set_year(0).ok()?;
    }
    if parsed.ordinal().is_none() {
        if parsed.month().is_none() {
            parsed.set_month(1).ok()?;
        }
        if parsed.day().is_none() {
            parsed.set_day(1).ok()?;
        }
    }
    let date: NaiveDate = parsed.to_naive_date().ok()?;
    let time = match (parsed.hour_div_12(), parsed.hour_mod_12()) {
        (None, None) => NaiveTime::MIN,
        _ => {
            if parsed.minute().is_none() {
                parsed.set_minute(0).ok()?;
            }
            parsed.to_naive_time().ok()?
        }
    };
    let offset = parsed
        .to_fixed_offset()
        .or_else(|_| FixedOffset::east_opt(0).ok_or(()))
        .ok()?;
    offset.from_local_datetime(&date.and_time(time)).single()
}
