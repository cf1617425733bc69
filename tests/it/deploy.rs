//! What is in `deploy/` and the image, against the program: without a cluster.
//!
//! kubectl renders the objects, `promtool` and Prometheus take the alerts and the
//! dashboard. Where one of them is missing, its tests say that they were skipped; with
//! `REGMIRROR_REQUIRE_DEPLOY=1`, which `.ci/run` sets, that is a failure. podman runs the
//! image that `REGMIRROR_IMAGE` names.

mod alerts;
mod dashboard;
mod faults;
mod guide;
mod image;
mod manifests;
mod monitored;
mod pod;
mod rendered;
mod running;
mod workflows;

use std::path::PathBuf;

use crate::support::program::available;

/// Where it is.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// Whether these programs are there.
fn installed(programs: &[&str]) -> bool {
    available(programs, "REGMIRROR_REQUIRE_DEPLOY")
}

/// What is here belongs to this version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
