//! `WWW-Authenticate`, as servers really write it.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case.
    pub(crate) scheme: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Every challenge of an answer: there may be several headers, and several
    /// challenges in one. Source: RFC 9110, section 11.6.1. What cannot be
    /// understood is skipped.
    pub(crate) fn all(headers: &HeaderMap) -> Vec<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).into_iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        values.flat_map(|value| parse(&value)).collect()
    }

    /// A parameter, by its name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn parse(text: &str) -> Vec<Challenge> {
    let mut rest = Rest(text);
    let mut found: Vec<Challenge> = Vec::new();
    loop {
        rest.skip(|c| c == ',' || c.is_ascii_whitespace());
        if rest.0.is_empty() {
            return found;
        }
        let word = rest.take(is_token).to_ascii_lowercase();
        if word.is_empty() {
            // Neither a scheme nor a parameter can begin here.
            rest.skip_one();
            continue;
        }
        let before = rest.0;
        rest.skip(|c| c.is_ascii_whitespace());
        if !rest.0.starts_with('=') {
            rest.0 = before;
            found.push(Challenge {
                scheme: word,
                parameters: Vec::new(),
            });
            continue;
        }
        rest.skip_one();
        rest.skip(|c| c.is_ascii_whitespace());
        let value = match rest.0.starts_with('"') {
            true => rest.quoted(),
            // Some leave the quotes out, around URLs too.
            false => rest
                .take(|c| c != ',' && !c.is_ascii_whitespace())
                .to_owned(),
        };
        if let Some(challenge) = found.last_mut() {
            challenge.parameters.push((word, value));
        }
    }
}

/// RFC 9110, section 5.6.2, and `/` for token68.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)
}

struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !fits(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn skip(&mut self, fits: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(fits);
    }

    fn skip_one(&mut self) {
        let mut chars = self.0.chars();
        chars.next();
        self.0 = chars.as_str();
    }

    /// A quoted string, `\` escaping the next character; an open end counts.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut chars = self.0.chars();
        chars.next();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => value.extend(chars.next()),
                c => value.push(c),
            }
        }
        self.0 = chars.as_str();
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    /// `scheme name=value|name=value`, one for each challenge.
    fn shown(headers: &[&str]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, HeaderValue::from_str(header).unwrap());
        }
        let show = |challenge: Challenge| {
            let parameters = challenge.parameters.iter();
            let parameters: Vec<_> = parameters.map(|(n, v)| format!("{n}={v}")).collect();
            format!("{} {}", challenge.scheme, parameters.join("|"))
        };
        Challenge::all(&map).into_iter().map(show).collect()
    }

    #[test]
    fn f1_challenges_are_found_in_every_arrangement() {
        for (headers, want) in [
            (
                &[r#"Bearer realm="https://a/token",service="s",scope="repository:a:pull,push""#][..],
                &["bearer realm=https://a/token|service=s|scope=repository:a:pull,push"][..],
            ),
            (
                &[r#"Basic realm="Registry", bearer Realm = "https://a/t" , error="x""#],
                &["basic realm=Registry", "bearer realm=https://a/t|error=x"],
            ),
            (
                &[
                    r#"BASIC realm="a\"b, c""#,
                    "Bearer realm=https://a/t,service=s",
                ],
                &[
                    r#"basic realm=a"b, c"#,
                    "bearer realm=https://a/t|service=s",
                ],
            ),
            (
                &["Negotiate, Basic realm=\"x\""],
                &["negotiate ", "basic realm=x"],
            ),
            (&["Basic"], &["basic "]),
            (&[r#"Basic realm="open"#], &["basic realm=open"]),
            (&["", ",,", "=", "\"\""], &[]),
            (&[], &[]),
        ] {
            assert_eq!(shown(headers), want, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn f1_no_header_panics(text in any::<String>(), like in "[bB ,=\"\\\\a/:]{0,40}") {
            parse(&text);
            parse(&like);
        }
    }
}
