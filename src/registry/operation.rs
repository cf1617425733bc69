//! What requests are for, as they are counted.

/// Whether it is a registry: end-1 of the distribution-spec.
pub const PING: &str = "ping";
/// A token.
pub const TOKEN: &str = "token";
/// The repositories.
pub const CATALOG: &str = "catalog";
/// The tags of a repository.
pub const TAGS: &str = "tags";
/// A manifest.
pub const MANIFEST: &str = "manifest";
/// What refers to a manifest.
pub const REFERRERS: &str = "referrers";
/// A blob that is there.
pub const BLOB: &str = "blob";
/// A blob that is sent.
pub const UPLOAD: &str = "upload";
/// A blob that is taken over from another repository.
pub const MOUNT: &str = "mount";
