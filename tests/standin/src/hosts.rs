//! The host names that the stand-in serves, and what a repository name means on each of them.

use http::{HeaderMap, header};

use crate::answer::Refusal;
use crate::connection::Endpoint;

/// The names that CONNECT is answered for.
pub(crate) struct ServedNames {
    extra: Vec<String>,
}

impl ServedNames {
    pub(crate) fn new(extra: Vec<String>) -> Self {
        Self { extra }
    }

    /// Google's names and those added by the builder.
    pub(crate) fn serves(&self, name: &str) -> bool {
        const SUFFIXES: [&str; 3] = [".gcr.io", ".pkg.dev", ".googleapis.com"];
        name == "gcr.io"
            || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
            || crate::forges::is_forge(name)
            || name == crate::issuers::GITHUB
            || name == crate::issuers::GITLAB
            || self.extra.iter().any(|extra| extra == name)
    }

    /// The host behind a listener or a tunnel.
    pub(crate) fn site(&self, endpoint: &Endpoint, headers: &HeaderMap) -> RequestedHost {
        match endpoint {
            Endpoint::Proxy => unreachable!("the proxy answers for itself"),
            Endpoint::Address { secure, address } => RequestedHost {
                host: own_address(headers, address),
                secure: *secure,
                tunnel: false,
                family: HostKind::Plain,
            },
            Endpoint::Name(name) => RequestedHost {
                host: name.clone(),
                secure: true,
                tunnel: true,
                family: if self.extra.contains(name) {
                    HostKind::Plain
                } else {
                    HostKind::of(name)
                },
            },
        }
    }
}

/// The address as the client calls it, which may be `localhost:PORT`: URLs in answers must stay on
/// the same host for it.
fn own_address(headers: &HeaderMap, address: &str) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let port = address.rsplit(':').next().unwrap_or_default();
    let local = host.filter(|host| *host == format!("localhost:{port}"));
    local.unwrap_or(address).to_owned()
}

/// A host that a client speaks to.
#[derive(Clone, Debug)]
pub(crate) struct RequestedHost {
    pub(crate) host: String,
    pub(crate) secure: bool,
    pub(crate) tunnel: bool,
    pub(crate) family: HostKind,
}

impl RequestedHost {
    /// `https://HOST`.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    /// One of Google's registry hosts.
    pub(crate) fn is_google_registry(&self) -> bool {
        matches!(self.family, HostKind::Gcr { .. } | HostKind::Pkg { .. })
    }
}

/// The kind of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostKind {
    /// One of the four gcr.io names; the repository is called like the host.
    Gcr { location: &'static str },
    /// `LOCATION-docker.pkg.dev`.
    Pkg { location: String },
    /// A registry that is not Google's.
    Plain,
    /// Another of Google's hosts, an API.
    Api,
}

impl HostKind {
    /// Reads a host name. The gcr.io mapping is Google's own (artifact-registry/docs/
    /// transition/gcr-repositories): mind that eu.gcr.io is in `europe`.
    pub(crate) fn of(host: &str) -> Self {
        let location = match host {
            "gcr.io" | "us.gcr.io" => "us",
            "eu.gcr.io" => "europe",
            "asia.gcr.io" => "asia",
            _ => {
                return match host.strip_suffix("-docker.pkg.dev") {
                    Some(location) if !location.is_empty() => HostKind::Pkg {
                        location: location.to_owned(),
                    },
                    _ if host.ends_with(".googleapis.com") => HostKind::Api,
                    _ if host.ends_with(".gcr.io") || host.ends_with(".pkg.dev") => HostKind::Api,
                    _ => HostKind::Plain,
                };
            }
        };
        HostKind::Gcr { location }
    }
}

/// The key of everything in the plain registry.
pub(crate) const PLAIN: &str = "plain";

/// The repository and image that a name on a host leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImagePath {
    /// The name as in the path.
    pub(crate) name: String,
    /// `projects/P`, or empty on a plain registry.
    pub(crate) project: String,
    /// `projects/P/locations/L/repositories/R`, or [`PLAIN`].
    pub(crate) resource: String,
    /// The image within the repository; empty if a listing is about a whole repository.
    pub(crate) image: String,
    /// The repository belongs to the gcr.io host of the request.
    pub(crate) through_gcr: bool,
}

impl ImagePath {
    /// The last part of the resource.
    pub(crate) fn repository(&self) -> &str {
        self.resource.rsplit('/').next().unwrap_or_default()
    }

    /// Resolves a name on a host. Refuses what the host would refuse without a look-up.
    pub(crate) fn resolve(family: &HostKind, host: &str, name: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = name.split('/').collect();
        if *family == HostKind::Plain {
            return Ok(Self {
                name: name.to_owned(),
                project: String::new(),
                resource: PLAIN.to_owned(),
                image: name.to_owned(),
                through_gcr: false,
            });
        }
        // A domain-scoped project `example.com:p` is written `example.com/p` in a path.
        let (project, rest) = match parts.as_slice() {
            [domain, project, rest @ ..] if domain.contains('.') => {
                (format!("projects/{domain}:{project}"), rest)
            }
            [project, rest @ ..] => (format!("projects/{project}"), rest),
            [] => unreachable!("split gives at least one part"),
        };
        let (location, repository, image) = match (family, rest) {
            (HostKind::Gcr { location }, image) => (*location, host, image),
            (HostKind::Pkg { location }, [repository, image @ ..]) => {
                (location.as_str(), *repository, image)
            }
            _ => {
                let message = format!("invalid number of path components: {}", parts.len());
                return Err(Refusal::registry(400, "NAME_INVALID", message));
            }
        };
        Ok(Self {
            name: name.to_owned(),
            resource: format!("{project}/locations/{location}/repositories/{repository}"),
            project,
            image: image.join("/"),
            through_gcr: matches!(family, HostKind::Gcr { .. }),
        })
    }
}
