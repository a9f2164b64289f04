//! What holds for every connection: proxies, trusted roots, plain-HTTP hosts, time-outs.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;

use super::fault::Faults;
use super::paths::Paths;
use super::values::{duration, list, number};
use super::variables::Environment;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;
use crate::http::{Certificates, ClientIdentity, IdentityError, Network, Proxies, RateLimiters};
use crate::oci::reference::Endpoint;

/// Reads all of it.
pub(super) fn network(given: &Environment, paths: &Paths<'_>, faults: &mut Faults) -> Network {
    let stall_timeout = given.inputs.stall_timeout.as_deref().and_then(|text| {
        let bounds = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
        faults.take("stall_timeout", duration(text, bounds))
    });
    let finish_timeout = given.inputs.finish_timeout.as_deref().and_then(|text| {
        let bounds = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
        faults.take("finish_timeout", duration(text, bounds))
    });
    let default = Network::default();
    let stall_timeout = stall_timeout.unwrap_or(default.stall_timeout);
    let retry_timeout = given.inputs.retry_timeout.as_deref().and_then(|text| {
        let bounds = Duration::ZERO..=Duration::from_secs(60 * 60);
        faults.take("retry_timeout", duration(text, bounds))
    });
    Network {
        proxies: proxies(given, faults),
        ca_certificates: certificates(given, paths, faults).unwrap_or_default(),
        client_identity: client_identity(given, paths, faults).map(Arc::new),
        certs_d: certs_d(given),
        insecure_registries: insecure_registries(given, faults),
        stall_timeout,
        finish_timeout: finish_timeout.unwrap_or(default.finish_timeout.max(stall_timeout)),
        retry_timeout: retry_timeout.unwrap_or(default.retry_timeout),
        in_action: paths.are_of_action(),
        paces: RateLimiters::new(requests_per_minute(given, faults)),
        ..default
    }
}

/// Google's own quota is 60,000 for a project and region; a larger number would be a slip.
fn requests_per_minute(given: &Environment, faults: &mut Faults) -> Option<NonZeroU32> {
    let text = given.inputs.requests_per_minute.as_deref()?;
    let number = faults.take("requests_per_minute", number(text, 1..=1_000_000))?;
    NonZeroU32::new(number)
}

/// How long the whole run may take.
pub(super) fn timeout(given: &Environment, faults: &mut Faults) -> Option<Duration> {
    let text = given.inputs.timeout.as_deref()?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
    faults.take("timeout", duration(text, bounds))
}

/// The variables that curl and Go read, in upper case before lower case as Go does.
/// <https://pkg.go.dev/golang.org/x/net/http/httpproxy#FromEnvironment>
fn proxies(given: &Environment, faults: &mut Faults) -> Proxies {
    let first = |names: [&'static str; 2]| {
        names
            .into_iter()
            .find_map(|name| Some((name, given.ambient(name)?)))
    };
    // To a CGI program a request's header `Proxy` is `HTTP_PROXY`: a stranger could set it
    // (<https://httpoxy.org>).
    let http = if given.ambient("REQUEST_METHOD").is_some() {
        first(["http_proxy", "http_proxy"])
    } else {
        first(["HTTP_PROXY", "http_proxy"])
    };
    let https = first(["HTTPS_PROXY", "https_proxy"]);
    let all = first(["ALL_PROXY", "all_proxy"]);
    let mut told = Vec::new();
    let mut url = |chosen: Option<(&'static str, &str)>| {
        let (name, text) = chosen.or(all)?;
        proxy_url(text)
            .map_err(|fault| {
                // `ALL_PROXY` stands in twice.
                if !told.contains(&name) {
                    faults.unusable(name, fault);
                    told.push(name);
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

/// A proxy's URL, `http://` where no scheme is given. No fault quotes it: it may hold a password.
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
    // Written anew by `url`, what a password has left unescaped is escaped, so that everyone after
    // it reads the same.
    let normal = url.as_str().trim_end_matches('/').to_owned();
    // One matcher decides for every connection, and what it cannot read it leaves out in silence.
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
    given: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<Certificates> {
    const VARIABLE: &str = "ca_certificates";
    let pem = pem(
        VARIABLE,
        given.inputs.ca_certificates.as_deref()?,
        paths,
        faults,
    )?;
    faults.take(VARIABLE, Certificates::parse(&pem))
}

/// The certificate for registries that ask for one, and its key, which may stand in one text.
fn client_identity(
    given: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ClientIdentity> {
    const CERTIFICATE: &str = "client_certificate";
    const KEY: &str = "client_key";
    let inputs = &given.inputs;
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
    // What is a secret is masked in every log from here on.
    let key = Secret::new(key);
    let identity = ClientIdentity::parse(&certificate, key.expose());
    let variable = match &identity {
        Err(IdentityError::Certificate(_)) => CERTIFICATE,
        _ => KEY,
    };
    faults.take(variable, identity)
}

/// The text of a PEM file, given as itself or as a path.
fn pem(
    variable: &'static str,
    text: &str,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<String> {
    if text.contains("-----BEGIN") {
        return Some(text.to_owned());
    }
    let path = faults.take_path(variable, text, paths.input(text))?;
    let content = paths
        .files()
        .read(&path)
        .map_err(|fault| format!("{} cannot be read: {fault}", quoted(text)));
    let content = faults.take(variable, content)?;
    // Bundles carry names of authorities between the blocks, in any encoding.
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// Where Podman and Docker keep the certificates of single hosts, in the order in which Podman looks.
/// <https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md>
fn certs_d(given: &Environment) -> Vec<PathBuf> {
    let own = given
        .ambient("HOME")
        .map(|home| Path::new(home).join(".config/containers/certs.d"));
    let systems = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(systems).collect()
}

fn insecure_registries(given: &Environment, faults: &mut Faults) -> Vec<Endpoint> {
    const VARIABLE: &str = "insecure_registries";
    let mut endpoints = Vec::new();
    let items = list(given.inputs.insecure_registries.as_deref().unwrap_or(""));
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
