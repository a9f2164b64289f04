//! From a kubeconfig to a client: TLS, the way there, and whom we sign in as.

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::config::{KubeConfigOptions, KubeconfigError};

use super::KubernetesError;
use super::auth::ClusterAuth;
use super::client::Cluster;
use super::kubeconfig::ClusterAccess;
use super::tls::client_config;
use crate::http::{Network, ProxyConnector, ProxyMode};

impl Cluster {
    /// Makes ready to ask the cluster; a plugin that the kubeconfig signs in with is run here.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used as it is, or its plugin cannot be run.
    pub async fn connect(
        access: &ClusterAccess,
        network: &Network,
    ) -> Result<Self, KubernetesError> {
        let unusable =
            |cause: Box<dyn std::error::Error + Send + Sync>| KubernetesError::Kubeconfig(cause);
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(access.kubeconfig.clone(), &options)
            .await
            .map_err(|error| unusable(plain(error)))?;
        let (sign_in, identity) = ClusterAuth::of(&config.auth_info, &access.withheld).await?;
        let tls = client_config(&config, identity, network)?;
        let own_proxy = access
            .cluster()
            .and_then(|cluster| cluster.proxy_url.as_deref());
        let way = match own_proxy.filter(|url| !url.is_empty()) {
            _ if access.is_own_cluster => ProxyMode::Direct,
            Some(url) => ProxyMode::Proxy(url),
            None => ProxyMode::Environment,
        };
        let proxy = ProxyConnector::new(network, way).map_err(|error| unusable(Box::new(error)))?;
        let connector = connector(tls, config.tls_server_name.as_deref(), proxy)?;
        let server = config.cluster_url.to_string();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            sign_in,
            server: server.trim_end_matches('/').to_owned(),
            namespace: config.default_namespace,
            stall_timeout: network.stall_timeout,
        })
    }
}

/// What a kubeconfig lacks, without kube's own error around it: to print that one takes its whole
/// YAML library, with which nothing is read here.
fn plain(error: KubeconfigError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        KubeconfigError::LoadCertificateAuthority(cause) => Box::new(cause),
        KubeconfigError::ParseCertificates(cause) => Box::new(cause),
        KubeconfigError::ParseClusterUrl(cause) | KubeconfigError::ParseProxyUrl(cause) => {
            Box::new(cause)
        }
        _ => "its context leads to no cluster".into(),
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
