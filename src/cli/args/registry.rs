//! The arguments of `regmirror registry`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::Content;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RegistryCommand {
    /// Serve images over the distribution-spec API, until interrupted.
    ///
    /// It knows no users: whoever reaches it may push, unless it is read-only.
    Serve(Serve),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Serve {
    #[command(flatten)]
    content: ContentArgs,

    /// Where to listen.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000",
        env = "REGMIRROR_LISTEN"
    )]
    pub(in crate::cli) listen: SocketAddr,

    /// Refuse every push and deletion.
    #[arg(long, env = "REGMIRROR_READ_ONLY")]
    pub(in crate::cli) read_only: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ContentArgs {
    /// Serve the OCI image layouts in a directory, one for each repository.
    #[arg(long, value_name = "DIR", env = "REGMIRROR_DIR")]
    dir: Option<PathBuf>,

    /// Keep what is pushed in memory, until the end.
    #[arg(long, env = "REGMIRROR_MEMORY")]
    memory: bool,
}

impl Serve {
    pub(in crate::cli) fn content(&self) -> Content {
        match &self.content.dir {
            Some(dir) => Content::Directory(dir.clone()),
            None => Content::Memory,
        }
    }
}
