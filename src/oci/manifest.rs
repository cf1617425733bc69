//! Manifests: the documents that tie an image together.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Annotations, Descriptor, Digest, MediaType};

/// A manifest: its exact bytes, and what they say.
///
/// The bytes are never re-encoded: what goes to a target is what came from the
/// source, so the digest stays. Source: OCI image-spec 1.1, `manifest.md`,
/// `image-index.md`; Docker image manifest version 2, schema 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    bytes: Bytes,
    digest: Digest,
    media_type: MediaType,
    content: Content,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<Annotations>,
}

/// What a manifest points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One image or artifact: a config and layers.
    Image {
        /// The configuration; for an artifact its type tells what it is.
        config: Box<Descriptor>,
        /// The layers, lowest first.
        layers: Vec<Descriptor>,
    },
    /// Several manifests, which may be indexes themselves.
    Index {
        /// The children.
        manifests: Vec<Descriptor>,
    },
    /// The 1.1 release candidates' artifact: blobs and no config.
    Artifact {
        /// The blobs.
        blobs: Vec<Descriptor>,
    },
}

/// The longest manifest that is read, in bytes: twice what registries have to
/// accept (OCI distribution-spec 1.1, "Pushing Manifests").
pub const MAX_MANIFEST_SIZE: usize = 8 << 20;

/// The names of the members that decide anything, in a manifest and in its
/// descriptors.
const MEMBERS: [&str; 15] = [
    "annotations",
    "artifactType",
    "blobs",
    "config",
    "data",
    "digest",
    "fsLayers",
    "layers",
    "manifests",
    "mediaType",
    "platform",
    "schemaVersion",
    "size",
    "subject",
    "urls",
];

/// Every member that decides anything. Members that are `null` are absent, as
/// Go writes them; a doubled member is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<Annotations>,
    fs_layers: Option<IgnoredAny>,
}

impl Manifest {
    /// Reads a manifest whose digest is not known beforehand; it is computed
    /// by SHA-256.
    ///
    /// `content_type` is the type that whoever gave the bytes said they have.
    ///
    /// # Errors
    ///
    /// When the bytes are no manifest, or do not agree with `content_type`.
    pub fn parse(bytes: Bytes, content_type: Option<&MediaType>) -> Result<Self, ManifestError> {
        let digest = Digest::sha256(&bytes);
        Self::with_digest(bytes, digest, content_type)
    }

    /// Reads a manifest that has to have the digest `expected`.
    ///
    /// # Errors
    ///
    /// As [`Manifest::parse`], and when the bytes have another digest.
    pub fn verified(
        bytes: Bytes,
        expected: &Digest,
        content_type: Option<&MediaType>,
    ) -> Result<Self, ManifestError> {
        // Schema 1 first: its digest is over something else than its bytes, and
        // "corrupt" would send the reader looking for the wrong fault.
        if content_type.is_some_and(MediaType::is_schema1) {
            return Err(ManifestError::Schema1);
        }
        let seen = Digest::of(expected.algorithm(), &bytes);
        if seen != *expected {
            return match Self::with_digest(bytes, seen.clone(), content_type) {
                Err(ManifestError::Schema1) => Err(ManifestError::Schema1),
                _ => Err(ManifestError::Digest {
                    expected: expected.clone(),
                    seen,
                }),
            };
        }
        Self::with_digest(bytes, seen, content_type)
    }

