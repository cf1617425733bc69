//! Descriptors: typed pointers to content.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Digest, MediaType, Platform};

/// Key–value pairs of a document or a descriptor.
pub type Annotations = BTreeMap<String, String>;

/// A pointer to content: what it is, its digest and its exact size.
///
/// Source: OCI image-spec 1.1, `descriptor.md#properties`. A negative or
/// fractional size, a doubled member and a digest that cannot be verified are
/// refused when parsing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// The content's digest.
    pub digest: Digest,
    /// The content's length in bytes. A hard bound: zero means zero.
    pub size: u64,
    /// Other places that hold the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Annotations of this use of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// The content itself, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the image runs on; only in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of the artifact that the content is the manifest of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with the three members that every descriptor has.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: None,
            annotations: None,
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// The descriptor of `bytes`, by SHA-256.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// The descriptor of `{}`, which stands where a manifest needs a config
    /// or a layer and there is none: OCI image-spec 1.1,
    /// `manifest.md#guidance-for-an-empty-descriptor`.
    pub fn empty() -> Self {
        Self::of(MediaType::OCI_EMPTY, b"{}")
    }

    /// The content that the descriptor brings along in `data`, verified.
    ///
    /// # Errors
    ///
    /// When it is not what digest and size say, which OCI image-spec 1.1,
    /// `descriptor.md`, forbids: a client that trusts it would be misled.
    pub fn embedded(&self) -> Result<Option<Bytes>, DataError> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        let bytes = BASE64_STANDARD.decode(data).map_err(DataError::Base64)?;
        if bytes.len() as u64 != self.size {
            return Err(DataError::Size {
                seen: bytes.len(),
                expected: self.size,
            });
        }
        match self.digest.matches(&bytes) {
            true => Ok(Some(bytes.into())),
            false => Err(DataError::Digest(self.digest.clone())),
        }
    }

    /// An annotation of this descriptor.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// A `data` member that is not the content it stands for.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Not base64.
    #[error("its descriptor's data is no base64: {0}")]
    Base64(#[source] base64::DecodeError),
    /// Of another length.
    #[error("its descriptor's data has {seen} bytes, while the size is {expected}")]
    Size {
        /// How long it is.
        seen: usize,
        /// How long the content is.
        expected: u64,
    },
    /// Other content.
    #[error("its descriptor's data has another digest than {0}")]
    Digest(Digest),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_are_none_are_refused() {
        let digest = Digest::sha256(b"");
        for size in [
            "-1",
            "1.5",
            "1e400",
            "\"3\"",
            "null",
            "18446744073709551616",
        ] {
            let json = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#);
            assert!(serde_json::from_str::<Descriptor>(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn a6_a_doubled_member_is_refused() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let json = format!(r#"{{"mediaType":"a/b","digest":"{a}","size":1,"digest":"{b}"}}"#);
        let error = serde_json::from_str::<Descriptor>(&json).unwrap_err();
        assert!(error.to_string().contains("duplicate field"), "{error}");
    }

    #[test]
    fn b15_data_is_taken_only_if_digest_and_size_match() {
        let with = |data: &str, size| Descriptor {
            data: Some(data.to_owned()),
            size,
            ..Descriptor::empty()
        };
        assert_eq!(with("e30=", 2).embedded().unwrap().unwrap(), "{}");
        assert_eq!(Descriptor::empty().embedded().unwrap(), None);
        for (data, size, words) in [
            ("e30=", 3, "has 2 bytes, while the size is 3"),
            ("e31=", 2, "no base64"),
            ("W10=", 2, "another digest"),
            ("{}", 2, "no base64"),
            ("", 0, "another digest"),
        ] {
            let error = with(data, size).embedded().unwrap_err();
            assert!(error.to_string().contains(words), "{data}: {error}");
        }
    }

    #[test]
    fn h8_the_empty_descriptor_is_the_spec_s() {
        let empty = Descriptor::empty();
        assert_eq!(
            (empty.digest.as_str(), empty.size),
            (
                "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                2
            )
        );
    }
}
