//! The embedded registry: a distribution-spec server over a store.
