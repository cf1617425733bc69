//! TLS before a test registry, with certificates made for the test.

use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A certificate and its key, as PEM text.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A CA that nobody knows.
#[derive(Debug)]
pub(crate) struct Ca {
    /// Its certificate, as PEM text.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for 127.0.0.1 and localhost.
    pub(crate) fn server(&self) -> Pair {
        self.issue(&["127.0.0.1", "localhost"], |_| {})
    }

    /// A certificate for another host.
    pub(crate) fn server_called(&self, name: &str) -> Pair {
        self.issue(&[name], |_| {})
    }

    /// A certificate whose time is over.
    pub(crate) fn expired(&self) -> Pair {
        self.issue(&["127.0.0.1"], |params| {
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    /// A certificate to show to servers.
    pub(crate) fn client(&self) -> Pair {
        self.issue(&[], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = params(names, change)
            .signed_by(&key, &self.issuer)
            .expect("a certificate");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What `openssl req -x509` makes: a CA's certificate that a server shows as
/// its own.
pub(crate) fn self_signed(names: &[&str]) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let certificate = params(names, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let certificate = certificate.self_signed(&key).expect("a certificate");
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

fn params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    change(&mut params);
    params
}

/// How a connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// TLS, and no client certificate.
    Anonymous,
    /// TLS, with a client certificate.
    Known,
    /// No TLS, or none that both agreed on.
    Refused,
}

/// What a front wants to see of its clients.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wants<'a> {
    Nothing,
    /// It asks for a certificate of this CA and does without.
    Maybe(&'a Ca),
    /// It talks only to those who show one of this CA.
    Certificate(&'a Ca),
}

/// An address that speaks TLS and hands on what is said to the one behind it.
/// It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct TlsFront {
    address: String,
    greetings: Arc<Mutex<Vec<Greeting>>>,
    _server: JoinSet<()>,
}

impl TlsFront {
    /// Before `behind`, showing `pair`.
    pub(crate) async fn start(behind: &str, pair: &Pair, wants: Wants<'_>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config(pair, wants)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let greetings: Arc<Mutex<Vec<Greeting>>> = Arc::default();
        let (behind, log) = (behind.to_owned(), Arc::clone(&greetings));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (behind, log) = (behind.clone(), Arc::clone(&log));
                connections.spawn(talk(acceptor.clone(), client, behind, log));
            }
        });
        Self {
            address,
            greetings,
            _server: server,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How each connection began, in that order.
    pub(crate) fn greetings(&self) -> Vec<Greeting> {
        self.greetings.lock().expect("no panics").clone()
    }
}

async fn talk(
    acceptor: TlsAcceptor,
    client: TcpStream,
    behind: String,
    log: Arc<Mutex<Vec<Greeting>>>,
) {
    let greet = |greeting| log.lock().expect("no panics").push(greeting);
    let mut client = match acceptor.accept(client).into_fallible().await {
        Ok(client) => client,
        Err((_, mut client)) => {
            greet(Greeting::Refused);
            // Closed with something unread, the connection would be reset, and
            // the alert that says why be lost.
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
            return;
        }
    };
    greet(match client.get_ref().1.peer_certificates() {
        Some(_) => Greeting::Known,
        None => Greeting::Anonymous,
    });
    let mut server = TcpStream::connect(behind).await.expect("it is there");
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

fn config(pair: &Pair, wants: Wants<'_>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("usual versions");
    let verifier = |ca: &Ca| {
        let mut roots = RootCertStore::empty();
        roots.add(pem(&ca.pem)).expect("a CA");
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
    };
    let builder = match wants {
        Wants::Nothing => builder.with_no_client_auth(),
        Wants::Maybe(ca) => {
            let verifier = verifier(ca).allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
        Wants::Certificate(ca) => {
            builder.with_client_cert_verifier(verifier(ca).build().expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    builder
        .with_single_cert(vec![pem(&pair.certificate)], key)
        .expect("a pair")
}

fn pem<T: PemObject>(text: &str) -> T {
    T::from_pem_slice(text.as_bytes()).expect("PEM text")
}
