//! Writing to a registry.
