//! TLS: encrypted connections.

use super::bounds::NATURAL;
use crate::config::directive::{choice, integer, text, yes_no};
use crate::config::{Directive, Id};

const TLS_AUTH: &[(&str, i64)] = &[("no", 0), ("yes", 1), ("optional", 2)];

/// Encrypted connections.
pub(super) static ROWS: &[Directive] = &[
    integer(Id::TlsPort, "tls-port", (0, 65_535), 0, "Port for TLS; 0: none").immutable(),
    yes_no(Id::TlsCluster, "tls-cluster", false, "Encrypt what nodes of a cluster send each other")
        .immutable(),
    yes_no(Id::TlsReplication, "tls-replication", false, "Encrypt the link to a master"),
    choice(Id::TlsAuthClients, "tls-auth-clients", TLS_AUTH, 1, "Ask clients for certificates"),
    text(Id::TlsCertFile, "tls-cert-file", "", "Certificate").names_file(),
    text(Id::TlsKeyFile, "tls-key-file", "", "Private key").names_file(),
    text(Id::TlsKeyFilePass, "tls-key-file-pass", "", "Password of the private key").sensitive(),
    text(Id::TlsClientCertFile, "tls-client-cert-file", "", "Certificate for outgoing connections")
        .names_file(),
    text(Id::TlsClientKeyFile, "tls-client-key-file", "", "Its private key").names_file(),
    text(Id::TlsClientKeyFilePass, "tls-client-key-file-pass", "", "Its password").sensitive(),
    text(Id::TlsDhParamsFile, "tls-dh-params-file", "", "Diffie-Hellman parameters").kept(),
    text(Id::TlsCaCertFile, "tls-ca-cert-file", "", "Certificates of authorities").names_file(),
    text(Id::TlsCaCertDir, "tls-ca-cert-dir", "", "Folder of such certificates").names_file(),
    text(Id::TlsProtocols, "tls-protocols", "", "Versions of TLS"),
    text(Id::TlsCiphers, "tls-ciphers", "", "Ciphers of TLS 1.2"),
    text(Id::TlsCiphersuites, "tls-ciphersuites", "", "Ciphers of TLS 1.3"),
    yes_no(
        Id::TlsPreferServerCiphers,
        "tls-prefer-server-ciphers",
        false,
        "The server chooses the cipher",
    ),
    yes_no(Id::TlsSessionCaching, "tls-session-caching", true, "Let clients resume sessions"),
    integer(
        Id::TlsHandshakesMax,
        "tls-handshakes-max",
        NATURAL,
        512,
        "TLS handshakes under way at once; connections beyond that are closed; 0: any number",
    ),
    integer(
        Id::TlsHandshakesShare,
        "tls-handshakes-share",
        (1, 100),
        50,
        "Percentage of these that one address (or IPv6 network of 64 bits) may have; 100: all",
    ),
    integer(Id::TlsSessionCacheSize, "tls-session-cache-size", NATURAL, 20480, "Sessions kept"),
    integer(
        Id::TlsSessionCacheTimeout,
        "tls-session-cache-timeout",
        NATURAL,
        300,
        "Seconds they are kept",
    )
    .kept(),
];