    fn with_digest(
        bytes: Bytes,
        digest: Digest,
        content_type: Option<&MediaType>,
    ) -> Result<Self, ManifestError> {
        if content_type.is_some_and(MediaType::is_schema1) {
            return Err(ManifestError::Schema1);
        }
        if bytes.len() > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let raw = read(&bytes)?;
        if raw.schema_version == Some(1)
            || raw.media_type.as_ref().is_some_and(MediaType::is_schema1)
        {
            return Err(ManifestError::Schema1);
        }
        // A document that reads as an index to one client and as an image to
        // another is an attack: CVE-2021-41190.
        let image = raw.config.is_some() || raw.layers.is_some() || raw.fs_layers.is_some();
        let kinds = [image, raw.manifests.is_some(), raw.blobs.is_some()];
        if kinds.into_iter().filter(|&is| is).count() > 1 {
            return Err(ManifestError::Ambiguous);
        }
        let media_type = declared_type(&raw, content_type)?;
        let content = if media_type.is_index() || raw.manifests.is_some() {
            if image || media_type.is_image() {
                return Err(ManifestError::Ambiguous);
            }
            Content::Index {
                manifests: raw.manifests.unwrap_or_default(),
            }
        } else if let Some(config) = raw.config {
            Content::Image {
                config: Box::new(config),
                layers: raw.layers.unwrap_or_default(),
            }
        } else if media_type == MediaType::OCI_ARTIFACT {
            Content::Artifact {
                blobs: raw.blobs.unwrap_or_default(),
            }
        } else {
            return Err(ManifestError::NoManifest);
        };
        Ok(Self {
            bytes,
            digest,
            media_type,
            content,
            subject: raw.subject,
            artifact_type: raw.artifact_type,
            annotations: raw.annotations,
        })
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The media type, which may stand in a header.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// What the manifest points at.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The manifest that this one is attached to.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The length of the bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// An annotation of the manifest itself.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The children of an index; none for an image.
    pub fn children(&self) -> &[Descriptor] {
        match &self.content {
            Content::Index { manifests } => manifests,
            Content::Image { .. } | Content::Artifact { .. } => &[],
        }
    }

    /// The blobs of an image, config first; none for an index.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, blobs): (Option<&Descriptor>, &[Descriptor]) = match &self.content {
            Content::Image { config, layers } => (Some(config), layers),
            Content::Artifact { blobs } => (None, blobs),
            Content::Index { .. } => (None, &[]),
        };
        config.into_iter().chain(blobs)
    }

    /// The descriptor of this manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size())
    }

    /// The descriptor of this manifest in a list of referrers, with
    /// `artifactType` (the config's type when the manifest has none) and
    /// annotations. Source: OCI distribution-spec 1.1, "Listing Referrers".
    pub fn referrer_descriptor(&self) -> Descriptor {
        let config_type = match &self.content {
            Content::Image { config, .. } => Some(config.media_type.to_string()),
            Content::Index { .. } | Content::Artifact { .. } => None,
        };
        let artifact_type = self.artifact_type.clone().filter(|text| !text.is_empty());
        Descriptor {
            artifact_type: artifact_type.or(config_type),
            annotations: self.annotations.clone(),
            ..self.descriptor()
        }
    }
}

/// Reads the members that decide anything, of which each program has to see
/// the same. Doubled ones are an error by themselves. A name in another case is
/// nobody to this program and the member itself to those in Go, whose JSON
/// reader takes `Digest` for `digest`: OCI image-spec 1.1, `considerations.md`.
fn read(bytes: &[u8]) -> Result<Raw, ManifestError> {
    let mut look_alike = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let raw = serde_ignored::deserialize(&mut json, |path| {
        if let serde_ignored::Path::Map { key, .. } = &path
            && let Some(member) = looks_like(key)
        {
            // It marks each optional member with a question mark.
            let path = path.to_string().replace(".?", "");
            look_alike.get_or_insert((super::digest::excerpt(&path), member));
        }
    });
    let raw = raw.map_err(ManifestError::Json)?;
    json.end().map_err(ManifestError::Json)?;
    match look_alike {
        Some((path, member)) => Err(ManifestError::LookAlike { path, member }),
        None => Ok(raw),
    }
}

/// The member that Go takes `key` for, although it has another name.
fn looks_like(key: &str) -> Option<&'static str> {
    let fold = |text: &str| -> String {
        let folded = text.chars().map(|c| match c {
            // The only letters beyond ASCII that fold to one of ASCII.
            'ſ' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        });
        folded.collect()
    };
    let key = (key.len() <= 64).then(|| (key, fold(key)))?;
    MEMBERS
        .into_iter()
        .find(|member| *member != key.0 && fold(member) == key.1)
}

