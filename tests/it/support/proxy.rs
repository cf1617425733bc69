//! A proxy that leads everything to one place.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A proxy for HTTP, by forwarding and by CONNECT, to whom every name is the
/// same address. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct TestProxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl TestProxy {
    /// A proxy to whom every name is `target`.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (target, log) = (target.to_owned(), Arc::clone(&asked));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, target.clone(), Arc::clone(&log)));
            }
        });
        Self {
            address,
            asked,
            _server: server,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The head of the first request of each connection.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panics").clone()
    }
}

async fn forward(mut client: TcpStream, target: String, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let tunnel = text.starts_with("CONNECT ");
    log.lock().expect("no panics").push(text);
    let mut server = TcpStream::connect(target).await.expect("it is there");
    let said = match tunnel {
        true => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await,
        false => server.write_all(&head).await,
    };
    if said.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
