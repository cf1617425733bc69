//! What the tests share: registries with a request log, images.