/// The document's own `mediaType`, which has to agree with what was announced.
fn declared_type(raw: &Raw, content_type: Option<&MediaType>) -> Result<MediaType, ManifestError> {
    // Servers that do not know better announce bytes or plain JSON.
    let announced = content_type.filter(|announced| {
        !matches!(
            announced.as_str(),
            "" | "application/octet-stream" | "application/json" | "text/plain"
        )
    });
    let media_type = match (&raw.media_type, announced) {
        (Some(own), Some(announced)) if own != announced => {
            return Err(ManifestError::TypeMismatch {
                own: own.to_string(),
                announced: announced.to_string(),
            });
        }
        (Some(own), _) => own.clone(),
        (None, Some(announced)) => announced.clone(),
        (None, None) if raw.manifests.is_some() => MediaType::OCI_INDEX,
        (None, None) => MediaType::OCI_MANIFEST,
    };
    if !media_type.is_well_formed() {
        return Err(ManifestError::BadType(super::digest::excerpt(
            media_type.as_str(),
        )));
    }
    Ok(media_type)
}

/// Bytes that are no manifest this program can copy.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or members of the wrong form.
    #[error("no valid manifest: {0}")]
    Json(#[source] serde_json::Error),
    /// Docker schema 1.
    #[error(
        "a Docker schema 1 manifest, which is not supported: push the image again with a current tool"
    )]
    Schema1,
    /// Reads as an index and as an image at once.
    #[error("reads as two kinds of manifest at once, and could be taken for either")]
    Ambiguous,
    /// Has a member whose name is another's but for upper and lower case.
    #[error(
        "programs disagree on what it says: to some its member {path:?} is {member:?}, to others nothing"
    )]
    LookAlike {
        /// Where it is.
        path: String,
        /// What it would be taken for.
        member: &'static str,
    },
    /// JSON, but neither an index nor an image.
    #[error("neither an index nor an image: it has no manifests and no config")]
    NoManifest,
    /// `mediaType` and Content-Type differ.
    #[error("its mediaType is {own:?}, but it was announced as {announced:?}")]
    TypeMismatch {
        /// The document's own type.
        own: String,
        /// The type that came with it.
        announced: String,
    },
    /// A media type that cannot stand in a header.
    #[error("its media type {0:?} is malformed")]
    BadType(String),
    /// The bytes have another digest.
    #[error("expected digest {expected}, seen {seen}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        seen: Digest,
    },
    /// Longer than [`MAX_MANIFEST_SIZE`].
    #[error("{0} bytes long, more than the {MAX_MANIFEST_SIZE} that are read")]
    TooLarge(usize),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(document: &serde_json::Value) -> Result<Manifest, ManifestError> {
        Manifest::parse(document.to_string().into(), None)
    }

    fn layer(text: &str) -> Descriptor {
        Descriptor::of(MediaType::OCI_LAYER_GZIP, text.as_bytes())
    }

    fn image() -> serde_json::Value {
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": Descriptor::empty(),
            "layers": [layer("a"), layer("b")],
        })
    }

    #[test]
    fn an_image_lists_its_config_and_layers() {
        let manifest = parse(&image()).unwrap();
        let blobs: Vec<_> = manifest.blobs().cloned().collect();
        assert_eq!(blobs, [Descriptor::empty(), layer("a"), layer("b")]);
        assert!(manifest.children().is_empty());
        assert_eq!(manifest.media_type(), &MediaType::OCI_MANIFEST);
    }

    #[test]
    fn h2_bytes_are_kept_as_they_came() {
        let odd = format!(" {}\n\n", serde_json::to_string_pretty(&image()).unwrap());
        let manifest = Manifest::parse(odd.clone().into(), None).unwrap();
        assert_eq!(manifest.bytes(), odd.as_bytes());
        assert_eq!(manifest.digest(), &Digest::sha256(odd.as_bytes()));
    }

    #[test]
    fn the_type_comes_from_the_document_then_the_header_then_the_form() {
        let bare = json!({"schemaVersion": 2, "manifests": []});
        assert_eq!(parse(&bare).unwrap().media_type(), &MediaType::OCI_INDEX);
        let listed =
            Manifest::parse(bare.to_string().into(), Some(&MediaType::DOCKER_LIST)).unwrap();
        assert_eq!(listed.media_type(), &MediaType::DOCKER_LIST);
        let unsure = MediaType::new("application/json; charset=utf-8");
        let listed = Manifest::parse(bare.to_string().into(), Some(&unsure)).unwrap();
        assert_eq!(listed.media_type(), &MediaType::OCI_INDEX);
        let own = Manifest::parse(image().to_string().into(), Some(&MediaType::OCI_INDEX));
        assert!(
            matches!(own, Err(ManifestError::TypeMismatch { .. })),
            "{own:?}"
        );
    }

    #[test]
    fn null_members_are_absent_members() {
        let go = json!({"schemaVersion": 2, "manifests": null, "config": Descriptor::empty(),
            "layers": null, "annotations": null, "subject": null});
        assert_eq!(parse(&go).unwrap().blobs().count(), 1);
    }

    #[test]
    fn a6_an_image_that_is_an_index_too_is_refused() {
        let mut both = image();
        both["manifests"] = json!([]);
        assert!(matches!(parse(&both), Err(ManifestError::Ambiguous)));
        let typed = json!({"schemaVersion": 2, "manifests": [],
            "mediaType": "application/vnd.oci.image.manifest.v1+json"});
        assert!(matches!(parse(&typed), Err(ManifestError::Ambiguous)));
        let mut blobs = image();
        blobs["blobs"] = json!([layer("c")]);
        assert!(matches!(parse(&blobs), Err(ManifestError::Ambiguous)));
        let fs_layers = json!({"schemaVersion": 2, "manifests": [], "fsLayers": []});
        assert!(matches!(parse(&fs_layers), Err(ManifestError::Ambiguous)));
    }

    /// `text` with the member `name` of the object that begins with `object`
    /// written twice, the second time under the name `again`.
    fn twice(text: &str, object: &str, name: &str, again: &str) -> String {
        let start = text.find(object).unwrap() + object.len() - 1;
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
        let inner: serde_json::Value = values.next().unwrap().unwrap();
        let value = inner.get(name).expect("a member to double");
        format!(
            "{}{again:?}:{value},{}",
            &text[..=start],
            &text[start + 1..]
        )
    }

    #[test]
    fn a6_doubled_members_are_refused() {
        let mut signed = image();
        signed["subject"] = json!(layer("subject"));
        let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX,
            "manifests": [layer("child")]});
        let artifact = json!({"mediaType": MediaType::OCI_ARTIFACT, "blobs": [layer("blob")]});
        for (document, object, names) in [
            (
                &signed,
                "{",
                &["schemaVersion", "mediaType", "config", "layers", "subject"][..],
            ),
            (&signed, "\"config\":{", &["mediaType", "digest", "size"]),
            (&signed, "\"layers\":[{", &["mediaType", "digest", "size"]),
            (&signed, "\"subject\":{", &["mediaType", "digest", "size"]),
            (&index, "{", &["manifests", "mediaType"]),
            (&index, "\"manifests\":[{", &["mediaType", "digest", "size"]),
            (&artifact, "{", &["blobs"]),
            (&artifact, "\"blobs\":[{", &["digest", "size"]),
        ] {
            let text = document.to_string();
            for name in names {
                let doubled = Manifest::parse(twice(&text, object, name, name).into(), None);
                let error = doubled.expect_err(name).to_string();
                assert!(
                    error.contains(&format!("duplicate field `{name}`")),
                    "{object} {name}: {error}"
                );
                // Other JSON readers take these for the same member.
                let upper = name.to_uppercase();
                let long_s = name.replace('s', "ſ");
                for again in [&upper, &long_s].into_iter().filter(|again| again != name) {
                    let text = twice(&text, object, name, again);
                    let error = Manifest::parse(text.into(), None).expect_err(again);
                    assert!(
                        matches!(&error, ManifestError::LookAlike { member, .. } if member == name),
                        "{object} {again}: {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn a6_names_that_only_resemble_are_no_look_alikes() {
        let mut document = image();
        document["annotations"] = json!({"Digest": "x", "digest": "y"});
        document["x-vendor"] = json!({"Size": 1, "Layers": []});
        document["layer"] = json!([]);
        assert!(parse(&document).is_ok());
        document["Annotations"] = json!({});
        let error = parse(&document).unwrap_err();
        assert_eq!(
            error.to_string(),
            "programs disagree on what it says: to some its member \"Annotations\" is \
             \"annotations\", to others nothing"
        );
    }

    #[test]
    fn a6_nothing_may_follow_the_document() {
        let text = format!("{} {{}}", image());
        let result = Manifest::parse(text.into(), None);
        assert!(matches!(result, Err(ManifestError::Json(_))), "{result:?}");
    }

    #[test]
    fn h7_schema_1_is_told_apart_from_corruption() {
        let text = json!({"schemaVersion": 1, "name": "x", "fsLayers": [], "signatures": []});
        assert!(matches!(parse(&text), Err(ManifestError::Schema1)));
        let signed = MediaType::new("application/vnd.docker.distribution.manifest.v1+prettyjws");
        let wanted = Digest::sha256(b"the canonical payload");
        for content_type in [None, Some(&signed)] {
            let result = Manifest::verified(text.to_string().into(), &wanted, content_type);
            assert!(matches!(result, Err(ManifestError::Schema1)), "{result:?}");
        }
    }

    #[test]
    fn another_digest_is_refused_with_both() {
        let wanted = Digest::sha256(b"something else");
        let error = Manifest::verified(image().to_string().into(), &wanted, None).unwrap_err();
        let seen = Digest::sha256(image().to_string().as_bytes());
        assert_eq!(
            error.to_string(),
            format!("expected digest {wanted}, seen {seen}")
        );
    }

    #[test]
    fn a_sha512_digest_is_kept() {
        let text = image().to_string();
        let wanted = Digest::of(super::super::Algorithm::Sha512, text.as_bytes());
        let manifest = Manifest::verified(text.into(), &wanted, None).unwrap();
        assert_eq!(manifest.descriptor().digest, wanted);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for document in [
            json!({}),
            json!({"schemaVersion": 2}),
            json!({"layers": []}),
        ] {
            assert!(
                matches!(parse(&document), Err(ManifestError::NoManifest)),
                "{document}"
            );
        }
        for text in ["", "{", "[]", "null", "{\"schemaVersion\":2,\"config\":3}"] {
            let result = Manifest::parse(text.into(), None);
            assert!(
                matches!(result, Err(ManifestError::Json(_))),
                "{text}: {result:?}"
            );
        }
    }

    #[test]
    fn a_referrer_s_artifact_type_falls_back_to_its_config_s() {
        let mut document = image();
        document["annotations"] = json!({"k": "v"});
        let by_config = parse(&document).unwrap().referrer_descriptor();
        assert_eq!(
            by_config.artifact_type.as_deref(),
            Some(MediaType::OCI_EMPTY.as_str())
        );
        assert_eq!(by_config.annotation("k"), Some("v"));
        document["artifactType"] = json!("application/vnd.example.sbom");
        let own = parse(&document).unwrap().referrer_descriptor();
        assert_eq!(
            own.artifact_type.as_deref(),
            Some("application/vnd.example.sbom")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = Manifest::parse(bytes.into(), None);
        }

        #[test]
        fn a_damaged_manifest_never_panics(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = image().to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Manifest::parse(bytes.into(), Some(&MediaType::OCI_MANIFEST));
        }

        #[test]
        fn a_truncated_manifest_is_refused(cut in any::<prop::sample::Index>()) {
            let mut bytes = image().to_string().into_bytes();
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(Manifest::parse(bytes.into(), None).is_err());
        }
    }
}
