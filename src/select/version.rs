//! Versions, as tags write them.

use std::cmp::Ordering;

/// A version: `v1.27.3`, `3.5`, `2.0.0-rc.1`. It has any number of parts, for
/// tags do; those that are missing are 0.
///
/// The order is that of Semantic Versioning 2.0.0, section 11, but that numbers
/// within a word count as such, as for regsync: `rc9` comes before `rc10`.
#[derive(Debug, Clone)]
pub struct Version {
    parts: Vec<u64>,
    pre_release: Vec<Identifier>,
}

/// A part of a pre-release. Numbers come before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    /// Letters, and the number after them, as often as there are some.
    Word(Vec<(String, Option<u64>)>),
}

impl Version {
    /// Reads a version; `None` when the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(text, _)| text);
        let (numbers, pre_release) = match text.split_once('-') {
            Some((numbers, pre_release)) => (numbers, Some(pre_release)),
            None => (text, None),
        };
        let parts = numbers.split('.').map(number).collect::<Option<_>>()?;
        let pre_release = pre_release.map_or(Some(Vec::new()), identifiers)?;
        Some(Self { parts, pre_release })
    }

    pub(super) fn new(parts: Vec<u64>) -> Self {
        Self {
            parts,
            pre_release: Vec::new(),
        }
    }

    /// Whether it is less than the release that it is numbered after.
    pub fn is_pre_release(&self) -> bool {
        !self.pre_release.is_empty()
    }

    /// Whether it is of the same release as `other`, both being pre-releases or
    /// not.
    pub(super) fn is_of_release(&self, other: &Self) -> bool {
        self.numbers(other).is_eq()
    }

    pub(super) fn parts(&self) -> &[u64] {
        &self.parts
    }

    /// The part with this index, 0 if it is missing.
    pub(super) fn part(&self, index: usize) -> u64 {
        self.parts.get(index).copied().unwrap_or(0)
    }

    fn numbers(&self, other: &Self) -> Ordering {
        let length = self.parts.len().max(other.parts.len());
        let parts = (0..length).map(|index| self.part(index).cmp(&other.part(index)));
        parts.fold(Ordering::Equal, Ordering::then)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers(other)
            .then_with(|| match (self.is_pre_release(), other.is_pre_release()) {
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                _ => self.pre_release.cmp(&other.pre_release),
            })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn identifiers(text: &str) -> Option<Vec<Identifier>> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let identifiers = text.split('.').map(|part| match number(part) {
        Some(number) => Some(Identifier::Number(number)),
        None if !part.is_empty() && part.chars().all(known) => Some(Identifier::Word(pieces(part))),
        None => None,
    });
    identifiers.collect()
}

/// `rc10b` to `rc` 10 and `b`. Digits that are no number stay what they are.
fn pieces(word: &str) -> Vec<(String, Option<u64>)> {
    let mut pieces = Vec::new();
    let mut rest = word;
    let mut letters = String::new();
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        letters.push_str(&rest[..digits]);
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        match rest[..end].parse() {
            Ok(number) => pieces.push((std::mem::take(&mut letters), Some(number))),
            Err(_) => letters.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    if !letters.is_empty() {
        pieces.push((letters, None));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_in_semver_s_order() {
        let ascending = [
            "0.9",
            "v1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0-rc9",
            "1.0.0-rc10",
            "1.0.0-rc10b",
            "1",
            "v1.0.1",
            "1.0.1.1",
            "1.2",
            "1.10",
            "2.0.0",
            "20240101",
        ];
        let versions: Vec<Version> = ascending
            .iter()
            .map(|text| Version::parse(text).unwrap())
            .collect();
        for (number, pair) in versions.windows(2).enumerate() {
            assert!(
                pair[0] < pair[1],
                "{} {}",
                ascending[number],
                ascending[number + 1]
            );
        }
        assert_eq!(Version::parse("1"), Version::parse("v1.0.0"));
        assert_eq!(Version::parse("1.2.3+b1"), Version::parse("1.2.3"));
    }

    #[test]
    fn what_is_no_version() {
        for text in [
            "",
            "v",
            "latest",
            "1.",
            ".1",
            "1..2",
            "1.x",
            "V1",
            "1.2-",
            "1.2-a..b",
            "-1",
            "1.2-ä",
            "99999999999999999999",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(
            texts in prop::array::uniform3("v?[0-3](\\.[0-3]){0,3}(-[a-b0-2]{1,3}(\\.[a-b0-2]{1,3}){0,2})?"),
            any: String,
        ) {
            let _ = Version::parse(&any);
            let [a, b, c] = texts.map(|text| Version::parse(&text).unwrap());
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(!(a <= b && b <= c) || a <= c);
        }
    }
}
