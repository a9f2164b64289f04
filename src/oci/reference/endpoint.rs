//! Registry hosts, and the kinds of Google's hosts.

use std::fmt;
use std::str::FromStr;

use super::ReferenceError;

/// A registry: `host` or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(String);

/// The kind of a registry by its host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// `gcr.io` and its regional hosts, which Artifact Registry serves. `location` is that of the
    /// repository with the same name (`gcr.io` → `us`, `eu.gcr.io` → `europe`).
    /// <https://cloud.google.com/artifact-registry/docs/transition/gcr-repositories>
    Gcr {
        /// The Artifact Registry location.
        location: &'static str,
    },
    /// `LOCATION-docker.pkg.dev`.
    ArtifactRegistry {
        /// The Artifact Registry location.
        location: String,
    },
    /// Any other registry.
    Other,
}

const GCR_LOCATIONS: [(&str, &str); 4] = [
    ("gcr.io", "us"),
    ("us.gcr.io", "us"),
    ("eu.gcr.io", "europe"),
    ("asia.gcr.io", "asia"),
];

/// Google's hosts with public images, which only Google can push to and which need no login.
/// <https://cloud.google.com/artifact-registry/docs/pull-cached-dockerhub-images>
const PUBLIC: [&str; 12] = [
    "mirror.gcr.io",
    "us-mirror.gcr.io",
    "eu-mirror.gcr.io",
    "asia-mirror.gcr.io",
    "marketplace.gcr.io",
    "launcher.gcr.io",
    "k8s.gcr.io",
    "us.k8s.gcr.io",
    "eu.k8s.gcr.io",
    "asia.k8s.gcr.io",
    "l.gcr.io",
    "gke.gcr.io",
];

impl Endpoint {
    /// `host` or `host:port`, in lower case.
    pub fn host(&self) -> &str {
        &self.0
    }

    /// The host without its port.
    pub fn host_name(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.0,
        }
    }

    /// True for Docker Hub under any of its names.
    pub fn is_docker_hub(&self) -> bool {
        matches!(
            self.host(),
            "docker.io" | "index.docker.io" | "registry-1.docker.io"
        )
    }

    /// True for registries that are known to have no catalog, so that each image must be named.
    pub fn has_no_catalog(&self) -> bool {
        self.is_docker_hub() || self.host() == "ghcr.io"
    }

    /// `HOST/path`, or `HOST` if `path` is empty.
    pub fn with_path(&self, path: &str) -> String {
        match path {
            "" => self.to_string(),
            path => format!("{self}/{path}"),
        }
    }

    /// The root of the registry's API, `SCHEME://HOST/v2/`. Docker Hub's API has another host than
    /// the names of its images.
    pub fn url(&self, scheme: &str) -> url::Url {
        let host = if self.is_docker_hub() {
            "registry-1.docker.io"
        } else {
            self.host()
        };
        #[expect(
            clippy::expect_used,
            reason = "an endpoint's host was checked when it was read"
        )]
        url::Url::parse(&format!("{scheme}://{host}/v2/")).expect("a checked host makes a URL")
    }

    /// The kind of the registry.
    pub fn kind(&self) -> HostKind {
        if let Some((_, location)) = GCR_LOCATIONS.iter().find(|(host, _)| *host == self.0) {
            return HostKind::Gcr { location };
        }
        match self.0.strip_suffix("-docker.pkg.dev") {
            Some(location) => HostKind::ArtifactRegistry {
                location: location.to_owned(),
            },
            None => HostKind::Other,
        }
    }

    /// True for registries that accept Google credentials and have Google's list extension.
    pub fn is_google(&self) -> bool {
        self.kind() != HostKind::Other
    }

    /// True for Google's hosts with public images, which need no login and cannot be pushed to.
    pub fn is_read_only(&self) -> bool {
        PUBLIC.contains(&self.host())
    }

    /// True for this machine. Plain HTTP is tried there if the server does not speak TLS.
    pub fn is_loopback(&self) -> bool {
        let name = self.host_name().trim_matches(['[', ']']);
        name == "localhost"
            || name
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let error = |reason| Err(ReferenceError::Host(text.to_owned(), reason));
        if let Some(error) = ReferenceError::of_text(text) {
            return Err(match error {
                ReferenceError::Scheme(_) => {
                    ReferenceError::Host(text.to_owned(), without_scheme(text))
                }
                other => other,
            });
        }
        if text.contains('/') {
            return error("use only the host; project and name have their own variables");
        }
        let host = text.to_ascii_lowercase();
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(':') || name.starts_with('[') => {
                (name, Some(port))
            }
            _ => (host.as_str(), None),
        };
        if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
            return error("the port is not a number from 1 to 65535");
        }
        if !is_host_name(name) {
            return error("it is not a host name");
        }
        if port.is_none() && name.ends_with("gcr.io") && name != "gcr.io" {
            let mut known = GCR_LOCATIONS.iter().map(|(host, _)| host).chain(&PUBLIC);
            if name.ends_with(".gcr.io") && !known.any(|host| *host == name) {
                return error(
                    "Google's hosts are `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io`",
                );
            }
        }
        if let Some(location) = name.strip_suffix(".pkg.dev") {
            let location = location.strip_suffix("-docker").filter(|l| is_location(l));
            if location.is_none() || port.is_some() {
                return error("Artifact Registry's hosts look like `us-docker.pkg.dev`");
            }
        }
        Ok(Self(host))
    }
}

/// The error for a host with a scheme.
fn without_scheme(text: &str) -> &'static str {
    match super::text::scheme(text) {
        Some("http://") => "use only the host, without `http://`",
        Some("docker://") => "use only the host, without `docker://`",
        Some("oci://") => "use only the host, without `oci://`",
        _ => "use only the host, without `https://`",
    }
}

pub(crate) fn is_host_name(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_location(text: &str) -> bool {
    !text.is_empty()
        && text
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_classified() {
        let kind = |host: &str| host.parse::<Endpoint>().unwrap().kind();
        assert_eq!(kind("eu.gcr.io"), HostKind::Gcr { location: "europe" });
        assert_eq!(
            kind("us-central1-docker.pkg.dev"),
            HostKind::ArtifactRegistry {
                location: "us-central1".into()
            }
        );
        assert_eq!(kind("registry.example.com:5000"), HostKind::Other);
        assert_eq!(kind("notgcr.io"), HostKind::Other);
        assert_eq!(kind("mirror.gcr.io"), HostKind::Other);
        let is_read_only = |host: &str| host.parse::<Endpoint>().unwrap().is_read_only();
        assert!(is_read_only("mirror.gcr.io") && !is_read_only("gcr.io"));
    }

    #[test]
    fn unknown_google_hosts_are_refused_with_known_ones() {
        for bad in [
            "https://gcr.io",
            "gcr.io/project",
            "fr.gcr.io",
            "us.pkg.dev",
            "-docker.pkg.dev",
            "us-docker.pkg.dev:443",
            "host:0",
            "host:99999",
            "host:port",
            "ho st",
            "",
            "-x.example",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_has_every_spelling_of_this_machine() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(host.parse::<Endpoint>().unwrap().is_loopback(), "{host}");
        }
        assert!(
            !"localhost.example.com"
                .parse::<Endpoint>()
                .unwrap()
                .is_loopback()
        );
    }
}
