//! regmirror keeps container-registry mirrors in step with their sources.
//!
//! # The rooms
//!
//! | room | what it is | may use |
//! |---|---|---|
//! | [`oci`] | values of the OCI specifications | |
//! | [`store`] | the seam: what can be read from and written to | `oci` |
//! | [`layout`] | OCI image layouts on disk, `ocidir://` | `oci` `store` |
//! | [`http`] | one HTTP client for all registries: TLS, retry, limits | |
//! | [`registry`] | the distribution-spec client | `oci` `store` `http` `process` |
//! | [`select`] | tag and repository filters | `oci` |
//! | `process` | other programs, stopped with all that they have started | |
//! | [`annotation`] | findings beside a file's lines, as CI systems show them | |
//! | `nearest` | the name that was likely meant | |
//! | [`schedule`] | when a job is due: intervals and cron's expressions | `nearest` |
//! | [`template`] | the part of Go's templates that regsync's files use | `nearest` |
//! | [`sync`] | jobs: plan, then apply. Never names a backend | `oci` `select` `store` `template` `process` |
//! | [`config`] | YAML to jobs | `oci` `select` `http` `schedule` `sync` `template` `nearest` `annotation` |
//! | [`report`] | what runs did, for programs: JSON and its schema, GitHub, GitLab | `oci` `select` `store` `sync` `annotation` |
//! | [`daemon`] | runs jobs when they are due; reload; shows itself over HTTP | `config` `report` `schedule` `sync` `telemetry` |
//! | [`embedded`] | the embedded registry: a server over a store | `oci` `store` |
//! | [`telemetry`] | logs, metrics | |
//! | [`app`] | the composition root: which store an endpoint means | all above |
//! | [`cli`] | commands, output, exit codes | `app` `config` `daemon` `report` `schedule` `sync` `annotation` `telemetry` |
//!
//! `tests/it/layers.rs` holds this table and fails when a room uses another.

pub mod annotation;
pub mod app;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod embedded;
pub mod http;
pub mod layout;
mod nearest;
pub mod oci;
mod process;
pub mod registry;
pub mod report;
pub mod schedule;
pub mod select;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod template;
