//! What the tests share: registries with a request log, images.

pub(crate) mod images;
pub(crate) mod recorded;
