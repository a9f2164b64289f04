//! kube's client for the cluster of a kubeconfig.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::middleware::AuthLayer;
use kube::client::{AuthError, Body, ConfigExt as _};
use kube::config::{AuthInfo, ExecInteractiveMode, KubeConfigOptions};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use tower::ServiceBuilder;
use url::Url;

use super::error::KubernetesError;
use super::failed_request::{FailedRequest, Task};
use super::kubeconfig::ClusterAccess;
use super::objects::ApiRequest;
use crate::diagnostics::secret::Secret;
use crate::http::{
    BoxError, ErrorResponse, HttpError, Network, ProxyConnector, ProxyMode, RetryPolicy,
};
use crate::oci::json;

/// The largest response in bytes, which is that of a page of a list. etcd limits an object to 1.5 MiB.
const LARGEST: usize = 32 << 20;

/// The time limit for a login program.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A client for one cluster.
pub struct Cluster {
    client: kube::Client,
    /// The login program. `None` if there is none.
    plugin: Option<String>,
    server: Url,
    pub(super) namespace: String,
    stall_timeout: Duration,
    retries: RetryPolicy,
}

impl Cluster {
    /// Creates the client. Runs the login program of the kubeconfig, if it has one, but sends no
    /// request.
    ///
    /// # Errors
    ///
    /// If the kubeconfig cannot be used, or its login program fails.
    pub async fn connect(
        access: &ClusterAccess,
        network: &Network,
    ) -> Result<Self, KubernetesError> {
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(access.kubeconfig.clone(), &options)
            .await
            .map_err(KubernetesError::of_kubeconfig)?;
        check_login(&mut config.auth_info, access)?;
        config.headers = headers(&config.auth_info)?;
        let plugin = config.auth_info.exec.as_ref();
        let plugin = plugin.map(|exec| exec.command.clone().unwrap_or_default());
        // The root certificates of the kubeconfig replace those of the system. Those of
        // `ca_certificates` are added.
        let own_roots = config.root_cert.is_some();
        let extra = network.ca_certificates.own().map(|root| root.to_vec());
        config.root_cert.get_or_insert_default().extend(extra);
        let server_name = config.tls_server_name.clone();

        let (config, auth, mut tls) = sign_in(config, plugin.as_deref()).await?;
        if !own_roots && !config.accept_invalid_certs {
            let verifier = network.verifier().map_err(KubernetesError::unusable)?;
            tls.dangerous().set_certificate_verifier(verifier);
        }
        let own_proxy = access
            .cluster()
            .and_then(|cluster| cluster.proxy_url.as_deref());
        let way = match own_proxy.filter(|url| !url.is_empty()) {
            _ if access.is_own_cluster => ProxyMode::Direct,
            Some(url) => ProxyMode::Proxy(url),
            None => ProxyMode::Environment,
        };
        let proxy = ProxyConnector::new(network, way).map_err(KubernetesError::unusable)?;
        let connector = connector(tls, server_name, proxy)?;
        // kube's own stack without its logging, which would reveal too much, and its retries.
        let sent = SentLogin::default();
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(auth)
            .layer(
                config
                    .extra_headers_layer()
                    .map_err(KubernetesError::unusable)?,
            )
            .map_request(move |request| sent.remember(request))
            .map_err(BoxError::from)
            .service(Client::builder(TokioExecutor::new()).build::<_, Body>(connector));
        let server = config.cluster_url.to_string().parse();
        Ok(Self {
            client: kube::Client::new(service, config.default_namespace.clone()),
            plugin,
            server: server.map_err(KubernetesError::unusable)?,
            namespace: config.default_namespace,
            stall_timeout: network.stall_timeout,
            retries: RetryPolicy::within(network.retry_timeout).short(),
        })
    }

    /// The URL of the cluster, for messages.
    pub fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// The URL of a request. The path of the cluster's URL stays in front, as a proxy may need it.
    pub(super) fn url(&self, path_and_query: &str) -> Url {
        let url = format!("{}{path_and_query}", self.server()).parse();
        url.unwrap_or_else(|_| self.server.clone())
    }

