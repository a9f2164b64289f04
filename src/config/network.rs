//! Settings for every connection: proxies, certificates, plain-HTTP hosts, timeouts and rate
//! limits.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;

use super::environment::Environment;
use super::input::Input;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;
use crate::http::{Certificates, ClientIdentity, IdentityError, Network, Proxies, RateLimiters};
use crate::oci::reference::Endpoint;

/// Reads the settings for every connection.
pub(super) fn network(environment: &Environment<'_>) -> Network {
    let inputs = &environment.inputs;
    let default = Network::default();
    let stall_timeout = inputs.stall_timeout.duration();
    let stall_timeout = stall_timeout.unwrap_or(default.stall_timeout);
    let finish_timeout = inputs.finish_timeout.duration();
    let requests_per_minute = inputs.requests_per_minute.count();
    Network {
        proxies: proxies(environment),
        ca_certificates: certificates(environment).unwrap_or_default(),
        client_identity: client_identity(environment).map(Arc::new),
        certs_d: certs_d(environment),
        insecure_registries: insecure_registries(environment),
        stall_timeout,
        finish_timeout: finish_timeout.unwrap_or(default.finish_timeout.max(stall_timeout)),
        retry_timeout: inputs
            .retry_timeout
            .duration()
            .unwrap_or(default.retry_timeout),
        in_action: environment.paths.are_of_action(),
        rate_limiters: RateLimiters::new(requests_per_minute.and_then(NonZeroU32::new)),
        ..default
    }
}

/// Reads the proxy variables of curl and Go, upper case before lower case, as Go does.
/// <https://pkg.go.dev/golang.org/x/net/http/httpproxy#FromEnvironment>
fn proxies(environment: &Environment<'_>) -> Proxies {
    let first = |names: [&'static str; 2]| {
        names
            .into_iter()
            .find_map(|name| Some((name, environment.ambient(name)?)))
    };
    // In a CGI program `HTTP_PROXY` holds the request's header `Proxy`, which anyone can set
    // (<https://httpoxy.org>).
    let http = if environment.ambient("REQUEST_METHOD").is_some() {
        first(["http_proxy", "http_proxy"])
    } else {
        first(["HTTP_PROXY", "http_proxy"])
    };
    let https = first(["HTTPS_PROXY", "https_proxy"]);
    let all = first(["ALL_PROXY", "all_proxy"]);
    let mut reported = Vec::new();
    let mut url = |chosen: Option<(&'static str, &str)>| {
        let (name, text) = chosen.or(all)?;
        proxy_url(text)
            .map_err(|fault| {
                // `ALL_PROXY` may replace both of the others.
                if !reported.contains(&name) {
                    environment.errors.invalid(name, fault);
                    reported.push(name);
                }
            })
            .ok()
    };
    Proxies {
        https: url(https),
        http: url(http),
        no_proxy: first(["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts.to_owned()),
    }
}

/// Parses a proxy's URL; the default scheme is `http://`. No error quotes it, because it may hold a
/// password.
fn proxy_url(text: &str) -> Result<String, String> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = url::Url::parse(&full).map_err(|fault| {
        format!("it is not the URL of a proxy: {fault}; its value is not shown")
    })?;
    match url.scheme() {
        "http" | "https" => {}
        scheme if scheme.starts_with("socks") => {
            return Err(
                "SOCKS proxies are not supported, only `http://` and `https://`".to_owned(),
            );
        }
        _ => return Err("a proxy's URL starts with `http://` or `https://`".to_owned()),
    }
    // `url` escapes special characters of a password, so that every later parser reads the same.
    let normal = url.as_str().trim_end_matches('/').to_owned();
    // One matcher decides for every connection, and it silently ignores a URL that it cannot parse.
    let met = Matcher::builder()
        .all(normal.as_str())
        .build()
        .intercept(&http::Uri::from_static("https://gcr.io"));
    if met.is_none_or(|proxy| proxy.uri().host() != url.host_str()) {
        return Err("it is not the URL of a proxy; its value is not shown".to_owned());
    }
    Ok(normal)
}

fn certificates(environment: &Environment<'_>) -> Option<Certificates> {
    let input = &environment.inputs.ca_certificates;
    input.accept(Certificates::parse(&pem(environment, input)?))
}

/// The client certificate and its key, which may be in the same text.
fn client_identity(environment: &Environment<'_>) -> Option<ClientIdentity> {
    let inputs = &environment.inputs;
    let (certificate, key) = (&inputs.client_certificate, &inputs.client_key);
    if !certificate.is_set() {
        if key.is_set() {
            key.invalid("it needs `client_certificate`");
        }
        return None;
    }
    let certificate_pem = pem(environment, certificate)?;
    let key_pem = if key.is_set() {
        pem(environment, key)?
    } else if certificate_pem.contains("PRIVATE KEY-----") {
        certificate_pem.clone()
    } else {
        certificate.invalid("it needs `client_key`");
        return None;
    };
    // A `Secret` is masked in every log from here on.
    let key_pem = Secret::new(key_pem);
    let identity = ClientIdentity::parse(&certificate_pem, key_pem.expose());
    match &identity {
        Err(IdentityError::Certificate(_)) => certificate.accept(identity),
        _ => key.accept(identity),
    }
}

/// Reads PEM, either from the text itself or from the file at that path.
fn pem(environment: &Environment<'_>, input: &Input) -> Option<String> {
    let text = input.text()?;
    if text.contains("-----BEGIN") {
        return Some(text.to_owned());
    }
    let path = environment.paths.input(text);
    let path = environment.errors.accept_path(input.name, text, path)?;
    let content = environment.paths.files().read(&path);
    let content = input
        .accept(content.map_err(|error| format!("{} cannot be read: {error}", quoted(text))))?;
    // Bundles may have names of authorities between the blocks, in any encoding.
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// The directories with certificates for single hosts, in Podman's order.
/// <https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md>
fn certs_d(environment: &Environment<'_>) -> Vec<PathBuf> {
    let own = environment
        .ambient("HOME")
        .map(|home| Path::new(home).join(".config/containers/certs.d"));
    let systems = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(systems).collect()
}

fn insecure_registries(environment: &Environment<'_>) -> Vec<Endpoint> {
    let input = &environment.inputs.insecure_registries;
    let mut endpoints = Vec::new();
    for item in input.items_without_login().unwrap_or_default() {
        match item.parse::<Endpoint>() {
            Ok(endpoint) if endpoint.is_google() || endpoint.is_read_only() => input.invalid(
                format!("`{endpoint}` is Google's and is never used over plain HTTP"),
            ),
            Ok(endpoint) => endpoints.push(endpoint),
            Err(error) => input.invalid(error),
        }
    }
    endpoints
}
