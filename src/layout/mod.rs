//! OCI image layouts on disk, `ocidir://`.
//!
//! Source: OCI image-spec 1.1, `image-layout.md`. A store is a root directory;
//! the unnamed repository is a layout at the root itself, and `a/b` is one at
//! `ROOT/a/b`. Other tools use the same directories at the same time, so what
//! is not understood here stays as it is, every file appears whole or not at
//! all, and a damaged layout is an error and never an empty one.

mod blobs;
mod dir;
mod directory;
mod incoming;
mod index;
mod manifests;
mod referrers;
mod store;
#[cfg(test)]
mod tests;
mod walk;

pub use store::LayoutStore;
