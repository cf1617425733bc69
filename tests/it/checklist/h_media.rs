//! Media types and what is in images.
