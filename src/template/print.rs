//! Values to text, as Go's `fmt` prints them.

use std::fmt::Write as _;

use super::time;
use super::value::{Data, Value};

/// How wide a number or a text may be set.
const MAX_WIDTH: usize = 1000;

/// A value as an action prints it, `%v`.
pub(super) fn plain(value: &Value) -> String {
    match &value.data {
        Data::Nil => "<no value>".to_owned(),
        Data::Bool(flag) => flag.to_string(),
        Data::Int(number) => number.to_string(),
        Data::Float(number) => float(*number),
        Data::Text(text) => text.clone(),
        Data::List(items) => format!("[{}]", joined(items.iter().map(plain))),
        Data::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", plain(value)));
            format!("map[{}]", joined(entries))
        }
        Data::Time(at) => time::text(at),
        Data::Month(number) => time::month(*number).to_owned(),
        Data::Weekday(number) => time::weekday(*number).to_owned(),
        Data::Clock => "time".to_owned(),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

/// `%v` of a float is Go's `%g`.
fn float(number: f64) -> String {
    let exponent = if number == 0.0 {
        0.0
    } else {
        number.abs().log10().floor()
    };
    if (-4.0..6.0).contains(&exponent) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// How much memory a value takes, roughly.
pub(super) fn size(value: &Value) -> usize {
    match &value.data {
        Data::Text(text) => text.len(),
        Data::List(items) => items.iter().map(|item| 16 + size(item)).sum(),
        _ => 0,
    }
}

/// Go's `Sprint`: spaces between those that are both no text.
pub(super) fn print(values: &[Value]) -> String {
    let mut text = String::new();
    let mut last_text = true;
    for (number, value) in values.iter().enumerate() {
        let is_text = matches!(value.data, Data::Text(_));
        if number > 0 && !is_text && !last_text {
            text.push(' ');
        }
        text.push_str(&operand(value));
        last_text = is_text;
    }
    text
}

/// Go's `Sprintln`.
pub(super) fn println(values: &[Value]) -> String {
    let mut text = joined(values.iter().map(operand));
    text.push('\n');
    text
}

/// A value among arguments, where nothing is `<nil>`.
fn operand(value: &Value) -> String {
    match value.data {
        Data::Nil => "<nil>".to_owned(),
        _ => plain(value),
    }
}

/// What stands between `%` and its verb.
#[derive(Default)]
struct Flags {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `Sprintf`.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut rest = format;
    // Which value is next, and how many were asked for by number or in turn.
    let (mut next, mut used) = (0, 0);
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut flags = Flags::default();
        while let Some(flag) = rest.chars().next().filter(|c| "-0+ #".contains(*c)) {
            match flag {
                '-' => flags.left = true,
                '0' => flags.zero = true,
                '+' => flags.plus = true,
                ' ' => flags.space = true,
                _ => flags.sharp = true,
            }
            rest = &rest[1..];
        }
        flags.width = number(&mut rest).unwrap_or(0);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            flags.precision = Some(number(&mut rest).unwrap_or(0));
        }
        // `%[2]s` asks for the second one.
        let numbered = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((number, after)) = numbered
            && let Ok(number @ 1..) = number.parse::<usize>()
        {
            next = number - 1;
            rest = after;
        }
        let Some(verb) = rest.chars().next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        match values.get(next) {
            Some(value) => {
                next += 1;
                used = used.max(next);
                text.push_str(&verb_of(verb, value, &flags));
            }
            None => {
                let _ = write!(text, "%!{verb}(MISSING)");
            }
        }
    }
    text.push_str(rest);
    let extra: Vec<String> = values[used..].iter().map(typed).collect();
    if !extra.is_empty() {
        let _ = write!(text, "%!(EXTRA {})", extra.join(", "));
    }
    text
}

fn number(rest: &mut &str) -> Option<usize> {
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let number = rest[..end].parse::<usize>();
    *rest = &rest[end..];
    match end {
        0 => None,
        _ => Some(number.unwrap_or(MAX_WIDTH).min(MAX_WIDTH)),
    }
}

