//! `index.json`: what a layout says it holds.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::oci::{Descriptor, Digest, DigestError, MediaType, Tag};

/// The annotation that names an entry. Its grammar is wider than a tag's:
/// OCI image-spec 1.1, `annotations.md#pre-defined-annotation-keys`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The `index.json` of a layout that holds nothing yet.
pub(super) const EMPTY: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The document, edited in place: what is not understood stays as it came.
#[derive(Debug)]
pub(super) struct Index {
    document: Value,
    changed: bool,
}

/// The members that decide whether it is an index at all. Those doubled are an
/// error here, where [`Value`] would drop one of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    manifests: Option<IgnoredAny>,
}

/// Bytes that are no `index.json`.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("it is empty: it may have been lost in a crash")]
    Empty,
    #[error("no valid image index: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no image index: its {0}")]
    NoIndex(&'static str),
}

impl Index {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes
            .iter()
            .all(|byte| byte.is_ascii_whitespace() || *byte == 0)
        {
            return Err(IndexError::Empty);
        }
        let shape: Shape = serde_json::from_slice(bytes)?;
        if shape.schema_version.is_some_and(|version| version != 2) {
            return Err(IndexError::NoIndex("schemaVersion is not 2"));
        }
        if shape.media_type.is_some_and(|kind| !kind.is_index()) {
            return Err(IndexError::NoIndex("mediaType is another"));
        }
        let mut document: Value = serde_json::from_slice(bytes)?;
        match document.get_mut("manifests") {
            Some(Value::Array(_)) if shape.manifests.is_some() => {}
            // What Go writes for a list that was never filled.
            Some(absent @ Value::Null) => *absent = json!([]),
            _ => return Err(IndexError::NoIndex("manifests is no list")),
        }
        Ok(Self {
            document,
            changed: false,
        })
    }

    /// The new bytes, if anything was changed.
    pub(super) fn changed(&self) -> Option<Vec<u8>> {
        self.changed.then(|| self.document.to_string().into_bytes())
    }

    fn entries(&self) -> &[Value] {
        self.document["manifests"]
            .as_array()
            .expect("parse made sure that it is a list")
    }

    fn entries_mut(&mut self) -> &mut Vec<Value> {
        self.document["manifests"]
            .as_array_mut()
            .expect("parse made sure that it is a list")
    }

    /// The tags, sorted and each once, and the names of entries that are no
    /// tags, such as the full references that containerd writes.
    pub(super) fn tags(&self) -> (Vec<Tag>, Vec<String>) {
        let (mut tags, mut others) = (Vec::new(), Vec::new());
        for name in self.entries().iter().filter_map(ref_name) {
            match name.parse::<Tag>() {
                Ok(tag) => tags.push(tag),
                Err(_) => others.push(name.to_owned()),
            }
        }
        tags.sort();
        tags.dedup();
        (tags, others)
    }

    /// What `tag` points at. Of several entries the first counts, as for
    /// skopeo (seen with 1.9.3).
    pub(super) fn resolve(&self, tag: &Tag) -> Result<Option<Digest>, DigestError> {
        let found = self.entries().iter().find(|entry| has_tag(entry, tag));
        found
            .map(|entry| entry["digest"].as_str().unwrap_or_default().parse())
            .transpose()
    }

    /// The entries that are descriptors this program understands.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = Descriptor> {
        self.entries()
            .iter()
            .filter_map(|entry| Descriptor::deserialize(entry).ok())
    }

    /// Whether an entry points at `digest`.
    pub(super) fn lists(&self, digest: &Digest) -> bool {
        self.entries().iter().any(|entry| is_at(entry, digest))
    }

    /// The media type that an entry gives for `digest`.
    pub(super) fn media_type(&self, digest: &Digest) -> Option<MediaType> {
        let entry = self.entries().iter().find(|entry| is_at(entry, digest))?;
        entry["mediaType"].as_str().map(MediaType::new)
    }

    /// Points `tag` at `target`, in the place of the entry it had. Further
    /// entries of the tag go, so that all readers see the same.
    pub(super) fn set_tag(&mut self, tag: &Tag, target: &Descriptor) {
        let first = self.entries().iter().position(|entry| has_tag(entry, tag));
        if let Some(at) = first
            && is_at(&self.entries()[at], &target.digest)
        {
            return;
        }
        let entry = json!({
            "mediaType": target.media_type,
            "digest": target.digest,
            "size": target.size,
            "annotations": { REF_NAME: tag },
        });
        let entries = self.entries_mut();
        match first {
            Some(at) => {
                let mut position = 0;
                entries.retain(|entry| {
                    position += 1;
                    position <= at + 1 || !has_tag(entry, tag)
                });
                entries[at] = entry;
            }
            None => entries.push(entry),
        }
        self.changed = true;
    }

    /// Removes the entries of `tag`; `false` if there were none.
    pub(super) fn remove_tag(&mut self, tag: &Tag) -> bool {
        self.remove(|entry| has_tag(entry, tag))
    }

    /// Removes the entries that point at `digest`; `false` if there were none.
    pub(super) fn remove_digest(&mut self, digest: &Digest) -> bool {
        self.remove(|entry| is_at(entry, digest))
    }

    fn remove(&mut self, which: impl Fn(&Value) -> bool) -> bool {
        let entries = self.entries_mut();
        let before = entries.len();
        entries.retain(|entry| !which(entry));
        let removed = entries.len() < before;
        self.changed |= removed;
        removed
    }
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn has_tag(entry: &Value, tag: &Tag) -> bool {
    ref_name(entry) == Some(tag.as_str())
}

