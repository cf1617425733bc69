//! `regmirror version`: what this program is.

use super::args::{TableOrJson, VersionArgs};
use super::exit::Exit;
use super::output;
use crate::report::{Line, SCHEMA_VERSION, Version};

/// What this program is.
pub(super) fn version() -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: env!("REGMIRROR_REVISION").to_owned(),
        rustc_version: env!("REGMIRROR_RUSTC").to_owned(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        schema_version: SCHEMA_VERSION,
    }
}

pub(super) fn run(arguments: &VersionArgs) -> Exit {
    let version = version();
    output::print(&match arguments.output {
        TableOrJson::Json => Line::Version(version).document(),
        TableOrJson::Table => format!(
            "regmirror {}\nrevision   {}\ncompiler   {}\ntarget     {}\nreports    schema version {}\n",
            version.version,
            version.revision,
            version.rustc_version,
            version.target,
            version.schema_version
        ),
    });
    Exit::Success
}
