//! The integration tests: one binary, one file for each behaviour.

mod distribution_spec;
mod registry_client;
mod store_conformance;
mod support;
