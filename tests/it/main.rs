//! The integration tests: one binary, one file for each behaviour.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod attachments;
mod auth_check;
mod bad_input;
mod browser;
mod check_command;
mod checklist;
mod command_line;
mod config_command;
mod config_errors;
mod config_reference;
mod config_rows;
mod configuration;
mod costs;
mod daemon_api;
mod daemon_load;
mod daemon_metrics;
mod deploy;
mod distribution_spec;
mod exit_codes;
mod help;
mod interop;
mod killed_runs;
mod layers;
mod memory;
mod platforms;
mod policies;
mod registry_client;
mod registry_options;
mod reports;
mod sample_files;
mod selection;
mod server_command;
mod signals;
mod soak;
mod store_conformance;
mod support;
mod sync_invariants;
mod sync_jobs;
mod terminal;
