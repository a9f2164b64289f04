//! From a kubeconfig to a client: TLS, the way there, and whom we sign in as.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{AuthError, Body, ConfigExt as _};
use kube::config::{ExecInteractiveMode, KubeConfigOptions};
use kube::{Config, Error};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use super::KubernetesError;
use super::access::Access;
use super::client::Cluster;
use crate::network::{Network, NetworkError, ProxyConnector, USER_AGENT, Way};

/// How long a plugin that signs in may take.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Only what asks for patience is tried again: 429, 503 and 504, four times within seconds, or when
/// the server says so.
const RETRIES: u32 = 4;

impl Cluster {
    /// Makes ready to ask the cluster; a plugin that the kubeconfig signs in with is run here.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used as it is, or its plugin cannot be run.
    pub async fn connect(access: &Access, network: &Network) -> Result<Self, KubernetesError> {
        let unusable =
            |cause: Box<dyn std::error::Error + Send + Sync>| KubernetesError::Kubeconfig(cause);
        let mut kubeconfig = access.kubeconfig.clone();
        for user in kubeconfig
            .auth_infos
            .iter_mut()
            .filter_map(|u| u.auth_info.as_mut())
        {
            if let Some(exec) = &mut user.exec {
                // Standard input may be an image.
                exec.interactive_mode = Some(ExecInteractiveMode::Never);
            }
        }
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| unusable(Box::new(error)))?;
        config.headers.push((
            http::header::USER_AGENT,
            http::HeaderValue::from_static(USER_AGENT),
        ));
        if let Some(roots) = &mut config.root_cert {
            roots.extend(network.ca_certificates.own().map(|root| root.to_vec()));
        }
        let server = config.cluster_url.to_string();
        let namespace = config.default_namespace.clone();

        // Signing in may run a program and wait for it.
        let signed = config.clone();
        let signing_in = tokio::task::spawn_blocking(move || {
            let layer = signed.auth_layer()?;
            let tls = signed.rustls_client_config()?;
            Ok::<_, Error>((layer, tls))
        });
        let (auth_layer, mut tls) = match tokio::time::timeout(PLUGIN_TIMEOUT, signing_in).await {
            Ok(Ok(Ok(signed))) => signed,
            Ok(Ok(Err(Error::Auth(error)))) => return Err(plugin_error(access, error)),
            Ok(Ok(Err(error))) => return Err(unusable(Box::new(error))),
            Ok(Err(error)) => return Err(unusable(Box::new(error))),
            Err(_) => {
                return Err(KubernetesError::PluginStalled {
                    command: plugin(access),
                    seconds: PLUGIN_TIMEOUT.as_secs(),
                });
            }
        };
        let untrusting = |error: NetworkError| unusable(Box::new(error));
        if config.root_cert.is_none() && !config.accept_invalid_certs {
            let verifier = network.verifier().map_err(untrusting)?;
            tls.dangerous().set_certificate_verifier(verifier);
        }
        let own_proxy = access
            .cluster()
            .and_then(|cluster| cluster.proxy_url.as_deref());
        let way = match own_proxy.filter(|url| !url.is_empty()) {
            _ if access.is_own_cluster => Way::Direct,
            Some(url) => Way::Proxy(url),
            None => Way::Environment,
        };
        let proxy = ProxyConnector::new(network, way).map_err(untrusting)?;
        let connector = connector(tls, config.tls_server_name.as_deref(), proxy)?;
        let retry = RetryPolicy::new(
            Duration::from_millis(200),
            Duration::from_secs(5),
            RETRIES,
            true,
        )
        .map_err(|error| unusable(Box::new(error)))?;
        let headers = config
            .extra_headers_layer()
            .map_err(|error| unusable(Box::new(error)))?;
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .layer(RetryLayer::new(retry))
            .option_layer(auth_layer)
            .layer(headers)
            .map_err(BoxError::from)
            .service(Client::builder(TokioExecutor::new()).build::<_, Body>(connector));
        Ok(Self {
            client: kube::Client::new(service, namespace.clone()),
            server: server.trim_end_matches('/').to_owned(),
            namespace,
            stall_timeout: network.stall_timeout,
        })
    }
}

/// TLS over a connection that a proxy may carry; a kubeconfig may name the server otherwise than its
/// address does.
fn connector(
    tls: rustls::ClientConfig,
    server_name: Option<&str>,
    proxy: ProxyConnector,
) -> Result<HttpsConnector<ProxyConnector>, KubernetesError> {
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = server_name {
        let name = rustls::pki_types::ServerName::try_from(name.to_owned())
            .map_err(|error| KubernetesError::Kubeconfig(Box::new(error)))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(proxy))
}

/// The program that the kubeconfig signs in with.
fn plugin(access: &Access) -> String {
    let mut users = access.kubeconfig.auth_infos.iter();
    let exec = users.find_map(|user| user.auth_info.as_ref()?.exec.as_ref());
    exec.and_then(|exec| exec.command.clone())
        .unwrap_or_default()
}

/// kube tells of a plugin that failed with all that it printed, a token perhaps among it.
fn plugin_error(access: &Access, error: AuthError) -> KubernetesError {
    let command = plugin(access);
    match error {
        AuthError::AuthExecStart(cause) => KubernetesError::NoPlugin { command, cause },
        AuthError::AuthExecRun { status, out, .. } => KubernetesError::Plugin {
            command,
            status: status.to_string(),
            said: String::from_utf8_lossy(&out.stderr)
                .trim()
                .chars()
                .take(500)
                .collect(),
        },
        AuthError::AuthExecParse(_) => KubernetesError::Plugin {
            command,
            status: "an answer that is no ExecCredential".to_owned(),
            said: String::new(),
        },
        other => KubernetesError::Kubeconfig(Box::new(other)),
    }
}