    pub(super) fn failed(&self, task: Task, cause: HttpError) -> KubernetesError {
        KubernetesError::Request(Box::new(FailedRequest { task, cause }))
    }

    /// Sends a request, repeats it for a short time while the cluster is overloaded, and parses the
    /// object in the response.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        task: Task,
        request: ApiRequest,
    ) -> Result<T, KubernetesError> {
        let request = request.map_err(|error| {
            let error = HttpError::broken(Method::GET, self.server.clone(), error);
            self.failed(task.clone(), error)
        })?;
        let step = || self.ask_once(&task, request.clone());
        self.retries.run(step).await
    }

    /// Sends a request once. kube would log a response that it cannot parse; this does not, because
    /// it may hold a secret.
    async fn ask_once<T: DeserializeOwned>(
        &self,
        task: &Task,
        request: Request<Vec<u8>>,
    ) -> Result<T, KubernetesError> {
        let method = request.method().clone();
        let url = self.url(&request.uri().to_string());
        tracing::debug!("{method} {}", request.uri().path());
        let broken = |cause: BoxError| {
            let error = HttpError::broken(method.clone(), url.clone(), cause);
            self.failed(task.clone(), error)
        };
        let answering = self.answer(request.map(Body::from));
        let (status, headers, body) =
            match tokio::time::timeout(self.stall_timeout, answering).await {
                Err(_) => {
                    let error = HttpError::timed_out(method, url, self.stall_timeout);
                    return Err(self.failed(task.clone(), error));
                }
                Ok(Ok(answer)) => answer,
                Ok(Err(cause)) => {
                    return Err(match cause.downcast::<AuthError>() {
                        Ok(error) => KubernetesError::of_login(self.plugin.as_deref(), *error),
                        Err(cause) => broken(cause),
                    });
                }
            };
        let failed = if status.is_success() {
            match json::from_slice(&body) {
                Ok(object) => return Ok(object),
                Err(_) => {
                    let what = "the response is not from Kubernetes";
                    HttpError::protocol(method.clone(), url.clone(), what)
                }
            }
        } else {
            let refusal = ErrorResponse::parse(status, &headers, &body);
            HttpError::refused(method.clone(), url.clone(), refusal)
        };
        Err(self.failed(task.clone(), failed))
    }

    async fn answer(
        &self,
        request: Request<Body>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), BoxError> {
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|error| match error {
                kube::Error::Service(cause) => cause,
                other => other.into(),
            })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = Limited::new(answer.into_body(), LARGEST).collect().await?;
        Ok((status, headers, body.to_bytes()))
    }
}

/// Lets kube sign in and configure TLS. That runs the user's login program, if there is one, and
/// runs it again if it printed no token but possibly a certificate.
async fn sign_in(
    mut config: Config,
    plugin: Option<&str>,
) -> Result<(Config, Option<AuthLayer>, ClientConfig), KubernetesError> {
    let signing_in = tokio::task::spawn_blocking(move || {
        let auth = config.auth_layer()?;
        if auth.is_some() {
            config.auth_info.exec = None;
        }
        let tls = config.rustls_client_config()?;
        Ok::<_, kube::Error>((config, auth, tls))
    });
    let command = || plugin.unwrap_or_default().to_owned();
    let (config, auth, tls) = match tokio::time::timeout(PLUGIN_TIMEOUT, signing_in).await {
        Ok(Ok(signed)) => signed.map_err(|error| KubernetesError::of_kube(plugin, error))?,
        // kube panics at a token that is not valid in a header.
        Ok(Err(_)) => {
            return Err(KubernetesError::bad_plugin(
                command(),
                "it printed an unusable token",
            ));
        }
        Err(_) => {
            return Err(KubernetesError::PluginStalled {
                command: command(),
                seconds: PLUGIN_TIMEOUT.as_secs(),
            });
        }
    };
    if plugin.is_some() && auth.is_none() && !tls.client_auth_cert_resolver.has_certs() {
        let printed = "it printed an ExecCredential without a token or a certificate";
        return Err(KubernetesError::bad_plugin(command(), printed));
    }
    Ok((config, auth, tls))
}

