//! Allow and deny lists of regular expressions.

use regex::{Regex, RegexBuilder};

/// The compiled size, in bytes, above which a pattern is refused. Matching is
/// linear in the text, so size is all that a pattern can waste.
const SIZE_LIMIT: usize = 1 << 20;

/// Which names are taken: those that an allow pattern matches, or all when
/// there is none, without those that a deny pattern matches.
///
/// A pattern has to match the whole name: `latest|edge` does not take
/// `latest-debug`.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

/// What a filter says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Taken,
    /// No allow pattern matches.
    NotAllowed,
    /// This deny pattern matches.
    Denied(String),
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    regex: Regex,
}

impl Filter {
    /// Compiles the patterns.
    ///
    /// # Errors
    ///
    /// The first pattern that is no regular expression or is too large.
    pub fn new(allow: &[String], deny: &[String]) -> Result<Self, FilterError> {
        let compile = |list: &[String]| {
            list.iter()
                .map(|text| Pattern::new(text))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            allow: compile(allow)?,
            deny: compile(deny)?,
        })
    }

    /// Whether `name` is taken, and if not, why.
    pub fn judge(&self, name: &str) -> Verdict {
        let matches = |pattern: &&Pattern| pattern.regex.is_match(name);
        if !self.allow.is_empty() && !self.allow.iter().any(|pattern| matches(&pattern)) {
            return Verdict::NotAllowed;
        }
        match self.deny.iter().find(matches) {
            Some(pattern) => Verdict::Denied(pattern.text.clone()),
            None => Verdict::Taken,
        }
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        let texts = |list: &[Pattern]| -> Vec<String> {
            list.iter().map(|pattern| pattern.text.clone()).collect()
        };
        texts(&self.allow) == texts(&other.allow) && texts(&self.deny) == texts(&other.deny)
    }
}

impl Eq for Filter {}

impl Pattern {
    fn new(text: &str) -> Result<Self, FilterError> {
        // Compiled alone first: `a)|(b` is only valid once it is wrapped.
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(SIZE_LIMIT)
                .build()
                .map_err(|cause| FilterError {
                    pattern: text.to_owned(),
                    cause: Box::new(cause),
                })
        };
        build(text)?;
        Ok(Self {
            text: text.to_owned(),
            regex: build(&format!("^(?:{text})$"))?,
        })
    }
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is no usable pattern: {}", last_line(cause))]
pub struct FilterError {
    pattern: String,
    #[source]
    cause: Box<regex::Error>,
}

/// The regex crate draws the pattern over several lines; the last one says
/// what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(allow: &[&str], deny: &[&str]) -> Filter {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        Filter::new(&own(allow), &own(deny)).unwrap()
    }

    #[test]
    fn no_allow_list_takes_all() {
        assert_eq!(filter(&[], &[]).judge("x"), Verdict::Taken);
    }

    #[test]
    fn j4_the_whole_name_has_to_match() {
        let filter = filter(&["latest|edge", "v[0-9]+"], &[]);
        for (name, taken) in [
            ("latest", true),
            ("edge", true),
            ("v12", true),
            ("latest-debug", false),
            ("my-edge", false),
            ("v12\nx", false),
        ] {
            assert_eq!(filter.judge(name) == Verdict::Taken, taken, "{name}");
        }
    }

    #[test]
    fn deny_wins_and_is_named() {
        let filter = filter(&["3.*"], &[".*-rc.*", "3\\.0"]);
        assert_eq!(filter.judge("3.1"), Verdict::Taken);
        assert_eq!(filter.judge("2.1"), Verdict::NotAllowed);
        assert_eq!(
            filter.judge("3.1-rc1"),
            Verdict::Denied(".*-rc.*".to_owned())
        );
    }

    #[test]
    fn j4_what_is_no_pattern_is_refused_in_one_line() {
        for pattern in ["(", "a)|(b", "[z-a]", "(?=x)", "((a{1000}){1000}){1000}"] {
            let error = Filter::new(&[pattern.to_owned()], &[])
                .unwrap_err()
                .to_string();
            assert!(!error.contains('\n') && error.contains(pattern), "{error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_patterns_never_panic(pattern: String, name: String) {
            if let Ok(filter) = Filter::new(&[pattern], &[]) {
                let _ = filter.judge(&name);
            }
        }
    }
}
