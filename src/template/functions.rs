//! What a template can call.

use std::cmp::Ordering;

use serde_json::{Map, Number};

use super::value::{Data, Value};
use super::{Surroundings, TemplateError, print};
use crate::nearest::nearest;

const NAMES: [&str; 26] = [
    "and",
    "default",
    "env",
    "eq",
    "file",
    "ge",
    "gt",
    "index",
    "join",
    "json",
    "jsonPretty",
    "le",
    "len",
    "lower",
    "lt",
    "ne",
    "not",
    "or",
    "print",
    "printf",
    "println",
    "slice",
    "split",
    "time",
    "trimSpace",
    "upper",
];

/// A function that is called.
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    pub(super) offset: usize,
    pub(super) surroundings: &'a dyn Surroundings,
}

/// Whether there is such a function; if not, what may be meant.
pub(super) fn known(name: &str) -> Result<(), String> {
    match NAMES.contains(&name) {
        true => Ok(()),
        false => {
            let hint = suggestion(name, NAMES.into_iter());
            Err(format!("there is no function `{name}`{hint}"))
        }
    }
}

/// `: did you mean …?`, if one of `names` is likely meant.
pub(super) fn suggestion<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let meant = nearest(name, names);
    meant.map_or(String::new(), |known| format!(": did you mean `{known}`?"))
}

pub(super) fn call(call: &Call<'_>, arguments: &[Value]) -> Result<Value, TemplateError> {
    let secret = arguments.iter().any(|argument| argument.secret);
    let value = apply(call, arguments)
        .map_err(|message| TemplateError::new(call.offset, format!("`{}`{message}", call.name)))?;
    Ok(value.tainted(secret))
}

fn apply(call: &Call<'_>, arguments: &[Value]) -> Result<Value, String> {
    let secret = arguments.iter().any(|argument| argument.secret);
    match call.name {
        "time" => counted(arguments, |[]| Ok(Data::Clock.into())),
        "env" => counted(arguments, |[name]| {
            let variable = call.surroundings.variable(text(name)?);
            Ok(Value::from(variable.unwrap_or_default()).secret())
        }),
        "file" => counted(arguments, |[path]| {
            let path = text(path)?;
            let content = call.surroundings.file(path).map_err(|error| match secret {
                true => ": the file that a secret names cannot be read".to_owned(),
                false => format!(" cannot read {path:?}: {error}"),
            })?;
            Ok(Value::from(content.trim()).secret())
        }),
        "default" => counted(arguments, |[usual, value]| {
            let chosen = if value.truth() { value } else { usual };
            Ok(chosen.clone())
        }),
        "lower" => counted(arguments, |[value]| Ok(text(value)?.to_lowercase().into())),
        "upper" => counted(arguments, |[value]| Ok(text(value)?.to_uppercase().into())),
        "trimSpace" => counted(arguments, |[value]| Ok(text(value)?.trim().into())),
        "split" => counted(arguments, |[value, separator]| {
            let (value, separator) = (text(value)?, text(separator)?);
            let parts: Vec<&str> = match separator {
                // Go splits into characters then, without empty ends.
                "" => value.split("").filter(|part| !part.is_empty()).collect(),
                _ => value.split(separator).collect(),
            };
            Ok(parts.into())
        }),
        "join" => counted(arguments, |[list, separator]| {
            let Data::List(items) = &list.data else {
                return Err(format!(
                    " gets a list and a separator, and this is {}",
                    list.kind()
                ));
            };
            let items: Vec<String> = items.iter().map(print::plain).collect();
            let inner =
                matches!(&list.data, Data::List(items) if items.iter().any(|item| item.secret));
            Ok(Value::from(items.join(text(separator)?)).tainted(inner))
        }),
        "json" => counted(arguments, |[value]| {
            Ok(escaped(&json(value).to_string()).into())
        }),
        "jsonPretty" => counted(arguments, |[value]| {
            Ok(escaped(&format!("{:#}", json(value))).into())
        }),
        "print" => Ok(print::print(arguments).into()),
        "println" => Ok(print::println(arguments).into()),
        "printf" => match arguments {
            [format, values @ ..] => Ok(print::printf(text(format)?, values).into()),
            [] => Err(" needs a format".to_owned()),
        },
        "len" => counted(arguments, |[value]| {
            let length = match &value.data {
                Data::Text(text) => text.len(),
                Data::List(items) => items.len(),
                Data::Map(entries) => entries.len(),
                _ => {
                    return Err(format!(
                        " counts text, lists and maps, and this is {}",
                        value.kind()
                    ));
                }
            };
            Ok(i64::try_from(length).unwrap_or(i64::MAX).into())
        }),
        "index" => match arguments {
            [value, keys @ ..] => {
                let mut value = value.clone();
                for key in keys {
                    value = index(&value, key)?;
                }
                Ok(value)
            }
            [] => Err(" needs a list or a map".to_owned()),
        },
        "slice" => slice(arguments),
        "not" => counted(arguments, |[value]| Ok((!value.truth()).into())),
        "eq" => match arguments {
            [value, others @ ..] if !others.is_empty() => {
                let mut equal = false;
                for other in others {
                    equal |= same(value, other)?;
                }
                Ok(equal.into())
            }
            _ => Err(" compares at least two values".to_owned()),
        },
        "ne" => counted(arguments, |[one, other]| Ok((!same(one, other)?).into())),
        "lt" => counted(arguments, |[one, other]| {
            Ok(order(one, other)?.is_lt().into())
        }),
        "le" => counted(arguments, |[one, other]| {
            Ok(order(one, other)?.is_le().into())
        }),
        "gt" => counted(arguments, |[one, other]| {
            Ok(order(one, other)?.is_gt().into())
        }),
        "ge" => counted(arguments, |[one, other]| {
            Ok(order(one, other)?.is_ge().into())
        }),
        _ => Err(" is no function".to_owned()),
    }
}

