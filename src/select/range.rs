//! Ranges of versions, as npm and regsync write them.

use std::fmt;

use super::version::Version;

/// A range of versions: alternatives (`||`) of bounds that all hold:
/// `>=3.5.1 <4.0`, `~1.2`, `^1.2 || ^2`, `1.x`, `1.2 - 1.4`.
///
/// A pre-release is in it only if a bound of the same alternative names a
/// pre-release of the same release: `<4.0` does not take `4.0.0-rc1`.
#[derive(Debug, Clone)]
pub struct Range {
    text: String,
    alternatives: Vec<Vec<Bound>>,
}

/// Text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{range:?} is no range of versions: {reason}; expected something like >=3.5.1 <4.0, ~1.2, ^1.2 or 1.x"
)]
pub struct RangeError {
    range: String,
    reason: String,
}

#[derive(Debug, Clone)]
struct Bound {
    operator: Operator,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    Equal,
    Other,
    AtLeast,
    Greater,
}

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    ///
    /// When a part of it is none; the error names it.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let alternatives = text.split("||").map(alternative).collect::<Result<_, _>>();
        let alternatives = alternatives.map_err(|reason| RangeError {
            range: text.chars().take(200).collect(),
            reason,
        })?;
        Ok(Self {
            text: text.to_owned(),
            alternatives,
        })
    }

    /// Whether the version is in it.
    pub fn takes(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|bounds| {
            let named = |bound: &Bound| {
                // Who does not want one asks for no other of its release.
                bound.operator != Operator::Other
                    && bound.version.is_pre_release()
                    && bound.version.is_of_release(version)
            };
            bounds.iter().all(|bound| bound.holds(version))
                && (!version.is_pre_release() || bounds.iter().any(named))
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Range {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Range {}

impl Bound {
    fn holds(&self, version: &Version) -> bool {
        let order = version.cmp(&self.version);
        match self.operator {
            Operator::Less => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::Other => order.is_ne(),
            Operator::AtLeast => order.is_ge(),
            Operator::Greater => order.is_gt(),
        }
    }
}

/// Bounds that all have to hold.
fn alternative(text: &str) -> Result<Vec<Bound>, String> {
    if let Some((from, to)) = text.split_once(" - ") {
        let (from, to) = (Partial::parse(from.trim())?, Partial::parse(to.trim())?);
        let mut bounds = vec![bound(Operator::AtLeast, from.lowest())];
        // `1.2 - 1.4` has all of 1.4, `1.2 - 1.4.5` ends with it.
        let whole = to.open || (to.given() < 3 && !to.version.is_pre_release());
        match to.beyond(to.given()) {
            Some(beyond) if whole => bounds.push(bound(Operator::Less, beyond)),
            None if to.open => {}
            _ => bounds.push(bound(Operator::AtMost, to.lowest())),
        }
        return Ok(bounds);
    }
    let mut bounds = Vec::new();
    let mut words = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let version = word.trim_start_matches(['<', '>', '=', '~', '^', '!']);
        let operator = &word[..word.len() - version.len()];
        // A space may stand after an operator.
        let version = match version {
            "" => words
                .next()
                .ok_or_else(|| format!("no version follows {operator:?}"))?,
            version => version,
        };
        comparator(operator, &Partial::parse(version)?, &mut bounds)?;
    }
    match bounds.is_empty() {
        true => Err("an alternative is empty".to_owned()),
        false => Ok(bounds),
    }
}

fn bound(operator: Operator, version: Version) -> Bound {
    Bound { operator, version }
}

fn comparator(operator: &str, partial: &Partial, bounds: &mut Vec<Bound>) -> Result<(), String> {
    let lowest = partial.lowest();
    let given = partial.given();
    let within = |bounds: &mut Vec<Bound>, same: usize| {
        bounds.push(bound(Operator::AtLeast, partial.lowest()));
        bounds.extend(
            partial
                .beyond(same)
                .map(|beyond| bound(Operator::Less, beyond)),
        );
    };
    match operator {
        // `1.x` is a range; `1.2` is the version 1.2.0, as for regsync.
        "" | "=" | "==" if partial.open => within(bounds, given),
        "" | "=" | "==" => bounds.push(bound(Operator::Equal, lowest)),
        "!=" if !partial.open => bounds.push(bound(Operator::Other, lowest)),
        "<" => bounds.push(bound(Operator::Less, lowest)),
        ">=" => bounds.push(bound(Operator::AtLeast, lowest)),
        "<=" => bounds.push(match partial.beyond(given) {
            Some(beyond) if partial.open => bound(Operator::Less, beyond),
            None if partial.open => bound(Operator::AtLeast, lowest),
            _ => bound(Operator::AtMost, lowest),
        }),
        ">" => bounds.push(match partial.beyond(given) {
            Some(beyond) if partial.open => bound(Operator::AtLeast, beyond),
            _ => bound(Operator::Greater, lowest),
        }),
        "~" | "~>" => within(bounds, given.min(2)),
        // What is left of the first part that is not 0 may not change.
        "^" => {
            let same = lowest.parts().iter().position(|part| *part != 0);
            within(bounds, same.map_or(given, |first| first + 1));
        }
        _ => return Err(format!("{operator:?} is no operator")),
    }
    Ok(())
}

/// A version of which the end may be left open: `1`, `1.2`, `1.x`, `*`.
struct Partial {
    version: Version,
    /// Whether it ends in `x` or `*`.
    open: bool,
}

impl Partial {
    fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.strip_prefix('v').unwrap_or(text);
        let mut open = false;
        while let Some(shorter) = rest.strip_suffix(['x', 'X', '*']) {
            if !shorter.is_empty() && !shorter.ends_with('.') {
                break;
            }
            open = true;
            rest = shorter.trim_end_matches('.');
        }
        if rest.is_empty() && open {
            let version = Version::new(Vec::new());
            return Ok(Self { version, open });
        }
        let version = Version::parse(rest).ok_or_else(|| format!("{text:?} is no version"))?;
        if open && version.is_pre_release() {
            return Err(format!("{text:?} is no version"));
        }
        Ok(Self { version, open })
    }

    fn lowest(&self) -> Version {
        self.version.clone()
    }

    /// How many parts were written.
    fn given(&self) -> usize {
        self.version.parts().len()
    }

    /// The first version that differs in its first `same` parts; `None` when
    /// there is none.
    fn beyond(&self, same: usize) -> Option<Version> {
        let last = same.checked_sub(1)?;
        let mut parts: Vec<u64> = (0..same).map(|index| self.version.part(index)).collect();
        parts[last] = parts[last].checked_add(1)?;
        Some(Version::new(parts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_take_what_npm_s_do() {
        for (range, taken, left) in [
            (
                ">=3.5.1 <4.0",
                "3.5.1 v3.5.2 3.99 3.5.1.1",
                "3.5 4.0.0 4.0.0-rc1 3.6.0-rc1 4",
            ),
            (">= 3.5.1, < 4.0", "3.5.1 3.99", "4.0"),
            ("~1.2", "1.2 1.2.9", "1.3 1.1.9 1.2.1-rc1"),
            ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
            ("~1", "1.0 1.9", "2.0 0.9"),
            ("^1.2", "1.2 1.99.1", "2.0 1.1"),
            ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
            ("^0.0.3", "0.0.3", "0.0.4 0.0.2"),
            ("^0", "0.1 0.9.9", "1.0"),
            ("1.x", "1 1.0.0 1.9", "2 0.9 1.5.0-rc1"),
            ("1.2.*", "1.2 1.2.7", "1.3"),
            ("*", "0 1 99.9", "1.0-rc1"),
            ("1.2", "1.2 1.2.0 v1.2", "1.2.1 1.1"),
            ("=1.2.3", "1.2.3", "1.2.4"),
            ("!=1.2.3", "1.2.4 1", "1.2.3"),
            (">1.x", "2 2.0.1", "1.9"),
            ("<=1.x", "1.9.9 0", "2"),
            ("1.2 - 1.4", "1.2 1.4.9", "1.5 1.1"),
            ("1.2 - 1.4.5", "1.4.5", "1.4.6"),
            ("^1.2 || ^3", "1.3 3.1", "2.0 4.0"),
            (
                ">=2.0.0-rc.1 <3",
                "2.0.0-rc.2 2.0.0 2.5",
                "2.1.0-rc.1 2.0.0-beta 3.0.0-rc.1",
            ),
            (
                "1.2-rc1 - 1.3-rc1",
                "1.2-rc2 1.2 1.3-rc1",
                "1.3 1.3-rc2 1.2-rc0",
            ),
            ("1 - *", "1 99", "0.9"),
            ("<=*", "0 99", "1.0-rc1"),
            (">=1 !=1.2-rc1", "1.2 1", "1.2-rc1 1.2-rc2"),
            (">=1.0\n<2\n", "1.5", "2"),
            ("2.0.0-rc.1", "2.0.0-rc.1", "2.0.0-rc.2 2.0.0"),
            (">=1.18446744073709551615", "1.18446744073709551615", "1.0"),
        ] {
            let parsed = Range::parse(range).unwrap();
            for (tags, expected) in [(taken, true), (left, false)] {
                for tag in tags.split(' ') {
                    let version = Version::parse(tag).unwrap();
                    assert_eq!(parsed.takes(&version), expected, "{tag} in {range}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_range_is_told_with_the_part_that_is_wrong() {
        for (range, part) in [
            ("", "an alternative is empty"),
            ("^1 ||", "an alternative is empty"),
            (",", "an alternative is empty"),
            (">=", "no version follows \">=\""),
            ("latest", "\"latest\" is no version"),
            (">=1.0 <two", "\"two\" is no version"),
            ("=>1.0", "\"=>\" is no operator"),
            ("1.x.3", "\"1.x.3\" is no version"),
            ("!=1.x", "\"!=\" is no operator"),
        ] {
            let error = Range::parse(range).unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("expected"),
                "{range}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_ranges_never_panic(text: String, near in "[0-9x*.<>=~^|v \\-,!]{0,20}", version in "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}") {
            let version = Version::parse(&version).unwrap();
            for text in [text, near] {
                if let Ok(range) = Range::parse(&text) {
                    let _ = range.takes(&version);
                }
            }
        }

        #[test]
        fn a_version_is_in_the_ranges_that_begin_with_it(parts in prop::collection::vec(0u64..50, 1..4)) {
            let text = parts.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            let version = Version::parse(&text).unwrap();
            let takes = |operator: &str| {
                let range = [operator, &text].concat();
                Range::parse(&range).unwrap().takes(&version)
            };
            for operator in ["", "=", ">=", "<=", "~", "^"] {
                prop_assert!(takes(operator), "{}", operator);
            }
            for operator in ["<", ">", "!="] {
                prop_assert!(!takes(operator), "{}", operator);
            }
        }
    }
}
