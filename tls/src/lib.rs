//! TLS around connections, on any runtime.
//!
//! - [`filter`]: the sans-IO filter over rustls that [`runtime::filter`] puts around a session.
//! - [`settings`]: converts the configuration for rustls: certificates, keys, authorities,
//!   versions, ciphers.
//! - [`stream`]: a blocking connection to another server, for replication.
//!
//! Promises: certificates and all other settings can be exchanged while clients are connected
//! ([`Tls::reload`]); existing connections keep their settings. A setting that cannot be applied is
//! an error with the file's name, and never leads to a weaker connection. A peer can make the
//! filter hold at most one record.
//!
//! The crate knows nothing of sessions, commands, and the configuration's registry.

pub mod filter;
pub mod settings;
pub mod stream;

use filter::TlsFilter;
use parking_lot::RwLock;
use runtime::filter::{FilterService, Handshakes};
use runtime::{Rejection, Service};
use rustls::server::UnbufferedServerConnection;
pub use rustls::{ClientConfig, ServerConfig};
pub use settings::{ClientCertificates, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The time that a whole handshake may take.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The reason why TLS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or has wrong contents.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// A description of the error.
        reason: String,
    },
    /// The settings contradict each other, or something is missing.
    #[error("{0}")]
    Settings(String),
}

/// The settings in force, for new connections.
pub struct Tls {
    server: RwLock<Arc<ServerConfig>>,
    client: RwLock<Option<Arc<ClientConfig>>>,
}

impl Tls {
    /// Reads everything that `settings` names.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(settings: &Settings) -> Result<Arc<Tls>, TlsError> {
        let (server, client) = read(settings)?;
        let (server, client) = (RwLock::new(server), RwLock::new(client));
        Ok(Arc::new(Tls { server, client }))
    }

    /// The same again: connections made from now on are by `settings`. When it fails, all is as before.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn reload(&self, settings: &Settings) -> Result<(), TlsError> {
        let (server, client) = read(settings)?;
        *self.server.write() = server;
        *self.client.write() = client;
        Ok(())
    }

    /// Serves what `inner` serves, through TLS, as far as `handshakes` permits.
    pub fn serve(
        self: &Arc<Self>,
        inner: Arc<dyn Service>,
        handshakes: Arc<Handshakes>,
    ) -> Arc<dyn Service> {
        let tls = self.clone();
        let make = move || {
            let connection = UnbufferedServerConnection::new(tls.server.read().clone());
            // Only a configuration that cannot work at all is refused here, and such a one is not made.
            connection.map(TlsFilter::new).map_err(|_| Rejection(Vec::new()))
        };
        Arc::new(FilterService { inner, make, patience: HANDSHAKE_PATIENCE, handshakes })
    }

    /// The configurations for incoming and for outgoing connections, for two servers that are each other's clients; `None` if
    /// no trusted authorities are configured.
    pub fn both(&self) -> Option<(Arc<ServerConfig>, Arc<ClientConfig>)> {
        Some((self.server.read().clone(), self.client()?))
    }

    /// The configuration for outgoing connections; `None` if no trusted authorities are configured.
    pub fn client(&self) -> Option<Arc<ClientConfig>> {
        self.client.read().clone()
    }
}

type Configs = (Arc<ServerConfig>, Option<Arc<ClientConfig>>);

fn read(settings: &Settings) -> Result<Configs, TlsError> {
    let server = Arc::new(settings.server()?);
    let outgoing = settings.outgoing || settings.names_authorities();
    let client = if outgoing { Some(settings.client()?) } else { None };
    Ok((server, client.map(Arc::new)))
}
