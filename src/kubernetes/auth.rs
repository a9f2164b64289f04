//! As whom a cluster is asked: what the kubeconfig's user holds, as a header or as a certificate.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use kube::config::AuthInfo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret as _;

use super::KubernetesError;
use super::plugin::Plugin;
use crate::diagnostics::secret::Secret;

/// Who asks, and for whom.
pub(super) struct ClusterAuth {
    login: Login,
    /// Whom the user acts as.
    /// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
    impersonation: HeaderMap,
}

/// What goes into `Authorization`.
enum Login {
    /// Nothing: the certificate says it, or nobody does.
    None,
    Fixed(HeaderValue),
    /// A kubelet writes a new token into it from time to time.
    File(TokenFile),
    Plugin(Box<Plugin>),
}

struct TokenFile {
    path: PathBuf,
    last: Mutex<Secret>,
}

/// A client's certificate with those that lead from it to its root, and its key.
pub(super) struct ClientIdentity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl ClusterAuth {
    /// Takes up what `user` holds; its plugin, if it has one, is run, without the variables that
    /// are `withheld`.
    ///
    /// # Errors
    ///
    /// When something that the kubeconfig names is not there or is not what it should be.
    pub(super) async fn of(
        user: &AuthInfo,
        withheld: &[OsString],
    ) -> Result<(Self, Option<ClientIdentity>), KubernetesError> {
        let identity = ClientIdentity::of_files(user)?;
        let impersonation = impersonation(user)?;
        let signed = |login| Self {
            login,
            impersonation,
        };
        if let Some(provider) = &user.auth_provider {
            let id_token = provider.config.get("id-token");
            let token = match (provider.name.as_str(), id_token) {
                ("oidc", Some(token)) => Secret::new(token),
                _ => return Err(KubernetesError::Provider(provider.name.clone())),
            };
            return Ok((signed(Login::Fixed(bearer(&token)?)), identity));
        }
        if let (Some(name), Some(password)) = (&user.username, &user.password) {
            let pair = format!("{name}:{}", password.expose_secret());
            let basic = Secret::new(STANDARD.encode(pair));
            let header = sensitive(&format!("Basic {}", basic.expose()))?;
            return Ok((signed(Login::Fixed(header)), identity));
        }
        if let Some(token) = &user.token {
            let token = Secret::new(token.expose_secret());
            return Ok((signed(Login::Fixed(bearer(&token)?)), identity));
        }
        if let Some(path) = &user.token_file {
            let file = TokenFile::open(path)?;
            return Ok((signed(Login::File(file)), identity));
        }
        if let Some(exec) = &user.exec {
            let (plugin, of_plugin) = Plugin::run(exec, withheld).await?;
            let login = Login::Plugin(Box::new(plugin));
            return Ok((signed(login), of_plugin.or(identity)));
        }
        Ok((signed(Login::None), identity))
    }

    /// The headers that say who asks.
    ///
    /// # Errors
    ///
    /// When a plugin that has to be run again fails.
    pub(super) async fn headers(&self) -> Result<HeaderMap, KubernetesError> {
        let mut headers = self.impersonation.clone();
        let authorization = match &self.login {
            Login::None => None,
            Login::Fixed(header) => Some(header.clone()),
            Login::File(file) => Some(bearer(&file.token())?),
            Login::Plugin(plugin) => match plugin.token().await? {
                Some(token) => Some(bearer(&token)?),
                None => None,
            },
        };
        if let Some(header) = authorization {
            headers.insert(AUTHORIZATION, header);
        }
        Ok(headers)
    }
}

impl TokenFile {
    fn open(path: &str) -> Result<Self, KubernetesError> {
        Ok(Self {
            last: Mutex::new(Secret::new(read(Path::new(path))?.trim())),
            path: path.into(),
        })
    }

    /// Reads it anew; the last token serves where the file is gone.
    fn token(&self) -> Secret {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(text) = std::fs::read_to_string(&self.path)
            && text.trim() != last.expose()
        {
            *last = Secret::new(text.trim());
        }
        last.clone()
    }
}

impl ClientIdentity {
    /// What stands in PEM in `certificates` and `key`.
    pub(super) fn parse(certificates: &[u8], key: &[u8]) -> Result<Self, KubernetesError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable("the client certificate in it cannot be read", error))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| unusable("the client key in it cannot be read", error))?;
        Ok(Self { chain, key })
    }

    fn of_files(user: &AuthInfo) -> Result<Option<Self>, KubernetesError> {
        let certificate = pem(
            user.client_certificate_data.as_deref(),
            user.client_certificate.as_deref(),
            "client-certificate-data",
        )?;
        let data = user.client_key_data.as_ref();
        let key = pem(
            data.map(|data| data.expose_secret()),
            user.client_key.as_deref(),
            "client-key-data",
        )?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Self::parse(&certificate, &key).map(Some),
            (None, None) => Ok(None),
            (Some(_), None) => Err(unfit("its user has a client certificate and no key")),
            (None, Some(_)) => Err(unfit("its user has a client key and no certificate")),
        }
    }
}

/// A PEM text as a kubeconfig gives it: base64 of it, or else a file.
fn pem(
    data: Option<&str>,
    file: Option<&str>,
    key: &'static str,
) -> Result<Option<Vec<u8>>, KubernetesError> {
    match (data.filter(|data| !data.is_empty()), file) {
        (Some(data), _) => STANDARD
            .decode(data)
            .map(Some)
            .map_err(|_| unfit(&format!("its `{key}` is not base64"))),
        (None, Some(path)) if !path.is_empty() => {
            read(Path::new(path)).map(|text| Some(text.into_bytes()))
        }
        (None, _) => Ok(None),
    }
}

fn read(path: &Path) -> Result<String, KubernetesError> {
    std::fs::read_to_string(path)
        .map_err(|error| unusable(&format!("`{}` cannot be read", path.display()), error))
}

fn impersonation(user: &AuthInfo) -> Result<HeaderMap, KubernetesError> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        HeaderValue::try_from(text).map_err(|error| unusable("whom its user acts as", error))
    };
    if let Some(name) = &user.impersonate {
        headers.insert("impersonate-user", value(name)?);
    }
    if let Some(uid) = &user.impersonate_uid {
        headers.insert("impersonate-uid", value(uid)?);
    }
    for group in user.impersonate_groups.iter().flatten() {
        headers.append("impersonate-group", value(group)?);
    }
    for (key, extras) in user.impersonate_user_extra.iter().flatten() {
        let name = HeaderName::try_from(format!("impersonate-extra-{key}"))
            .map_err(|error| unusable("whom its user acts as", error))?;
        for extra in extras {
            headers.append(&name, value(extra)?);
        }
    }
    Ok(headers)
}

fn bearer(token: &Secret) -> Result<HeaderValue, KubernetesError> {
    sensitive(&format!("Bearer {}", token.expose()))
}

/// `text` as a header that no log of headers shows.
fn sensitive(text: &str) -> Result<HeaderValue, KubernetesError> {
    // What the error would quote is a secret.
    let mut header = HeaderValue::try_from(text)
        .map_err(|_| unfit("its user's login has characters that no HTTP header may have"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// What stands in the kubeconfig itself is not as it has to be.
fn unfit(text: &str) -> KubernetesError {
    KubernetesError::Kubeconfig(text.into())
}

/// What it names, or holds, does not serve, and why.
fn unusable(what: &str, cause: impl std::error::Error + Send + Sync + 'static) -> KubernetesError {
    KubernetesError::Kubeconfig(Box::new(Unusable {
        what: what.to_owned(),
        cause: Box::new(cause),
    }))
}

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Unusable {
    what: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}
