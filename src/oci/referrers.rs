//! The referrers tag schema: how referrers are listed where there is no API.
//!
//! Source: OCI distribution-spec 1.1, "Referrers Tag Schema".

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Descriptor, Digest, Manifest, MediaType, Tag};

/// The tag that holds the list of `subject`'s referrers: the algorithm and the
/// first 64 hex digits.
pub fn fallback_tag(subject: &Digest) -> Tag {
    format!("{}-{}", subject.algorithm().name(), &subject.hex()[..64])
        .parse()
        .expect("an algorithm, a dash and 64 hex digits are a tag")
}

/// Whether `tag` has the form that [`fallback_tag`] gives.
pub fn is_fallback_tag(tag: &Tag) -> bool {
    after_digest(tag) == Some("")
}

/// Whether `tag` is about an image, as [`is_digest_tag`] has it.
pub fn is_about_image(tag: &Tag) -> bool {
    after_digest(tag).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// What follows the digest that a tag begins with, if it begins with one.
fn after_digest(tag: &Tag) -> Option<&str> {
    let (algorithm, rest) = tag.as_str().split_once('-')?;
    let (hex, rest) = rest.split_at_checked(64)?;
    let is_digest = matches!(algorithm, "sha256" | "sha512")
        && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then_some(rest)
}

/// Whether `tag` is about the manifest `subject`: its fallback tag, or that with
/// an ending, as cosign's `sha256-….sig`, `.att` and `.sbom` are.
pub fn is_digest_tag(tag: &Tag, subject: &Digest) -> bool {
    let rest = tag.as_str().strip_prefix(fallback_tag(subject).as_str());
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// The index `index` without the children that `keep` does not want; `None` when
/// it is none. Whatever else it holds stays as it is.
pub fn with_children(index: &Manifest, keep: impl Fn(&Digest) -> bool) -> Option<Bytes> {
    let wanted = |entry: &Value| {
        let digest = entry["digest"]
            .as_str()
            .and_then(|digest| digest.parse().ok());
        digest.is_some_and(|digest| keep(&digest))
    };
    edit(index, |entries| entries.retain(wanted))
}

/// An index that lists `referrers`, as the referrers API answers it.
pub fn referrers_index(referrers: &[Descriptor]) -> Bytes {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": referrers,
    });
    document.to_string().into()
}

/// The list of referrers with `added` in it, or `None` if it was there.
///
/// `list` is what the fallback tag points at now. Whatever else it holds stays
/// as it is, members unknown here included.
pub fn with_referrer(list: Option<&Manifest>, added: &Descriptor) -> Option<Bytes> {
    let Some(list) = list else {
        return Some(referrers_index(std::slice::from_ref(added)));
    };
    if list
        .children()
        .iter()
        .any(|known| known.digest == added.digest)
    {
        return None;
    }
    edit(list, |entries| entries.push(json!(added)))
}

/// The list of referrers without `removed`, or `None` if it was not there.
pub fn without_referrer(list: &Manifest, removed: &Digest) -> Option<Bytes> {
    if !list.children().iter().any(|known| known.digest == *removed) {
        return None;
    }
    edit(list, |entries| {
        entries.retain(|entry| entry["digest"] != removed.as_str());
    })
}

fn edit(list: &Manifest, change: impl FnOnce(&mut Vec<Value>)) -> Option<Bytes> {
    let mut document: Value = serde_json::from_slice(list.bytes()).ok()?;
    let entries = document.get_mut("manifests")?.as_array_mut()?;
    change(entries);
    Some(document.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn e10_the_tag_is_cut_to_64_digits() {
        let short = Digest::sha256(b"x");
        assert_eq!(
            fallback_tag(&short).as_str(),
            format!("sha256-{}", short.hex())
        );
        let long = Digest::of(Algorithm::Sha512, b"x");
        let tag = fallback_tag(&long);
        assert_eq!(tag.as_str(), format!("sha512-{}", &long.hex()[..64]));
        assert!(is_fallback_tag(&tag));
        for other in [
            "latest",
            "sha256-abc",
            &format!("{}.sig", fallback_tag(&short)),
        ] {
            assert!(!is_fallback_tag(&other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn e11_a_digest_tag_is_about_one_image() {
        let (one, other) = (Digest::sha256(b"x"), Digest::sha256(b"y"));
        for (ending, about) in [
            ("", true),
            (".sig", true),
            ("-x", true),
            ("_a", true),
            ("0", false),
            ("sig", false),
        ] {
            let tag: Tag = format!("{}{ending}", fallback_tag(&one)).parse().unwrap();
            assert_eq!(is_digest_tag(&tag, &one), about, "{tag}");
            assert_eq!(is_about_image(&tag), about, "{tag}");
            assert!(!is_digest_tag(&tag, &other));
        }
        assert!(!is_about_image(&"latest".parse().unwrap()));
    }

    #[test]
    fn e7_a_list_grows_and_shrinks_without_losing_what_it_does_not_know() {
        let a = Descriptor::of(MediaType::OCI_MANIFEST, b"a");
        let b = Descriptor::of(MediaType::OCI_MANIFEST, b"b");
        let odd = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "x": 1,
            "manifests": [{"mediaType": "a/b", "size": a.size, "digest": a.digest, "y": 2}]});
        let list = Manifest::parse(odd.to_string().into(), None).unwrap();
        assert_eq!(with_referrer(Some(&list), &a), None, "already there");

        let grown = with_referrer(Some(&list), &b).unwrap();
        let grown = Manifest::parse(grown, None).unwrap();
        assert_eq!(grown.children().len(), 2);
        assert!(grown.bytes().windows(5).any(|w| w == b"\"y\":2"));

        let shrunk = Manifest::parse(without_referrer(&grown, &a.digest).unwrap(), None).unwrap();
        assert_eq!(shrunk.children(), [b]);
        assert_eq!(without_referrer(&shrunk, &a.digest), None);
    }
}
