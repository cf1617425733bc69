//! Whom to believe over TLS, and how to say who we are.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::{HttpError, Secret};

/// Text that holds no certificate or no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Something else than PEM.
    #[error("expected PEM text, the content of a file from -----BEGIN to -----END")]
    NotPem,
    /// PEM, but not of a certificate.
    #[error("certificate {number} in the PEM text cannot be read: {cause}")]
    Certificate {
        /// Which, from 1.
        number: usize,
        /// Why.
        cause: String,
    },
    /// PEM, but not of a key that can be used.
    #[error("expected a private key of RSA, ECDSA or Ed25519, not encrypted")]
    Key,
    /// A certificate and a key that have nothing to do with each other.
    #[error("the key does not belong to the certificate")]
    Mismatch,
}

/// Certificates, such as those of CAs. Each could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates(Arc<[CertificateDer<'static>]>);

impl Certificates {
    /// All certificates of a PEM text.
    ///
    /// # Errors
    ///
    /// When there is none, or one that cannot be read.
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let number = certificates.len() + 1;
            let broken = |cause: String| PemError::Certificate { number, cause };
            let certificate = certificate.map_err(|error| broken(error.to_string()))?;
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|error| broken(error.to_string()))?;
            certificates.push(certificate);
        }
        match certificates.is_empty() {
            true => Err(PemError::NotPem),
            false => Ok(Self(certificates.into())),
        }
    }
}

/// A client certificate with its key, for hosts that want one.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    chain: Certificates,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// The certificate, those of its issuers after it, and the key's PEM text.
    ///
    /// # Errors
    ///
    /// When the text holds no key, or the key of another certificate.
    pub fn new(chain: Certificates, key: &Secret) -> Result<Self, PemError> {
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| match key
            .expose()
            .contains("-----BEGIN")
        {
            true => PemError::Key,
            false => PemError::NotPem,
        })?;
        let provider = ring::default_provider();
        match CertifiedKey::from_der(chain.0.to_vec(), key.clone_key(), &provider) {
            Ok(_) => Ok(Self {
                chain,
                key: Arc::new(key),
            }),
            Err(Error::InconsistentKeys(_)) => Err(PemError::Mismatch),
            Err(_) => Err(PemError::Key),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// What is believed at an origin, and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trust {
    /// Whether certificates are verified at all.
    pub(super) verify: bool,
    /// Trusted besides the system's.
    pub(super) ca: Option<Certificates>,
    pub(super) identity: Option<Identity>,
}

impl Trust {
    /// Nothing is verified on plain HTTP, so that no certificates are needed
    /// to set up the pool for it.
    pub(super) const PLAIN: Self = Self {
        verify: false,
        ca: None,
        identity: None,
    };

    /// TLS as it is done with this trust.
    pub(super) fn config(&self, system: &SystemRoots) -> Result<ClientConfig, HttpError> {
        let failed = |error: Error| HttpError::Setup(format!("TLS: {error}"));
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.verify {
            true => Verifier::new(self.ca.clone(), system, &provider)?,
            false => Arc::new(Unverified(Arc::clone(&provider))),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(chain.0.to_vec(), key.clone_key())
                .map_err(failed)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The CA certificates of this machine, read when first needed: one without
/// any can still speak plain HTTP.
#[derive(Debug, Default)]
pub(super) struct SystemRoots(OnceLock<RootCertStore>);

impl SystemRoots {
    fn get(&self) -> &RootCertStore {
        self.0.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // Some systems ship certificates that cannot be read; the others
            // are of use all the same.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        })
    }
}

/// By the system's CAs, and the operator's.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    ca: Option<Certificates>,
}

impl Verifier {
    fn new(
        ca: Option<Certificates>,
        system: &SystemRoots,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, HttpError> {
        let mut roots = system.get().clone();
        for certificate in ca.iter().flat_map(|ca| ca.0.iter()) {
            let added = roots.add(certificate.clone());
            added.map_err(|error| HttpError::Setup(format!("regcert: {error}")))?;
        }
        if roots.is_empty() {
            return Err(HttpError::Setup(
                "there are no CA certificates on this machine: install them (ca-certificates), \
                 or name the host's own with regcert"
                    .to_owned(),
            ));
        }
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| HttpError::Setup(format!("TLS: {error}")))?;
        Ok(Arc::new(Self { webpki, ca }))
    }

    /// Whether this is the very certificate that the operator named.
    fn is_named(&self, certificate: &CertificateDer<'_>) -> bool {
        let mut named = self.ca.iter().flat_map(|ca| ca.0.iter());
        named.any(|named| named == certificate)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .webpki
            .verify_server_cert(certificate, others, name, ocsp, now);
        match verified {
            // What `openssl req -x509` makes is a CA's certificate, and webpki
            // takes no CA for a server, after it has looked at the dates. The
            // operator who named this very certificate does.
            Err(Error::InvalidCertificate(CertificateError::Other(error)))
                if error.to_string() == "CaUsedAsEndEntity" && self.is_named(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Not at all.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
