//! Values of the OCI specifications: names, digests, descriptors, manifests.
//!
//! No input or output, nothing asynchronous. What is parsed here is safe to
//! build a URL, a path or a header from.

mod descriptor;
mod digest;
mod draft;
mod manifest;
mod media_type;
mod name;
mod platform;
mod reference;
mod referrers;

pub use descriptor::{Annotations, DataError, Descriptor};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use draft::Draft;
pub use manifest::{Content, MAX_MANIFEST_SIZE, Manifest, ManifestError};
pub use media_type::MediaType;
pub use name::{Host, NameError, Repository, Tag};
pub use platform::{Platform, PlatformError};
pub use reference::{Location, Reference, ReferenceError, TagOrDigest};
pub use referrers::{
    fallback_tag, is_about_image, is_digest_tag, is_fallback_tag, referrers_index, with_children,
    with_referrer, without_referrer,
};
