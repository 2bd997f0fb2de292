//! [`Settings`]: what Redis's `tls-*` directives say, made into what rustls wants.

use crate::TlsError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion, version,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sessions kept at most: the library takes the memory for all of them at once.
pub const SESSIONS_MAX: usize = 20_480;

/// Whether clients must show a certificate (`tls-auth-clients`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    No,
    /// One that is shown must be good.
    Optional,
    /// Clients without a certificate are refused.
    #[default]
    Required,
}

/// The directives; empty texts stand for those that are not set, as in Redis.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `tls-cert-file`: the server's certificate and those between it and the authority's, in PEM.
    pub certificate: String,
    /// `tls-key-file`: its private key, in PEM.
    pub key: String,
    /// `tls-key-file-pass`: the password of an encrypted key (PKCS#8).
    pub key_password: String,
    /// `tls-client-cert-file`, for connections to others; without it the server's is shown.
    pub client_certificate: String,
    /// `tls-client-key-file`.
    pub client_key: String,
    /// `tls-client-key-file-pass`.
    pub client_key_password: String,
    /// `tls-ca-cert-file`: authorities, in PEM.
    pub authorities: String,
    /// `tls-ca-cert-dir`: a folder of such files.
    pub authorities_folder: String,
    /// `tls-auth-clients`.
    pub clients: ClientCertificates,
    /// `tls-protocols`: `TLSv1.2`, `TLSv1.3`; both without.
    pub protocols: String,
    /// `tls-ciphers`: those of TLS 1.2, by OpenSSL's names.
    pub ciphers: String,
    /// `tls-ciphersuites`: those of TLS 1.3.
    pub ciphersuites: String,
    /// `tls-prefer-server-ciphers`.
    pub prefer_server_ciphers: bool,
    /// Sessions kept for resumption, [`SESSIONS_MAX`] at most, and that many for zero (OpenSSL's "no
    /// limit"); `None`: `tls-session-caching no`.
    pub sessions: Option<usize>,
    /// Whether connections to other servers are made, for which authorities must be configured.
    pub outgoing: bool,
}

impl Settings {
    /// Whether authorities are configured.
    pub fn names_authorities(&self) -> bool {
        !self.authorities.is_empty() || !self.authorities_folder.is_empty()
    }