fn verb_of(verb: char, value: &Value, flags: &Flags) -> String {
    if let Data::List(items) = &value.data {
        // The verb is for each of them.
        let items = items.iter().map(|item| verb_of(verb, item, flags));
        return format!("[{}]", joined(items));
    }
    let numeric = match &value.data {
        Data::Int(number) => Some(*number),
        Data::Month(number) | Data::Weekday(number) => Some(i64::from(*number)),
        _ => None,
    };
    let bodied = match (verb, &value.data, numeric) {
        ('v', Data::Text(text), _) if flags.sharp => quoted(text),
        ('v', Data::Int(_), _) => return padded(&signed(value, flags), flags, true),
        ('v', Data::Float(_), _) => return padded(&plain(value), flags, true),
        ('v', ..) => operand(value),
        ('d', _, Some(number)) => {
            return padded(
                &sign(number, &number.unsigned_abs().to_string(), flags),
                flags,
                true,
            );
        }
        ('b', _, Some(number)) => {
            return padded(
                &sign(number, &format!("{:b}", number.unsigned_abs()), flags),
                flags,
                true,
            );
        }
        ('o', _, Some(number)) => {
            return padded(
                &sign(number, &format!("{:o}", number.unsigned_abs()), flags),
                flags,
                true,
            );
        }
        ('x', _, Some(number)) => {
            let prefix = if flags.sharp { "0x" } else { "" };
            let digits = format!("{prefix}{:x}", number.unsigned_abs());
            return padded(&sign(number, &digits, flags), flags, true);
        }
        ('X', _, Some(number)) => {
            let prefix = if flags.sharp { "0X" } else { "" };
            let digits = format!("{prefix}{:X}", number.unsigned_abs());
            return padded(&sign(number, &digits, flags), flags, true);
        }
        ('c', _, Some(number)) => character(number).to_string(),
        ('q', Data::Int(number), _) => format!("'{}'", character(*number).escape_default()),
        ('f' | 'F', Data::Float(number), _) => {
            let places = flags.precision.unwrap_or(6);
            return padded(&format!("{number:.places$}"), flags, true);
        }
        ('g', Data::Float(number), _) => return padded(&float(*number), flags, true),
        ('e', Data::Float(number), _) => {
            let places = flags.precision.unwrap_or(6);
            let text = format!("{number:.places$e}");
            let Some((mantissa, exponent)) = text.split_once('e') else {
                return text;
            };
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            return padded(&format!("{mantissa}e{sign}{digits:0>2}"), flags, true);
        }
        ('t', Data::Bool(flag), _) => flag.to_string(),
        ('s', Data::Text(text), _) => match flags.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.clone(),
        },
        ('s', Data::Time(_), _) => plain(value),
        ('s', Data::Month(_) | Data::Weekday(_), _) => {
            let most = flags.precision.unwrap_or(usize::MAX);
            plain(value).chars().take(most).collect()
        }
        ('q', Data::Text(text), _) => quoted(text),
        ('q', Data::Time(_) | Data::Month(_) | Data::Weekday(_), _) => quoted(&plain(value)),
        ('x' | 'X', Data::Text(text), _) => {
            let prefix = if flags.sharp && !text.is_empty() {
                "0x"
            } else {
                ""
            };
            let hex = text.bytes().fold(prefix.to_owned(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            if verb == 'X' { hex.to_uppercase() } else { hex }
        }
        _ => format!("%!{verb}({})", typed(value)),
    };
    padded(&bodied, flags, false)
}

fn character(number: i64) -> char {
    let character = u32::try_from(number).ok().and_then(char::from_u32);
    character.unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn signed(value: &Value, flags: &Flags) -> String {
    match value.data {
        Data::Int(number) => sign(number, &number.unsigned_abs().to_string(), flags),
        _ => plain(value),
    }
}

fn sign(number: i64, digits: &str, flags: &Flags) -> String {
    let digits = match flags.precision {
        Some(least) => format!("{digits:0>least$}"),
        None => digits.to_owned(),
    };
    match number {
        ..0 => format!("-{digits}"),
        _ if flags.plus => format!("+{digits}"),
        _ if flags.space => format!(" {digits}"),
        _ => digits,
    }
}

fn padded(text: &str, flags: &Flags, numeric: bool) -> String {
    let missing = flags.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text.to_owned();
    }
    if flags.left {
        return format!("{text}{}", " ".repeat(missing));
    }
    if !flags.zero || (numeric && flags.precision.is_some() && !text.contains('.')) {
        return format!("{}{text}", " ".repeat(missing));
    }
    let zeros = "0".repeat(missing);
    match text.strip_prefix(['-', '+', ' ']) {
        Some(digits) if numeric => format!("{}{zeros}{digits}", &text[..1]),
        _ => format!("{zeros}{text}"),
    }
}

/// Text in double quotes, as Go writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `string=x`, as Go tells of a value that its verb cannot print.
fn typed(value: &Value) -> String {
    let kind = match &value.data {
        Data::Nil => return "<nil>".to_owned(),
        Data::Bool(_) => "bool",
        Data::Int(_) => "int",
        Data::Float(_) => "float64",
        Data::Text(_) => "string",
        Data::List(_) => "[]interface {}",
        Data::Map(_) => "map[string]interface {}",
        Data::Time(_) => "time.Time",
        Data::Month(_) => "time.Month",
        Data::Weekday(_) => "time.Weekday",
        Data::Clock => "time",
    };
    format!("{kind}={}", plain(value))
}
