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

/// Whether clients must show a certificate (`tls-auth-clients`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    No,
    /// One that is shown must be good.
    Optional,
    /// Who has none is not let in.
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
    /// Sessions kept for resumption; `None`: `tls-session-caching no`.
    pub sessions: Option<usize>,
}

impl Settings {
    /// Whether anybody is named to trust.
    pub fn names_authorities(&self) -> bool {
        !self.authorities.is_empty() || !self.authorities_folder.is_empty()
    }

    /// For clients of this server.
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
            Some(count) => config.session_storage = ServerSessionMemoryCache::new(count.max(1)),
            None => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        Ok(config)
    }

    /// For connections to others. As in Redis, a certificate must come from an authority that is trusted;
    /// whose name is in it is not looked at, since masters are often named by address.
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
            add_roots(&mut roots, Path::new(&self.authorities))?;
        }
        if !self.authorities_folder.is_empty() {
            let folder = Path::new(&self.authorities_folder);
            for path in files(folder).map_err(|error| file(folder, error))? {
                // Other things lie in such folders: keys, lists of what was revoked.
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

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| file(path, error))?;
    }
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

/// The suites that `list` names, in its order; all of `known` without a list. Words that select by
/// property (`HIGH`, `DEFAULT`) stand for all, as every suite here is of that kind; `!` takes away.
fn choose(
    directive: &str,
    list: &str,
    known: &[&SupportedCipherSuite],
) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let (taken_away, name) = match word.strip_prefix(['!', '-']) {
            Some(name) => (true, name),
            None => (false, word.trim_start_matches('+')),
        };
        let named = |suite: &SupportedCipherSuite| openssl_name(suite) == name;
        match known.iter().find(|suite| named(suite)) {
            Some(suite) if taken_away => chosen.retain(|other| other != *suite),
            Some(suite) if !chosen.contains(suite) => chosen.push(**suite),
            Some(_) => {}
            None if taken_away || name.starts_with('@') => {}
            None if ["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH"].contains(&name) => {
                chosen = known.iter().map(|suite| **suite).collect();
            }
            // A list may name what only others have; what is left must be something.
            None => {}
        }
    }
    match (list.trim().is_empty(), chosen.is_empty()) {
        (true, _) => Ok(known.iter().map(|suite| **suite).collect()),
        (false, true) => Err(wrong(format!("{directive}: none of '{list}' is offered"))),
        (false, false) => Ok(chosen),
    }
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
