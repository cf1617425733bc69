//! Connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many connections there may be at once. Others wait.
const CONNECTIONS: usize = 256;

/// How long the headers of a request may take.
const HEADERS: Duration = Duration::from_secs(10);

/// How long the headers of a request may be, in bytes.
const HEADER_BYTES: usize = 64 << 10;

/// How long answers under way may take when it is over.
const GRACE: Duration = Duration::from_secs(2);

/// Serves `router` until `stop`, and then ends what is under way.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let open = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES);
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let Some((place, accepted)) = stop.run_until_cancelled(accept).await else {
            break;
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                let connection = server.serve_connection(TokioIo::new(stream), service);
                let connection = open.watch(connection);
                connections.spawn(async move {
                    // Whoever went away in the middle does not concern us.
                    let _ = connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Such as too many open files: it may pass.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let _ = tokio::time::timeout(GRACE, open.shutdown()).await;
}
