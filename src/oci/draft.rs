//! Drafts: manifests that are made here instead of received.

use serde_json::{Map, Value, json};

use super::{Descriptor, Manifest, MediaType};

/// A manifest in the making.
///
/// For what regmirror makes itself: the demo's images, tests, lists of
/// referrers. What is received is never rebuilt.
#[derive(Debug, Clone)]
pub struct Draft(Map<String, Value>);

impl Draft {
    /// An OCI image manifest: OCI image-spec 1.1, `manifest.md`.
    pub fn image(config: &Descriptor, layers: &[Descriptor]) -> Self {
        Self::new(&MediaType::OCI_MANIFEST)
            .with("config", json!(config))
            .with("layers", json!(layers))
    }

    /// An OCI artifact: an image manifest with an empty config.
    pub fn artifact(artifact_type: &str, blobs: &[Descriptor]) -> Self {
        Self::image(&Descriptor::empty(), blobs).with("artifactType", json!(artifact_type))
    }

    /// An OCI image index: OCI image-spec 1.1, `image-index.md`.
    pub fn index(manifests: &[Descriptor]) -> Self {
        Self::new(&MediaType::OCI_INDEX).with("manifests", json!(manifests))
    }

    /// The same document as Docker types it.
    #[must_use]
    pub fn docker(self) -> Self {
        let media_type = match self.0.contains_key("manifests") {
            true => MediaType::DOCKER_LIST,
            false => MediaType::DOCKER_MANIFEST,
        };
        self.with("mediaType", json!(media_type))
    }

    /// Attaches the document to another manifest.
    #[must_use]
    pub fn subject(self, subject: &Manifest) -> Self {
        self.with("subject", json!(subject.descriptor()))
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        let annotations = self.0.entry("annotations").or_insert_with(|| json!({}));
        annotations[key] = json!(value);
        self
    }

    /// The finished manifest.
    pub fn build(self) -> Manifest {
        let bytes = Value::Object(self.0).to_string();
        Manifest::parse(bytes.into(), None).expect("a draft has what a manifest needs")
    }

    fn new(media_type: &MediaType) -> Self {
        Self(Map::new())
            .with("schemaVersion", json!(2))
            .with("mediaType", json!(media_type))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_become_what_they_say() {
        let layer = Descriptor::of(MediaType::OCI_LAYER_GZIP, b"layer");
        let image = Draft::image(&Descriptor::empty(), &[layer]).build();
        assert_eq!(image.blobs().count(), 2);
        let list = Draft::index(&[image.descriptor()]).docker().build();
        assert_eq!(list.media_type(), &MediaType::DOCKER_LIST);
        assert_eq!(list.children(), [image.descriptor()]);
        let signature = Draft::artifact("application/vnd.example.signature", &[])
            .subject(&list)
            .annotation("who", "me")
            .build();
        assert_eq!(signature.subject(), Some(&list.descriptor()));
        assert_eq!(
            signature.referrer_descriptor().annotation("who"),
            Some("me")
        );
    }
}
