//! Where a server's `Location` and `Link` lead, and where they may not.

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};

use super::failure::Failure;
use crate::http::printable_url;
use crate::oci::Digest;
use crate::store::ErrorKind;

/// How long a link to the next page may be, in bytes: longer than what servers
/// take as a request's first line. Links are remembered, to find circles.
const LINK_LENGTH: usize = 8 << 10;

/// Whether two URLs have scheme, host and port in common.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

/// Where `location`, an answer to a request for `from`, leads.
///
/// # Errors
///
/// When it is no URL of the web, or would leave TLS.
pub(super) fn resolve(from: &Url, location: &str) -> Result<Url, Failure> {
    let malformed = |why: &str| {
        let place = printable_url(location);
        let text = format!("the server leads to {place:?}, which {why}");
        Failure::new(ErrorKind::Malformed, text)
    };
    let mut url = from.join(location).map_err(|_| malformed("is no URL"))?;
    url.set_fragment(None);
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(malformed("is no http URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(malformed("has a user name"));
    }
    if from.scheme() == "https" && url.scheme() == "http" {
        // A registry behind a proxy that ends TLS often does not know that it
        // is reached by it.
        let same = url.host() == from.host() && (url.port().is_none() || url.port() == from.port());
        let moved = same && url.set_scheme("https").is_ok() && url.set_port(from.port()).is_ok();
        if !moved {
            return Err(malformed("is not protected by TLS"));
        }
    }
    Ok(url)
}

/// The URL that closes an upload: the session's with the digest. Everything
/// else in its query stays as it is, for it may be signed.
pub(super) fn closing(session: &Url, digest: &Digest) -> Url {
    let mut url = session.clone();
    let query = match url.query() {
        None | Some("") => format!("digest={digest}"),
        Some(query) => format!("{query}&digest={digest}"),
    };
    url.set_query(Some(&query));
    url
}

/// The next page, by `Link: <…>; rel="next"` (RFC 8288), on the origin of the
/// request whatever the link says: only path and query of it are used.
pub(super) fn next_page(from: &Url, headers: &HeaderMap) -> Result<Option<Url>, Failure> {
    let links = headers.get_all(LINK).into_iter();
    let links = links.filter_map(|value| value.to_str().ok());
    let Some(target) = links
        .flat_map(parse_links)
        .find_map(|(target, next)| next.then_some(target))
    else {
        return Ok(None);
    };
    let malformed = |why: &str| {
        let text = format!("the link to the next page {why}");
        Failure::new(ErrorKind::Malformed, text)
    };
    if target.len() > LINK_LENGTH {
        return Err(malformed(&format!("is longer than {LINK_LENGTH} bytes")));
    }
    let link = from.join(target).map_err(|_| malformed("is no URL"))?;
    let mut url = from.clone();
    url.set_path(link.path());
    url.set_query(link.query());
    Ok(Some(url))
}

/// Every link of a header value, and whether it leads to the next page.
fn parse_links(value: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, parameters)) = after.split_once('>') else {
            break;
        };
        let end = parameters.find('<').unwrap_or(parameters.len());
        let (own, others) = parameters.split_at(end);
        let next = own.split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else {
                return false;
            };
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .split_ascii_whitespace()
                    .any(|kind| kind.eq_ignore_ascii_case("next"))
        });
        found.push((target, next));
        rest = others;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn resolved(from: &str, location: &str) -> Option<String> {
        resolve(&from.parse().unwrap(), location)
            .ok()
            .map(Into::into)
    }

    #[test]
    fn c3_locations_are_followed_but_never_out_of_tls() {
        let from = "https://r.io/v2/a/blobs/uploads/";
        for (location, want) in [
            (
                "/v2/a/blobs/uploads/1?s=x%2Fy",
                Some("https://r.io/v2/a/blobs/uploads/1?s=x%2Fy"),
            ),
            ("1", Some("https://r.io/v2/a/blobs/uploads/1")),
            (
                "https://s.io/u?sig=a%3D&b",
                Some("https://s.io/u?sig=a%3D&b"),
            ),
            ("//s.io/u#f", Some("https://s.io/u")),
            ("http://r.io/u", Some("https://r.io/u")),
            ("http://r.io:8080/u", None),
            ("http://s.io/u", None),
            ("https://u:p@r.io/u", None),
            ("file:///etc/passwd", None),
            ("ftp://r.io/", None),
            ("https://", None),
        ] {
            assert_eq!(resolved(from, location).as_deref(), want, "{location}");
        }
        let from = "https://r.io:5000/v2/";
        assert_eq!(
            resolved(from, "http://r.io:5000/u").as_deref(),
            Some("https://r.io:5000/u")
        );
        let from = "http://r.io/v2/";
        assert_eq!(
            resolved(from, "http://s.io/u").as_deref(),
            Some("http://s.io/u")
        );
    }

    #[test]
    fn c2_the_digest_joins_whatever_query_there_is() {
        let digest = Digest::sha256(b"");
        for (session, before) in [
            ("https://r.io/u", "https://r.io/u?"),
            ("https://r.io/u?", "https://r.io/u?"),
            (
                "https://r.io/u?_state=a%2Bb%3D&x",
                "https://r.io/u?_state=a%2Bb%3D&x&",
            ),
        ] {
            let url = closing(&session.parse().unwrap(), &digest);
            assert_eq!(url.as_str(), format!("{before}digest={digest}"));
        }
    }

    #[test]
    fn e2_the_next_page_is_found_and_stays_on_the_registry() {
        let from = "https://r.io/v2/a/tags/list?n=2".parse().unwrap();
        for (links, want) in [
            (
                &[r#"</v2/a/tags/list?last=b&n=2>; rel="next""#][..],
                Some("/v2/a/tags/list?last=b&n=2"),
            ),
            (&["<?last=b>;rel=next"], Some("/v2/a/tags/list?last=b")),
            (
                &[r#"<https://r.io/v2/x?y=1,2;3>; title="a"; REL="next""#],
                Some("/v2/x?y=1,2;3"),
            ),
            (
                &["<http://169.254.169.254/latest>; rel=next"],
                Some("/latest"),
            ),
            (&[r#"</p>; rel="prev", </n>; rel="first next""#], Some("/n")),
            (&["</p>; rel=prev", "</n>; rel=next"], Some("/n")),
            (&["</p>; rel=prev"], None),
            (&["</p"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for link in links {
                headers.append(LINK, HeaderValue::from_static(link));
            }
            let next = next_page(&from, &headers).unwrap().map(String::from);
            let want = want.map(|path| format!("https://r.io{path}"));
            assert_eq!(next, want, "{links:?}");
        }
        for link in [
            "<http://[>; rel=next",
            &format!("<?{}>; rel=next", "x".repeat(9000)),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(LINK, HeaderValue::from_str(link).unwrap());
            assert!(next_page(&from, &headers).is_err(), "{link}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text: String) {
            parse_links(&text);
            let _ = resolve(&"https://r.io/".parse().unwrap(), &text);
        }
    }
}