fn is_at(entry: &Value, digest: &Digest) -> bool {
    entry.get("digest").and_then(Value::as_str) == Some(digest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &str, name: &str) -> Value {
        let mut entry = json!(Descriptor::of(MediaType::OCI_MANIFEST, content.as_bytes()));
        entry["annotations"] = json!({ REF_NAME: name, "x": "kept" });
        entry
    }

    fn index(entries: &[Value]) -> Index {
        let document = json!({"schemaVersion": 2, "manifests": entries, "own": {"b": 1, "a": [2]}});
        Index::parse(document.to_string().as_bytes()).unwrap()
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn i1_what_is_no_index_is_refused() {
        for bytes in [
            "",
            " \n",
            "\0\0\0",
            "{",
            "{}",
            "[]",
            "null",
            r#"{"manifests":{}}"#,
            r#"{"schemaVersion":1,"manifests":[]}"#,
            r#"{"mediaType":"application/json","manifests":[]}"#,
            r#"{"manifests":[],"manifests":[]}"#,
        ] {
            assert!(
                Index::parse(bytes.as_bytes()).is_err(),
                "{bytes:?} was accepted"
            );
        }
        for bytes in [EMPTY, br#"{"schemaVersion":2,"manifests":null}"#] {
            assert!(Index::parse(bytes).is_ok());
        }
    }

    #[test]
    fn i6_only_tags_are_tags() {
        let index = index(&[
            entry("a", "b"),
            entry("a", "a"),
            entry("a", "docker.io/library/alpine:3"),
            entry("a", "../../x"),
            entry("b", "a"),
            json!("no descriptor"),
            json!({"digest": 1, "annotations": []}),
        ]);
        let (tags, others) = index.tags();
        assert_eq!(tags, [tag("a"), tag("b")]);
        assert_eq!(others, ["docker.io/library/alpine:3", "../../x"]);
        assert_eq!(
            index.resolve(&tag("a")),
            Ok(Some(Digest::sha256(b"a"))),
            "the first"
        );
    }

    #[test]
    fn edits_touch_nothing_else() {
        let odd = json!({"mediaType": "what/ever", "digest": "blake3:12", "size": -1, "y": null});
        let others = [odd.clone(), entry("o", "docker.io/o:1"), json!(7)];
        let mut index = index(&[
            odd,
            entry("a", "t"),
            others[1].clone(),
            json!(7),
            entry("b", "t"),
        ]);
        let new = Descriptor::of(MediaType::OCI_MANIFEST, b"new");
        index.set_tag(&tag("t"), &new);
        let document: Value = serde_json::from_slice(&index.changed().unwrap()).unwrap();
        assert_eq!(document["own"], json!({"b": 1, "a": [2]}));
        let entries = document["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 4, "the second entry of the tag is gone");
        assert_eq!(
            entries[1]["digest"],
            new.digest.as_str(),
            "in its old place"
        );
        assert_eq!(
            [&entries[0], &entries[2], &entries[3]],
            [&others[0], &others[1], &others[2]]
        );
    }

    #[test]
    fn setting_a_tag_to_what_it_is_changes_nothing() {
        let mut index = index(&[entry("a", "t")]);
        index.set_tag(&tag("t"), &Descriptor::of(MediaType::OCI_MANIFEST, b"a"));
        assert!(index.changed().is_none());
        assert!(!index.remove_tag(&tag("other")) && index.changed().is_none());
        assert!(index.remove_digest(&Digest::sha256(b"a")) && index.changed().is_some());
    }
}
