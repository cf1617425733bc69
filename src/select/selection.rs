//! Which tags of a repository are taken.

use std::fmt;
use std::num::NonZeroUsize;

use super::filter::{Filter, Verdict};
use super::range::Range;
use super::version::Version;

/// Which tags are taken: those that any of the sets takes, or all when there is
/// none, and of these perhaps only the newest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The sets.
    pub sets: Vec<TagSet>,
    /// How many of what they take.
    pub latest: Option<Latest>,
}

/// Tags with a version in one of the ranges, if there are any, that the filter
/// takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagSet {
    /// The ranges, of which one has to have the tag's version.
    pub ranges: Vec<Range>,
    /// The patterns.
    pub filter: Filter,
}

/// The newest so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    /// How many.
    pub count: NonZeroUsize,
    /// What makes a tag newer.
    pub sort: Sort,
}

/// What makes a tag newer than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Its version. Tags that are none come last.
    Semver,
    /// Its name, letter by letter.
    Name,
    /// When its image was created.
    Created,
}

/// Why a tag is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is no version, and a range asks for one.
    NoVersion,
    /// No range has its version. These are they.
    OutOfRange(String),
    /// No pattern of the allow list matches.
    NotAllowed,
    /// This pattern of the deny list matches.
    Denied(String),
    /// So many newer tags are taken.
    Older(NonZeroUsize),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVersion => f.write_str("no version, which semverRange asks for"),
            Self::OutOfRange(ranges) => write!(f, "its version is not in {ranges}"),
            Self::NotAllowed => f.write_str("no allow pattern matches"),
            Self::Denied(pattern) => write!(f, "denied by {pattern}"),
            Self::Older(count) => write!(f, "not among the latest {count}"),
        }
    }
}

impl Selection {
    /// Why no set takes `tag`, if none does: what the last one says.
    pub fn excludes(&self, tag: &str) -> Option<Reason> {
        let mut reason = None;
        for set in &self.sets {
            reason = set.excludes(tag);
            if reason.is_none() {
                break;
            }
        }
        reason
    }
}

impl TagSet {
    fn excludes(&self, tag: &str) -> Option<Reason> {
        if !self.ranges.is_empty() {
            let Some(version) = Version::parse(tag) else {
                return Some(Reason::NoVersion);
            };
            if !self.ranges.iter().any(|range| range.takes(&version)) {
                let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
                return Some(Reason::OutOfRange(ranges.join(" || ")));
            }
        }
        self.filter.judge(tag).reason()
    }
}

impl Verdict {
    /// Why a name is left out, if it is.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Taken => None,
            Self::NotAllowed => Some(Reason::NotAllowed),
            Self::Denied(pattern) => Some(Reason::Denied(pattern)),
        }
    }
}

/// Splits tags into the newest `count` and the rest. `created` are the seconds
/// at which each was created, when that is what counts.
///
/// Of two that are as new, the name decides, so that every run takes the same.
pub fn newest<T>(
    latest: Latest,
    tags: Vec<T>,
    name: impl Fn(&T) -> String,
    created: impl Fn(&T) -> Option<i64>,
) -> (Vec<T>, Vec<T>) {
    let mut tags: Vec<(Option<Version>, Option<i64>, String, T)> = tags
        .into_iter()
        .map(|tag| {
            let name = name(&tag);
            let version = match latest.sort {
                Sort::Semver => Version::parse(&name),
                Sort::Name | Sort::Created => None,
            };
            let created = match latest.sort {
                Sort::Created => created(&tag),
                Sort::Semver | Sort::Name => None,
            };
            (version, created, name, tag)
        })
        .collect();
    tags.sort_by(
        |(version, created, name, _), (other_version, other_created, other, _)| {
            (other_version, other_created, other).cmp(&(version, created, name))
        },
    );
    let mut tags: Vec<T> = tags.into_iter().map(|(.., tag)| tag).collect();
    let rest = tags.split_off(latest.count.get().min(tags.len()));
    (tags, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[&str], allow: &[&str], deny: &[&str]) -> TagSet {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        TagSet {
            ranges: ranges
                .iter()
                .map(|range| Range::parse(range).unwrap())
                .collect(),
            filter: Filter::new(&own(allow), &own(deny)).unwrap(),
        }
    }

    #[test]
    fn a_set_asks_for_the_version_then_allow_then_deny() {
        let selection = Selection {
            sets: vec![set(&["^1", "^3"], &["[0-9.]+", "v.*"], &[".*\\.13"])],
            latest: None,
        };
        for (tag, reason) in [
            ("1.2", None),
            ("v3.1", None),
            ("latest", Some(Reason::NoVersion)),
            ("2.0", Some(Reason::OutOfRange("^1 || ^3".to_owned()))),
            ("1.13", Some(Reason::Denied(".*\\.13".to_owned()))),
        ] {
            assert_eq!(selection.excludes(tag), reason, "{tag}");
        }
    }

    #[test]
    fn sets_are_alternatives() {
        let selection = Selection {
            sets: vec![
                set(&["^1"], &[], &[]),
                set(&[], &["latest", "edge.*"], &["edge-x"]),
            ],
            latest: None,
        };
        for (tag, taken) in [
            ("1.2", true),
            ("latest", true),
            ("edge-1", true),
            ("edge-x", false),
            ("2.0", false),
        ] {
            assert_eq!(selection.excludes(tag).is_none(), taken, "{tag}");
        }
        assert_eq!(Selection::default().excludes("anything"), None);
    }

    #[test]
    fn the_newest_are_taken_by_version_name_or_time() {
        let latest = |sort, count| Latest {
            count: NonZeroUsize::new(count).unwrap(),
            sort,
        };
        let taken = |latest, tags: &[&'static str]| {
            let created = |tag: &&str| (*tag != "old").then_some(i64::try_from(tag.len()).unwrap());
            let (taken, rest) = newest(latest, tags.to_vec(), ToString::to_string, created);
            assert_eq!(taken.len() + rest.len(), tags.len());
            taken
        };
        let tags = ["1.9", "1.10", "latest", "v1.10", "1.2"];
        assert_eq!(
            taken(latest(Sort::Semver, 3), &tags),
            ["v1.10", "1.10", "1.9"]
        );
        assert_eq!(taken(latest(Sort::Name, 2), &tags), ["v1.10", "latest"]);
        assert_eq!(
            taken(latest(Sort::Created, 2), &["a", "old", "abc", "abd"]),
            ["abd", "abc"]
        );
        assert_eq!(taken(latest(Sort::Created, 9), &["old", "a"]), ["a", "old"]);
    }
}
