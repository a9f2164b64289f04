//! The certificate that we show to a registry that asks for one: `client_certificate`, or what
//! Docker and Podman keep for a host in their `certs.d` folders.
//! <https://docs.docker.com/engine/security/certificates/>,
//! <https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md>

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Certificates, CertificatesError};
use crate::oci::reference::Endpoint;

/// A certificate with those that lead up to its root, and its key.
#[derive(PartialEq, Eq)]
pub struct ClientIdentity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientIdentity(***)")
    }
}

/// A certificate or a key that cannot be used. No text of it is quoted: it may be a key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is none.
    #[error(transparent)]
    Certificate(#[from] CertificatesError),
    /// There is no key.
    #[error("there is no PEM private key in it")]
    NoKey,
    /// The key needs a passphrase.
    #[error("the private key in it is encrypted: give it without a passphrase")]
    Encrypted,
    /// The key is of another certificate, or of a kind that TLS does not use.
    #[error("the private key is not that of the certificate")]
    Mismatch,
}

impl ClientIdentity {
    /// Reads both from PEM texts, which may be one and the same.
    ///
    /// # Errors
    ///
    /// When one of them cannot be used, or they do not belong together.
    pub fn parse(certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(CertificatesError::Pem)?;
        if chain.is_empty() {
            return Err(CertificatesError::None.into());
        }
        if key.contains("ENCRYPTED") {
            return Err(IdentityError::Encrypted);
        }
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| IdentityError::NoKey)?;
        let identity = Self { chain, key };
        if !identity.is_usable() {
            return Err(IdentityError::Mismatch);
        }
        Ok(identity)
    }

    fn is_usable(&self) -> bool {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions();
        builder.is_ok_and(|builder| {
            builder
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
                .is_ok()
        })
    }
}

/// What `certs.d` folders hold for one host.
#[derive(Debug, Default)]
pub(super) struct HostCertificates {
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) identity: Option<Arc<ClientIdentity>>,
}

/// A file of a `certs.d` folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not use `{}`", file.display())]
pub struct CertsDError {
    file: PathBuf,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl HostCertificates {
    /// Reads what the first of `folders` holds that has a folder for `host`: authorities in
    /// `*.crt`, and a pair of `NAME.cert` and `NAME.key`.
    ///
    /// # Errors
    ///
    /// When a file of it cannot be read or used.
    pub(super) fn read(folders: &[PathBuf], host: &Endpoint) -> Result<Self, CertsDError> {
        let folder = folders.iter().map(|folder| folder.join(host.host()));
        let Some((folder, mut files)) = folder.into_iter().find_map(|folder| {
            let entries = std::fs::read_dir(&folder).ok()?;
            let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            Some((folder, files))
        }) else {
            return Ok(Self::default());
        };
        files.sort();
        tracing::debug!("certificates for {host} are read from {}", folder.display());
        let mut found = Self::default();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let roots = parsed(&file, Certificates::parse)?;
                    found.roots.extend(roots.own().cloned());
                }
                Some("cert") if found.identity.is_none() => {
                    let key_file = file.with_extension("key");
                    let key = text(&key_file)?;
                    let identity = parsed(&file, |pem| ClientIdentity::parse(pem, &key))?;
                    found.identity = Some(Arc::new(identity));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn text(file: &Path) -> Result<String, CertsDError> {
    let read = || -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned())
    };
    read().map_err(|cause| CertsDError {
        file: file.to_owned(),
        cause: cause.into(),
    })
}

fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    file: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, CertsDError> {
    parse(&text(file)?).map_err(|cause| CertsDError {
        file: file.to_owned(),
        cause: cause.into(),
    })
}
