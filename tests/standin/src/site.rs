//! The names we stand in for, and what a repository name means on each of them.

use http::{HeaderMap, header};

use crate::answer::Refusal;
use crate::connection::Front;

/// Which names CONNECT is answered for.
pub(crate) struct Names {
    extra: Vec<String>,
}

impl Names {
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

    /// What is found behind a listener or a tunnel.
    pub(crate) fn site(&self, front: &Front, headers: &HeaderMap) -> Site {
        match front {
            Front::Proxy => unreachable!("the proxy answers for itself"),
            Front::Address { secure, address } => Site {
                host: asked(headers, address),
                secure: *secure,
                tunnel: false,
                family: Family::Plain,
            },
            Front::Name(name) => Site {
                host: name.clone(),
                secure: true,
                tunnel: true,
                family: if self.extra.contains(name) {
                    Family::Plain
                } else {
                    Family::of(name)
                },
            },
        }
    }
}

/// Our own address in the words of the client, which may call it `localhost:PORT`: URLs that
/// it is given have to stay on what it takes for the same host.
fn asked(headers: &HeaderMap, address: &str) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let port = address.rsplit(':').next().unwrap_or_default();
    let local = host.filter(|host| *host == format!("localhost:{port}"));
    local.unwrap_or(address).to_owned()
}

/// One host that is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) host: String,
    pub(crate) secure: bool,
    pub(crate) tunnel: bool,
    pub(crate) family: Family,
}

impl Site {
    /// `https://HOST`.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    /// One of Google's registry hosts.
    pub(crate) fn is_google_registry(&self) -> bool {
        matches!(self.family, Family::Gcr { .. } | Family::Pkg { .. })
    }
}

/// What a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// One of the four gcr.io names; the repository is called like the host.
    Gcr { location: &'static str },
    /// `LOCATION-docker.pkg.dev`.
    Pkg { location: String },
    /// A registry that is not Google's.
    Plain,
    /// Another of Google's hosts, an API.
    Api,
}

impl Family {
    /// Reads a host name. The gcr.io mapping is Google's own (artifact-registry/docs/
    /// transition/gcr-repositories): mind that eu.gcr.io is in `europe`.
    pub(crate) fn of(host: &str) -> Self {
        let location = match host {
            "gcr.io" | "us.gcr.io" => "us",
            "eu.gcr.io" => "europe",
            "asia.gcr.io" => "asia",
            _ => {
                return match host.strip_suffix("-docker.pkg.dev") {
                    Some(location) if !location.is_empty() => Family::Pkg {
                        location: location.to_owned(),
                    },
                    _ if host.ends_with(".googleapis.com") => Family::Api,
                    _ if host.ends_with(".gcr.io") || host.ends_with(".pkg.dev") => Family::Api,
                    _ => Family::Plain,
                };
            }
        };
        Family::Gcr { location }
    }
}

/// The key of everything that the plain registry holds.
pub(crate) const PLAIN: &str = "plain";

/// Where a name on a host leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The name as it was in the path.
    pub(crate) name: String,
    /// `projects/P`, or nothing on a plain registry.
    pub(crate) project: String,
    /// `projects/P/locations/L/repositories/R`, or [`PLAIN`].
    pub(crate) resource: String,
    /// The image within the repository; empty where a listing asks about a whole repository.
    pub(crate) image: String,
    /// The repository belongs to the gcr.io host it was reached through.
    pub(crate) through_gcr: bool,
}

impl Place {
    /// The last part of the resource.
    pub(crate) fn repository(&self) -> &str {
        self.resource.rsplit('/').next().unwrap_or_default()
    }

    /// Resolves a name on a host, refusing what the host would refuse on sight.
    pub(crate) fn resolve(family: &Family, host: &str, name: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = name.split('/').collect();
        if *family == Family::Plain {
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
            (Family::Gcr { location }, image) => (*location, host, image),
            (Family::Pkg { location }, [repository, image @ ..]) => {
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
            through_gcr: matches!(family, Family::Gcr { .. }),
        })
    }
}
