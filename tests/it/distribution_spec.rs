//! The distribution-spec, endpoint by endpoint, against the embedded registry.