/// Adapts the login of a user: accepts what kubectl accepts but kube does not, refuses what
/// gcr-push does not support, and removes variables from the environment of a login program, which
/// needs no credential of a registry.
fn check_login(user: &mut AuthInfo, access: &ClusterAccess) -> Result<(), KubernetesError> {
    if let Some(provider) = &user.auth_provider
        && !(provider.name == "oidc" && provider.config.contains_key("id-token"))
    {
        return Err(KubernetesError::Provider(provider.name.clone()));
    }
    // kube does not trim a token from a file, which may end in a line break.
    if let Some(path) = user.token_file.as_ref().filter(|_| user.token.is_none()) {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| KubernetesError::unreadable(path, cause))?;
        if text.trim() != text {
            user.token = Some(text.trim().into());
        }
    }
    // kube concatenates key and certificate without a line break.
    if let Some(data) = &user.client_key_data
        && let Ok(mut key) = STANDARD.decode(data.expose_secret())
        && !key.is_empty()
    {
        key.push(b'\n');
        user.client_key_data = Some(STANDARD.encode(key).into());
    }
    let provider = user.auth_provider.as_ref();
    let id_token = provider.and_then(|provider| provider.config.get("id-token"));
    let token = user.token.as_ref().map(|token| token.expose_secret());
    for token in id_token.map(String::as_str).into_iter().chain(token) {
        if HeaderValue::try_from(token).is_err() {
            let what = "the login of its user has characters that an HTTP header cannot contain";
            return Err(KubernetesError::Kubeconfig(what.into()));
        }
    }
    if let Some(exec) = &mut user.exec {
        // Standard input may be the image.
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
        let withheld = access.withheld.iter();
        let names = withheld.filter_map(|name| name.clone().into_string().ok());
        exec.drop_env = Some(names.collect());
    }
    Ok(())
}

/// The headers that kube does not send itself: the user agent, and impersonation of users.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
fn headers(user: &AuthInfo) -> Result<Vec<(HeaderName, HeaderValue)>, KubernetesError> {
    let agent = HeaderValue::from_static(crate::http::USER_AGENT);
    let mut headers = vec![(USER_AGENT, agent)];
    let mut add = |name: &str, value: &str| -> Result<(), http::Error> {
        headers.push((HeaderName::try_from(name)?, HeaderValue::try_from(value)?));
        Ok(())
    };
    let uid = user.impersonate_uid.iter();
    let extra = user.impersonate_user_extra.iter().flatten();
    let mut all = uid
        .map(|uid| add("impersonate-uid", uid))
        .collect::<Vec<_>>();
    for (key, values) in extra {
        let name = format!("impersonate-extra-{key}");
        all.extend(values.iter().map(|value| add(&name, value)));
    }
    let all: Result<(), http::Error> = all.into_iter().collect();
    all.map_err(KubernetesError::unusable)?;
    Ok(headers)
}

/// Creates the TLS connector, with a proxy if there is one. A kubeconfig may set a server name that
/// differs from the host of its URL.
fn connector(
    tls: ClientConfig,
    server_name: Option<String>,
    proxy: ProxyConnector,
) -> Result<HttpsConnector<ProxyConnector>, KubernetesError> {
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = server_name {
        let name = ServerName::try_from(name).map_err(KubernetesError::unusable)?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(proxy))
}

/// The login that was sent last. While this holds it as a [`Secret`], it is masked in every message
/// that quotes it.
#[derive(Clone, Default)]
struct SentLogin(Arc<Mutex<Option<Secret>>>);

impl SentLogin {
    fn remember(&self, request: Request<Body>) -> Request<Body> {
        let header = request.headers().get(AUTHORIZATION);
        let login = header.and_then(|header| header.to_str().ok()?.split_once(' '));
        if let Some((_, login)) = login {
            let mut last = self.0.lock();
            if last.as_ref().is_none_or(|last| last.expose() != login) {
                *last = Some(Secret::new(login));
            }
        }
        request
    }
}