fn counted<const N: usize>(
    arguments: &[Value],
    apply: impl FnOnce([&Value; N]) -> Result<Value, String>,
) -> Result<Value, String> {
    let given: Vec<&Value> = arguments.iter().collect();
    match <[&Value; N]>::try_from(given) {
        Ok(arguments) => apply(arguments),
        Err(given) => Err(format!(" gets {N} arguments, and here are {}", given.len())),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    match &value.data {
        Data::Text(text) => Ok(text),
        _ => Err(format!(" gets text, and this is {}", value.kind())),
    }
}

fn number(value: &Value) -> Option<i64> {
    match value.data {
        Data::Int(number) => Some(number),
        Data::Month(number) | Data::Weekday(number) => Some(number.into()),
        _ => None,
    }
}

fn same(one: &Value, other: &Value) -> Result<bool, String> {
    match (&one.data, &other.data) {
        (Data::Nil, Data::Nil) => Ok(true),
        (Data::Nil, _) | (_, Data::Nil) => Ok(false),
        (Data::Bool(one), Data::Bool(other)) => Ok(one == other),
        _ => Ok(order(one, other)?.is_eq()),
    }
}

fn order(one: &Value, other: &Value) -> Result<Ordering, String> {
    let unlike = || format!(" cannot compare {} with {}", one.kind(), other.kind());
    match (&one.data, &other.data) {
        (Data::Text(one), Data::Text(other)) => Ok(one.cmp(other)),
        (Data::Float(one), Data::Float(other)) => Ok(one.total_cmp(other)),
        (Data::Time(one), Data::Time(other)) => Ok(one.cmp(other)),
        _ => match (number(one), number(other)) {
            (Some(one), Some(other)) => Ok(one.cmp(&other)),
            _ => Err(unlike()),
        },
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    let secret = value.secret || key.secret;
    let found = match &value.data {
        Data::List(items) => {
            let at = number(key)
                .ok_or_else(|| format!(" needs a number for a list, and this is {}", key.kind()))?;
            let item = usize::try_from(at).ok().and_then(|at| items.get(at));
            item.cloned().ok_or_else(|| match secret {
                true => " reaches beyond the list".to_owned(),
                false => format!(" {at} is beyond the list, which has {}", items.len()),
            })?
        }
        Data::Map(entries) => entries.get(text(key)?).cloned().unwrap_or(Value::NIL),
        Data::Text(content) => {
            let at = number(key).and_then(|at| usize::try_from(at).ok());
            let byte = at.and_then(|at| content.as_bytes().get(at).copied());
            byte.map(|byte| i64::from(byte).into())
                .ok_or_else(|| " reaches beyond the text".to_owned())?
        }
        _ => {
            return Err(format!(
                " looks into lists and maps, and this is {}",
                value.kind()
            ));
        }
    };
    Ok(found.tainted(secret))
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let [value, bounds @ ..] = arguments else {
        return Err(" needs a text or a list".to_owned());
    };
    let length = match &value.data {
        Data::Text(text) => text.len(),
        Data::List(items) => items.len(),
        _ => {
            return Err(format!(
                " cuts text and lists, and this is {}",
                value.kind()
            ));
        }
    };
    let bound = |at: usize, usual: usize| match bounds.get(at) {
        None => Ok(usual),
        Some(value) => number(value)
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| " gets numbers for its bounds".to_owned()),
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    let beyond = || " reaches beyond what it cuts".to_owned();
    if bounds.len() > 2 {
        return Err(" gets two bounds at most".to_owned());
    }
    match &value.data {
        Data::Text(text) => text.get(start..end).map(Value::from).ok_or_else(beyond),
        Data::List(items) => items
            .get(start..end)
            .map(|items| items.to_vec().into())
            .ok_or_else(beyond),
        _ => Err(beyond()),
    }
}

/// JSON as Go writes it, which may stand in a page. These characters are in texts
/// only.
fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn json(value: &Value) -> serde_json::Value {
    match &value.data {
        Data::Nil => serde_json::Value::Null,
        Data::Bool(flag) => (*flag).into(),
        Data::Int(number) => (*number).into(),
        Data::Float(number) => {
            Number::from_f64(*number).map_or(serde_json::Value::Null, Into::into)
        }
        Data::Text(text) => text.as_str().into(),
        Data::List(items) => items.iter().map(json).collect(),
        Data::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.clone(), json(value)));
            entries.collect::<Map<_, _>>().into()
        }
        Data::Time(at) => at.to_rfc3339().into(),
        Data::Month(number) | Data::Weekday(number) => (*number).into(),
        Data::Clock => "time".into(),
    }
}
