//! A certificate authority for tests, and files certified by it; the server's tests use it as well.

use std::path::Path;
use tls::Settings;

/// An authority. Whoever trusts it believes those that it certifies.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    /// A new one, with a key of its own.
    pub fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Certifies `name`, for servers and clients, with what `change` makes of the certificate's parameters. Writes
    /// `NAME.crt`, `NAME.key` and `NAME-ca.crt`; the settings name these files.
    pub fn certify(
        &self,
        folder: &Path,
        name: &str,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Settings {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |suffix: &str, text: &str| {
            let path = folder.join(format!("{name}{suffix}"));
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        Settings {
            certificate: write(".crt", &certificate.pem()),
            key: write(".key", &key.serialize_pem()),
            authorities: write("-ca.crt", &self.pem),
            ..Settings::default()
        }
    }
}
