//! Reading from a registry.