    /// The configuration of rustls for clients of this server.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn server(&self) -> Result<ServerConfig, TlsError> {
        if self.certificate.is_empty() {
            return Err(wrong("No tls-cert-file configured!"));
        }
        let provider = self.provider()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions()?)
            .map_err(wrong)?;
        let builder = match self.clients {
            ClientCertificates::No => builder.with_no_client_auth(),
            asked => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                // As in Redis, clients are not sent the list of authorities, which may be long.
                let verifier = verifier.clear_root_hint_subjects();
                let verifier = match asked {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                builder.with_client_cert_verifier(verifier.build().map_err(wrong)?)
            }
        };
        let (chain, key) = identity(&self.certificate, &self.key, &self.key_password)?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            file(&self.key, format!("does not fit {}: {error}", self.certificate))
        })?;
        config.ignore_client_order = self.prefer_server_ciphers;
        match self.sessions {
            Some(count) => {
                let count = if count == 0 { SESSIONS_MAX } else { count.min(SESSIONS_MAX) };
                config.session_storage = ServerSessionMemoryCache::new(count);
            }
            None => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        Ok(config)
    }

    /// The configuration of rustls for connections to other servers. As in Redis, their certificate
    /// must be signed by a trusted authority, but its name is not compared, because masters are
    /// often given by address.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let provider = self.provider()?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone());
        let verifier = AnyName(verifier.build().map_err(wrong)?);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions()?)
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let (certificate, key, password) = match self.client_certificate.is_empty() {
            true => (&self.certificate, &self.key, &self.key_password),
            false => (&self.client_certificate, &self.client_key, &self.client_key_password),
        };
        if certificate.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let (chain, der) = identity(certificate, key, password)?;
        let fits = builder.with_client_auth_cert(chain, der);
        fits.map_err(|error| file(key, format!("does not fit {certificate}: {error}")))
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let mut versions = Vec::new();
        for word in self.protocols.split_ascii_whitespace() {
            match word.to_ascii_lowercase().as_str() {
                "tlsv1.2" => versions.push(&version::TLS12),
                "tlsv1.3" => versions.push(&version::TLS13),
                "tlsv1" | "tlsv1.1" => {
                    return Err(wrong(format!(
                        "tls-protocols: {word} is not safe, and not offered"
                    )));
                }
                _ => {
                    return Err(wrong(
                        "Invalid tls-protocols specified. Use a combination of 'TLSv1.2' and 'TLSv1.3'.",
                    ));
                }
            }
        }
        if versions.is_empty() {
            versions = vec![&version::TLS13, &version::TLS12];
        }
        Ok(versions)
    }

    fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let mut provider = ring::default_provider();
        let (new, old): (Vec<_>, Vec<_>) =
            provider.cipher_suites.iter().partition(|suite| suite.tls13().is_some());
        let mut chosen = choose("tls-ciphersuites", &self.ciphersuites, &new)?;
        chosen.extend(choose("tls-ciphers", &self.ciphers, &old)?);
        provider.cipher_suites = chosen;
        Ok(Arc::new(provider))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        if !self.names_authorities() {
            return Err(wrong(
                "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, \
                 tls-replication or tls-auth-clients are enabled!",
            ));
        }
        let mut roots = RootCertStore::empty();
        if !self.authorities.is_empty() {
            let path = Path::new(&self.authorities);
            add_roots(&mut roots, path)?;
            if roots.is_empty() {
                return Err(file(path, "no certificate of an authority that can be read"));
            }
        }
        if !self.authorities_folder.is_empty() {
            let folder = Path::new(&self.authorities_folder);
            for path in files(folder).map_err(|error| file(folder, error))? {
                // Such folders contain other files: keys, revocation lists.
                let _ = add_roots(&mut roots, &path);
            }
        }
        if roots.is_empty() {
            return Err(file(&self.authorities_folder, "no certificate of an authority in it"));
        }
        Ok(roots)
    }
}

fn wrong(reason: impl ToString) -> TlsError {
    TlsError::Settings(reason.to_string())
}

fn file(path: impl Into<PathBuf>, reason: impl ToString) -> TlsError {
    TlsError::File { path: path.into(), reason: reason.to_string() }
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

/// Adds those of a file's certificates that can be read: bundles have old ones among them.
fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    roots.add_parsable_certificates(certificates(path)?);
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| file(path, error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| file(path, error))?;
    match found.is_empty() {
        true => Err(file(path, "no certificate in it")),
        false => Ok(found),
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &str, key: &str, password: &str) -> Result<Identity, TlsError> {
    let chain = certificates(Path::new(certificate))?;
    if key.is_empty() {
        return Err(wrong("No tls-key-file configured!"));
    }
    Ok((chain, private_key(Path::new(key), password)?))
}

fn private_key(path: &Path, password: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = std::fs::read_to_string(path).map_err(|error| file(path, error))?;
    if !text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes());
        return key
            .map_err(|error| file(path, format!("no private key that can be read: {error}")));
    }
    let (_, sealed) = pkcs8::SecretDocument::from_pem(&text).map_err(|error| file(path, error))?;
    let sealed = pkcs8::EncryptedPrivateKeyInfo::try_from(sealed.as_bytes());
    let opened =
        sealed.and_then(|sealed| sealed.decrypt(password).map_err(|_| pkcs8::Error::KeyMalformed));
    let opened =
        opened.map_err(|_| file(path, "the password (tls-key-file-pass) does not open it"))?;
    PrivateKeyDer::try_from(opened.as_bytes().to_vec()).map_err(|error| file(path, error))
}

