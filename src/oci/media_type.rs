//! Media types, and what a mirror has to know about them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type, carried unchanged whether it is known here or not.
///
/// Content of unknown types is copied like any other: OCI image-spec 1.1,
/// `considerations.md#extensibility`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

macro_rules! media_types {
    ($($name:ident = $text:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Self = Self(Cow::Borrowed($text));
        )*
    };
}

impl MediaType {
    media_types! {
        OCI_INDEX = "application/vnd.oci.image.index.v1+json", "OCI image index.";
        OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json", "OCI image manifest.";
        OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json",
            "The artifact manifest of the 1.1 release candidates, which some registries still hold.";
        OCI_CONFIG = "application/vnd.oci.image.config.v1+json", "OCI image configuration.";
        OCI_LAYER = "application/vnd.oci.image.layer.v1.tar", "OCI layer, not compressed.";
        OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip", "OCI layer, gzip.";
        OCI_EMPTY = "application/vnd.oci.empty.v1+json", "The empty descriptor's content, `{}`.";
        DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json",
            "Docker manifest list.";
        DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json",
            "Docker schema 2 manifest.";
        DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json", "Docker configuration.";
        DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "Docker layer, gzip.";
        OCTET_STREAM = "application/octet-stream", "Bytes of no stated type.";
    }

    /// A media type from a header or a document; parameters (`; charset=…`)
    /// and surrounding white space are dropped.
    pub fn new(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or_default().trim();
        Self(Cow::Owned(essence.to_owned()))
    }

    /// The media type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this names a document that points at other content.
    pub fn is_manifest(&self) -> bool {
        self.is_index() || self.is_image() || *self == Self::OCI_ARTIFACT
    }

    /// Whether this is an OCI index or a Docker manifest list.
    pub fn is_index(&self) -> bool {
        *self == Self::OCI_INDEX || *self == Self::DOCKER_LIST
    }

    /// Whether this is a manifest of one image or artifact.
    pub fn is_image(&self) -> bool {
        *self == Self::OCI_MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// Whether this is Docker's schema 1, whose digest is not over its bytes.
    pub fn is_schema1(&self) -> bool {
        matches!(
            self.as_str(),
            "application/vnd.docker.distribution.manifest.v1+json"
                | "application/vnd.docker.distribution.manifest.v1+prettyjws"
        )
    }

    /// Whether content of this type may not be passed on: foreign layers.
    ///
    /// Decided by the type alone, never by a descriptor's `urls`: OCI
    /// image-spec 1.1, `layer.md#non-distributable-layers`.
    pub fn is_nondistributable(&self) -> bool {
        let text = self.as_str();
        text.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
            || text.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
    }

    /// Whether the text is a `type/subtype` that may stand in a header
    /// (RFC 6838, section 4.2).
    pub fn is_well_formed(&self) -> bool {
        let restricted = |part: &str| {
            (1..=127).contains(&part.len())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        self.0
            .split_once('/')
            .is_some_and(|(kind, subtype)| restricted(kind) && restricted(subtype))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_dropped() {
        let parsed = MediaType::new(" application/vnd.oci.image.index.v1+json ; charset=utf-8");
        assert_eq!(parsed, MediaType::OCI_INDEX);
        assert!(parsed.is_index() && parsed.is_well_formed());
    }

    #[test]
    fn h3_foreign_layers_are_known_by_their_type() {
        for (text, foreign) in [
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                true,
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                true,
            ),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", false),
            ("application/vnd.oci.image.layer.v1.tar+zstd", false),
        ] {
            assert_eq!(
                MediaType::new(text).is_nondistributable(),
                foreign,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let parsed = MediaType::new(&text);
            let _ = (parsed.is_manifest(), parsed.is_well_formed(), parsed.is_nondistributable());
        }
    }
}
