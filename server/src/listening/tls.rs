//! TLS of this process: settings from the configuration, exchanged while running by `CONFIG SET` of any
//! `tls-*` directive (as in Redis) and by SIGHUP, which reads the files again.

use crate::StartError;
use engine::config::{ConfigStore, Id, Value};
use parking_lot::RwLock;
use runtime::Service;
use runtime::filter::Handshakes;
use std::sync::Arc;
use tls::{ClientCertificates, Settings, Tls};

/// The settings in force; none as long as TLS is not used.
#[derive(Default)]
pub(crate) struct Encryption {
    current: RwLock<Current>,
    /// The handshakes of clients that are under way.
    pub handshakes: Arc<Handshakes>,
}

#[derive(Default)]
struct Current {
    tls: Option<Arc<Tls>>,
    /// Between the nodes of a cluster, where both ends show certificates.
    #[cfg(feature = "cluster")]
    nodes: Option<Arc<Tls>>,
    /// The configuration's number when it was read.
    version: u64,
}

impl Encryption {
    /// Reads the settings and their files again, where they are used; whether they are. When that fails, all
    /// is as before.
    pub fn reload(&self, config: &ConfigStore) -> Result<bool, String> {
        // Read under the lock: of two that reload at once the later one has the later settings.
        let mut current = self.current.write();
        if !is_used(config) {
            return Ok(false);
        }
        let (settings, version) = (settings(config), config.version());
        #[cfg(feature = "cluster")]
        let nodes = between_nodes(config, &settings).map_err(|error| error.to_string())?;
        match &current.tls {
            Some(tls) => tls.reload(&settings).map_err(|error| error.to_string())?,
            None => current.tls = Some(Tls::new(&settings).map_err(|error| error.to_string())?),
        }
        #[cfg(feature = "cluster")]
        (current.nodes = nodes);
        current.version = version;
        Ok(true)
    }

    /// The same after a change of a directive. If a `CONFIG SET` changes several, the first
    /// notification handles all of them, because all are stored before any notification.
    fn follow(&self, config: &ConfigStore) -> Result<(), String> {
        let done = {
            let current = self.current.read();
            current.tls.is_some() && current.version == config.version()
        };
        if done { Ok(()) } else { self.reload(config).map(drop) }
    }

    /// Bounds the handshakes under way as configured. No file is read.
    fn bound_handshakes(&self, config: &ConfigStore) {
        let number = |id| usize::try_from(config.integer(id)).unwrap_or(usize::MAX);
        self.handshakes.set_max(number(Id::TlsHandshakesMax), number(Id::TlsHandshakesShare));
    }

    /// The configurations for connections between the nodes of a cluster, if these are encrypted.
    #[cfg(feature = "cluster")]
    pub fn nodes(&self) -> Option<(Arc<tls::ServerConfig>, Arc<tls::ClientConfig>)> {
        self.current.read().nodes.as_ref()?.both()
    }

    /// Serves what `inner` does, through TLS.
    pub fn serve(&self, inner: Arc<dyn Service>) -> Option<Arc<dyn Service>> {
        self.current.read().tls.as_ref().map(|tls| tls.serve(inner, self.handshakes.clone()))
    }

    /// The settings that connections to a master are made with, if there are any.
    pub fn client(&self) -> Option<Arc<tls::ClientConfig>> {
        self.current.read().tls.as_ref().and_then(|tls| tls.client())
    }
}

fn is_used(config: &ConfigStore) -> bool {
    let ports = [Id::TlsPort, Id::WebsocketTlsPort];
    ports.iter().any(|id| config.integer(*id) != 0)
        || config.boolean(Id::TlsReplication)
        || are_nodes_encrypted(config)
}

/// Whether this is a node of a cluster that encrypts what its nodes send each other.
fn are_nodes_encrypted(config: &ConfigStore) -> bool {
    cfg!(feature = "cluster")
        && config.boolean(Id::ClusterEnabled)
        && config.boolean(Id::TlsCluster)
}

/// The settings between nodes, if that is wanted: nodes always show certificates, whatever clients do.
#[cfg(feature = "cluster")]
fn between_nodes(
    config: &ConfigStore,
    settings: &Settings,
) -> Result<Option<Arc<Tls>>, tls::TlsError> {
    let clients = ClientCertificates::Required;
    let settings = Settings { clients, outgoing: true, ..settings.clone() };
    are_nodes_encrypted(config).then(|| Tls::new(&settings)).transpose()
}

/// Reads the settings, and follows their changes from now on.
///
/// # Errors
/// Fails for an error in the settings, if they enable TLS.
pub(crate) fn start(
    encryption: &Arc<Encryption>,
    config: &Arc<ConfigStore>,
) -> Result<(), StartError> {
    encryption.bound_handshakes(config);
    encryption.reload(config).map_err(StartError::Other)?;
    let weak = (Arc::downgrade(encryption), Arc::downgrade(config));
    let observer = move |id, _: &Value| match (weak.0.upgrade(), weak.1.upgrade()) {
        (Some(encryption), Some(config)) if IDS.contains(&id) => changed(&encryption, &config),
        (Some(encryption), Some(config)) if HANDSHAKES.contains(&id) => {
            encryption.bound_handshakes(&config);
            Ok(())
        }
        _ => Ok(()),
    };
    config.on_change(Box::new(observer));
    Ok(())
}

fn changed(encryption: &Encryption, config: &ConfigStore) -> Result<(), String> {
    encryption.follow(config).map_err(|error| {
        tracing::warn!(error, "the TLS settings stay as they were");
        "Unable to update TLS configuration. Check server logs.".to_owned()
    })
}

const IDS: &[Id] = &[
    Id::TlsReplication,
    Id::TlsCertFile,
    Id::TlsKeyFile,
    Id::TlsKeyFilePass,
    Id::TlsClientCertFile,
    Id::TlsClientKeyFile,
    Id::TlsClientKeyFilePass,
    Id::TlsCaCertFile,
    Id::TlsCaCertDir,
    Id::TlsAuthClients,
    Id::TlsProtocols,
    Id::TlsCiphers,
    Id::TlsCiphersuites,
    Id::TlsPreferServerCiphers,
    Id::TlsSessionCaching,
    Id::TlsSessionCacheSize,
];

const HANDSHAKES: &[Id] = &[Id::TlsHandshakesMax, Id::TlsHandshakesShare];

fn settings(config: &ConfigStore) -> Settings {
    let text = |id| config.text(id).to_string();
    let sessions = usize::try_from(config.integer(Id::TlsSessionCacheSize)).unwrap_or(usize::MAX);
    Settings {
        certificate: text(Id::TlsCertFile),
        key: text(Id::TlsKeyFile),
        key_password: text(Id::TlsKeyFilePass),
        client_certificate: text(Id::TlsClientCertFile),
        client_key: text(Id::TlsClientKeyFile),
        client_key_password: text(Id::TlsClientKeyFilePass),
        authorities: text(Id::TlsCaCertFile),
        authorities_folder: text(Id::TlsCaCertDir),
        clients: match config.choice(Id::TlsAuthClients) {
            "no" => ClientCertificates::No,
            "optional" => ClientCertificates::Optional,
            _ => ClientCertificates::Required,
        },
        protocols: text(Id::TlsProtocols),
        ciphers: text(Id::TlsCiphers),
        ciphersuites: text(Id::TlsCiphersuites),
        prefer_server_ciphers: config.boolean(Id::TlsPreferServerCiphers),
        sessions: config.boolean(Id::TlsSessionCaching).then_some(sessions),
        outgoing: config.boolean(Id::TlsReplication),
    }
}