/// The names that OpenSSL cipher lists commonly exclude and that are never offered here.
const NEVER_OFFERED: &[&str] = &[
    "3DES", "ADH", "AECDH", "CAMELLIA", "DES", "DH", "DSS", "EXP", "EXPORT", "EXPORT40",
    "EXPORT56", "IDEA", "LOW", "MD5", "MEDIUM", "NULL", "PSK", "RC2", "RC4", "SEED", "SRP",
    "SSLv2", "SSLv3", "aDH", "aDSS", "aNULL", "eNULL", "kDHE", "kEDH", "kRSA", "SHA", "SHA1",
];

/// The suites that `list` names or selects, in its order; all of `known` if there is no list. As
/// with OpenSSL, `!` removes suites permanently, `-` removes them until they are named again, and
/// newly selected suites are appended.
fn choose(
    directive: &str,
    list: &str,
    known: &[&SupportedCipherSuite],
) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let (mut chosen, mut banned): (Vec<SupportedCipherSuite>, Vec<SupportedCipherSuite>) =
        Default::default();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let name = word.trim_start_matches(['!', '-', '+']);
        let selected: Vec<_> =
            known.iter().filter(|suite| selects(name, suite)).map(|suite| **suite).collect();
        match word.as_bytes()[0] {
            b'!' | b'-' => {
                if selected.is_empty() && !NEVER_OFFERED.contains(&name) {
                    return Err(wrong(format!("{directive}: '{word}' cannot be honoured")));
                }
                chosen.retain(|suite| !selected.contains(suite));
                if word.starts_with('!') {
                    banned.extend(selected);
                }
            }
            // Order by strength, which is how they are known.
            b'@' => {}
            // A list may name suites that only other libraries have, but it must leave at least
            // one.
            _ => chosen.extend(
                selected.into_iter().filter(|suite| !banned.contains(suite)).collect::<Vec<_>>(),
            ),
        }
    }
    let mut seen: Vec<SupportedCipherSuite> = Vec::new();
    chosen.retain(|suite| {
        !seen.contains(suite) && {
            seen.push(*suite);
            true
        }
    });
    match (list.trim().is_empty(), chosen.is_empty()) {
        (true, _) => Ok(known.iter().map(|suite| **suite).collect()),
        (false, true) => Err(wrong(format!("{directive}: none of '{list}' is offered"))),
        (false, false) => Ok(chosen),
    }
}

/// Whether a word of a list names a suite, or all of its properties (joined by `+`) are the suite's.
fn selects(word: &str, suite: &SupportedCipherSuite) -> bool {
    let name = openssl_name(suite);
    let has = |property: &str| match property {
        "ALL" | "DEFAULT" | "HIGH" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" | "TLSv1.2"
        | "AEAD" => true,
        "AES" | "AES128" | "AES256" | "CHACHA20" => name.contains(property),
        "AESGCM" => name.contains("GCM"),
        "ECDSA" | "aECDSA" => name.contains("ECDSA"),
        "RSA" | "aRSA" => name.contains("RSA"),
        "SHA256" | "SHA384" => name.ends_with(property),
        other => name == other,
    };
    name == word || word.split('+').all(has)
}

/// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is `ECDHE-RSA-AES128-GCM-SHA256` to OpenSSL; those of TLS 1.3
/// have one name.
fn openssl_name(suite: &SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match suite.tls13() {
        Some(_) => name.replace("TLS13_", "TLS_"),
        None => {
            let name = name.trim_start_matches("TLS_").replace("_WITH_", "_");
            let name = name.replace("AES_128", "AES128").replace("AES_256", "AES256");
            let name = name.replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305");
            name.replace('_', "-")
        }
    }
}

/// Trusts a certificate of a trusted authority, whatever name is in it.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The chain is checked before the name.
        match self.0.verify_server_cert(certificate, between, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
