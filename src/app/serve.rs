//! Serving the embedded registry.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::embedded::{self, Options};
use crate::layout::LayoutStore;
use crate::store::{Hosted, MemoryStore};

/// What an embedded registry serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// What is pushed to it, gone when it ends.
    Memory,
    /// A directory with an OCI image layout for each repository.
    Directory(PathBuf),
}

/// Serves `content` on `listener` until `shutdown` ends.
///
/// # Errors
///
/// When connections cannot be accepted any more.
pub async fn serve_registry(
    content: Content,
    read_only: bool,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let store: Arc<dyn Hosted> = match content {
        Content::Memory => Arc::new(MemoryStore::new("memory")),
        Content::Directory(path) => Arc::new(LayoutStore::new(path)),
    };
    let router = embedded::router(store, Options::default().read_only(read_only));
    embedded::serve(listener, router, shutdown).await
}
