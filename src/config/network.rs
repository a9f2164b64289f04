//! Settings for every connection: proxies, certificates, plain-HTTP hosts, timeouts and rate
//! limits.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;

use super::environment::Environment;
use super::fault::Faults;
use super::paths::Paths;
use super::values::{duration, list, number};
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;
use crate::http::{Certificates, ClientIdentity, IdentityError, Network, Proxies, RateLimiters};
use crate::oci::reference::Endpoint;

/// Reads the settings for every connection.
pub(super) fn network(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Network {
    let stall_timeout = environment
        .inputs
        .stall_timeout
        .as_deref()
        .and_then(|text| {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
            faults.accept("stall_timeout", duration(text, bounds))
        });
    let finish_timeout = environment
        .inputs
        .finish_timeout
        .as_deref()
        .and_then(|text| {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
            faults.accept("finish_timeout", duration(text, bounds))
        });
    let default = Network::default();
    let stall_timeout = stall_timeout.unwrap_or(default.stall_timeout);
    let retry_timeout = environment
        .inputs
        .retry_timeout
        .as_deref()
        .and_then(|text| {
            let bounds = Duration::ZERO..=Duration::from_secs(60 * 60);
            faults.accept("retry_timeout", duration(text, bounds))
        });
    Network {
        proxies: proxies(environment, faults),
        ca_certificates: certificates(environment, paths, faults).unwrap_or_default(),
        client_identity: client_identity(environment, paths, faults).map(Arc::new),
        certs_d: certs_d(environment),
        insecure_registries: insecure_registries(environment, faults),
        stall_timeout,
        finish_timeout: finish_timeout.unwrap_or(default.finish_timeout.max(stall_timeout)),
        retry_timeout: retry_timeout.unwrap_or(default.retry_timeout),
        in_action: paths.are_of_action(),
        rate_limiters: RateLimiters::new(requests_per_minute(environment, faults)),
        ..default
    }
}

/// The upper bound catches mistakes: Google's own quota is 60,000 for a project and region.
fn requests_per_minute(environment: &Environment, faults: &mut Faults) -> Option<NonZeroU32> {
    let text = environment.inputs.requests_per_minute.as_deref()?;
    let number = faults.accept("requests_per_minute", number(text, 1..=1_000_000))?;
    NonZeroU32::new(number)
}

/// The time limit for the whole run. `None` if there is no limit.
pub(super) fn timeout(environment: &Environment, faults: &mut Faults) -> Option<Duration> {
    let text = environment.inputs.timeout.as_deref()?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
    faults.accept("timeout", duration(text, bounds))
}

/// Reads the proxy variables of curl and Go, upper case before lower case, as Go does.
/// <https://pkg.go.dev/golang.org/x/net/http/httpproxy#FromEnvironment>
fn proxies(environment: &Environment, faults: &mut Faults) -> Proxies {
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
                    faults.unusable(name, fault);
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
    let url = url::Url::parse(&full)
        .map_err(|fault| format!("it is no URL of a proxy: {fault}; its value is not shown"))?;
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
        return Err("it is no URL of a proxy; its value is not shown".to_owned());
    }
    Ok(normal)
}

fn certificates(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<Certificates> {
    const VARIABLE: &str = "ca_certificates";
    let pem = pem(
        VARIABLE,
        environment.inputs.ca_certificates.as_deref()?,
        paths,
        faults,
    )?;
    faults.accept(VARIABLE, Certificates::parse(&pem))
}

/// The client certificate and its key, which may be in the same text.
fn client_identity(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ClientIdentity> {
    const CERTIFICATE: &str = "client_certificate";
    const KEY: &str = "client_key";
    let inputs = &environment.inputs;
    let (certificate, key) = match (&inputs.client_certificate, &inputs.client_key) {
        (Some(certificate), key) => (certificate, key),
        (None, Some(_)) => {
            faults.unusable(KEY, "it needs `client_certificate`");
            return None;
        }
        (None, None) => return None,
    };
    let certificate = pem(CERTIFICATE, certificate, paths, faults)?;
    let key = match key {
        Some(key) => pem(KEY, key, paths, faults)?,
        None if certificate.contains("PRIVATE KEY-----") => certificate.clone(),
        None => {
            faults.unusable(CERTIFICATE, "it needs `client_key`");
            return None;
        }
    };
    // A `Secret` is masked in every log from here on.
    let key = Secret::new(key);
    let identity = ClientIdentity::parse(&certificate, key.expose());
    let variable = match &identity {
        Err(IdentityError::Certificate(_)) => CERTIFICATE,
        _ => KEY,
    };
    faults.accept(variable, identity)
}

/// Reads PEM, either from the text itself or from the file at that path.
fn pem(
    variable: &'static str,
    text: &str,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<String> {
    if text.contains("-----BEGIN") {
        return Some(text.to_owned());
    }
    let path = faults.accept_path(variable, text, paths.input(text))?;
    let content = paths
        .files()
        .read(&path)
        .map_err(|fault| format!("{} cannot be read: {fault}", quoted(text)));
    let content = faults.accept(variable, content)?;
    // Bundles may have names of authorities between the blocks, in any encoding.
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// The directories with certificates for single hosts, in Podman's order.
/// <https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md>
fn certs_d(environment: &Environment) -> Vec<PathBuf> {
    let own = environment
        .ambient("HOME")
        .map(|home| Path::new(home).join(".config/containers/certs.d"));
    let systems = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(systems).collect()
}

fn insecure_registries(environment: &Environment, faults: &mut Faults) -> Vec<Endpoint> {
    const VARIABLE: &str = "insecure_registries";
    let mut endpoints = Vec::new();
    let items = list(
        environment
            .inputs
            .insecure_registries
            .as_deref()
            .unwrap_or(""),
    );
    if faults.refuse_login(VARIABLE, &items) {
        return endpoints;
    }
    for item in items {
        match item.parse::<Endpoint>() {
            Ok(endpoint) if endpoint.is_google() || endpoint.is_read_only() => faults.unusable(
                VARIABLE,
                format!("`{endpoint}` is Google's and is never spoken to over plain HTTP"),
            ),
            Ok(endpoint) => endpoints.push(endpoint),
            Err(fault) => faults.unusable(VARIABLE, fault),
        }
    }
    endpoints
}
