//! Client certificates for registries that require one: `client_certificate`, or the files in
//! Docker's and Podman's `certs.d` directories.
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

/// A certificate chain and its private key.
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

/// Why a certificate or a key cannot be used. No text of it is quoted, because it may be a key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It contains no valid certificate.
    #[error(transparent)]
    Certificate(#[from] CertificatesError),
    /// It contains no private key.
    #[error("it does not contain a PEM private key")]
    NoKey,
    /// The private key requires a passphrase.
    #[error("its private key is encrypted: use a key without a passphrase")]
    Encrypted,
    /// The private key belongs to another certificate, or its type is not supported in TLS.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl ClientIdentity {
    /// Parses both from PEM texts, which may be the same text.
    ///
    /// # Errors
    ///
    /// If one of them cannot be used, or they do not belong together.
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

/// The certificates for one host in `certs.d` directories.
#[derive(Debug, Default)]
pub(super) struct HostCertificates {
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) identity: Option<Arc<ClientIdentity>>,
}

/// Why a file in a `certs.d` directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not use `{}`", file.display())]
pub struct CertsDError {
    file: PathBuf,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl HostCertificates {
    /// Reads the first of `folders` that has a directory for `host`: authorities in `*.crt`, and a
    /// pair of `NAME.cert` and `NAME.key`.
    ///
    /// # Errors
    ///
    /// If one of its files cannot be read or used.
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
        tracing::debug!("reading certificates for {host} from {}", folder.display());
        let mut certificates = Self::default();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let roots = read_with(&file, Certificates::parse)?;
                    certificates.roots.extend(roots.own().cloned());
                }
                Some("cert") if certificates.identity.is_none() => {
                    let key_file = file.with_extension("key");
                    let key = read_text(&key_file)?;
                    let identity = read_with(&file, |pem| ClientIdentity::parse(pem, &key))?;
                    certificates.identity = Some(Arc::new(identity));
                }
                _ => {}
            }
        }
        Ok(certificates)
    }
}

fn read_text(file: &Path) -> Result<String, CertsDError> {
    let read = || -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned())
    };
    read().map_err(|cause| CertsDError {
        file: file.to_owned(),
        cause: cause.into(),
    })
}

fn read_with<T, E: std::error::Error + Send + Sync + 'static>(
    file: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, CertsDError> {
    parse(&read_text(file)?).map_err(|cause| CertsDError {
        file: file.to_owned(),
        cause: cause.into(),
    })
}
