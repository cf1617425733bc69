//! `regmirror registry serve`: the embedded registry.

use tokio::net::TcpListener;

use super::args::Serve;
use super::exit::Exit;
use super::output;
use super::stop::Signals;
use crate::app::{Content, serve_registry};

pub(super) async fn run(arguments: &Serve) -> Exit {
    let content = arguments.content();
    if let Content::Directory(dir) = &content
        && !dir.is_dir()
    {
        output::error(&format!("{} is no directory: make it first", dir.display()));
        return Exit::Failed;
    }
    let listener = match TcpListener::bind(arguments.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            output::error(&format!(
                "could not listen on {}: {error}",
                arguments.listen
            ));
            return Exit::Failed;
        }
    };
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let address = listener.local_addr().unwrap_or(arguments.listen);
    output::print(&format!("serving a registry on http://{address}\n"));
    let stop = signals.stop.token.clone();
    let served = serve_registry(content, arguments.read_only, listener, async move {
        stop.cancelled().await;
    });
    match served.await {
        Ok(()) => Exit::Success,
        Err(error) => {
            output::error(&format!("the registry ended: {error}"));
            Exit::Failed
        }
    }
}
