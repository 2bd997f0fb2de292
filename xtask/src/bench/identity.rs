//! The certificate of a run's servers, for rows whose clients speak TLS.

use crate::load::Endpoint;
use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A certificate for this machine's loopback address that vouches for itself, and clients that believe it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// With `server.crt` and `server.key`, for as long as somebody uses this.
    folder: Arc<TempDir>,
    client: Arc<ClientConfig>,
}

impl Identity {
    /// Creates one, with its files in a folder of their own in `dir`.
    ///
    /// # Errors
    /// Fails if the files cannot be written.
    pub fn create(dir: &Path) -> Result<Identity> {
        let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
        let own = rcgen::generate_simple_self_signed(names).context("creating a certificate")?;
        let folder = tempfile::Builder::new().prefix("identity-").tempdir_in(dir)?;
        fs::write(folder.path().join("server.crt"), own.cert.pem())?;
        fs::write(folder.path().join("server.key"), own.signing_key.serialize_pem())?;
        let client = Arc::new(trusting(own.cert.der())?);
        Ok(Identity { folder: Arc::new(folder), client })
    }

    /// The options, those of Redis, with which a server speaks TLS on `port`.
    pub fn options(&self, port: u16) -> Vec<String> {
        let file = |name| self.folder.path().join(name).display().to_string();
        let pairs = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("server.crt")),
            ("--tls-key-file", file("server.key")),
            ("--tls-ca-cert-file", file("server.crt")),
            ("--tls-auth-clients", "no".into()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_string(), value]).collect()
    }

    /// A server with this identity that speaks TLS at `addr`.
    pub fn at(&self, addr: SocketAddr) -> Endpoint {
        Endpoint { addr, tls: Some(self.client.clone()) }
    }
}

/// A client that believes `certificate` and no other.
fn trusting(certificate: &CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
