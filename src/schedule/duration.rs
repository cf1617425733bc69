//! Durations as Go writes them: `60m`, `1h30m`, `1.5s`.

use std::time::Duration;

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration: expected a number with a unit, like 30s, 60m or 1h30m")]
pub(crate) struct DurationError(String);

/// Parses a duration of Go's `time.ParseDuration`, without a sign. Source:
/// <https://pkg.go.dev/time#ParseDuration>.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError(text.chars().take(80).collect());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len();
        let after = &rest[number..];
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let seconds = match &after[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(error()),
        };
        let value: f64 = rest[..number].parse().map_err(|_| error())?;
        let part = Duration::try_from_secs_f64(value * seconds).map_err(|_| error())?;
        total = total.checked_add(part).ok_or_else(error)?;
        rest = &after[unit..];
    }
    match text.is_empty() {
        true => Err(error()),
        false => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_durations() {
        for (text, seconds) in [
            ("60m", 3600.0),
            ("1h30m", 5400.0),
            ("1.5s", 1.5),
            ("100ms", 0.1),
            ("0", 0.0),
            ("1h0m0.5s", 3600.5),
        ] {
            assert_eq!(
                parse(text).unwrap(),
                Duration::from_secs_f64(seconds),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "m",
            "1x",
            "-1s",
            "1 h",
            "1..5s",
            "99999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
