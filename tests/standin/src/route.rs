//! Routing: from a path to the service that answers it.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::answer::{Answer, Refusal};
use crate::call::{Call, Query};
use crate::cloud::{self, discovery};
use crate::hosts::{HostKind, RequestedHost};
use crate::log::RequestKind;
use crate::{forges, issuers, kubernetes, metadata, oauth, registry, sts};

/// The meaning of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Token,
    Catalog,
    Tags {
        name: String,
    },
    Referrers {
        name: String,
        digest: String,
    },
    Manifest {
        name: String,
        reference: String,
    },
    Blob {
        name: String,
        digest: String,
    },
    Uploads {
        name: String,
    },
    /// An upload by its secret; `name` only if the path has it.
    Upload {
        name: Option<String>,
        secret: String,
    },
    Download {
        secret: String,
    },
    OAuthToken,
    /// Google's Security Token Service.
    Sts {
        path: String,
    },
    /// A URL that issues a CI's token to its job.
    Oidc {
        path: String,
    },
    /// The metadata server.
    Metadata {
        path: String,
    },
    TokenInfo,
    /// An API server of Kubernetes.
    Kubernetes {
        path: String,
    },
    /// One of the APIs that a discovery document describes; the path is unparsed, because an
    /// escaped part is one variable.
    Api {
        path: String,
    },
    /// GitHub or GitLab; the path is unparsed, because an escaped part is one name.
    Forge {
        path: String,
    },
    Unknown,
}

/// Parses a path. Names are not checked here, so that a bad one gets the registry's answer and not
/// a bare 404.
pub(crate) fn parse(site: &RequestedHost, path: &str) -> Route {
    if forges::is_forge(&site.host) {
        return Route::Forge {
            path: path.to_owned(),
        };
    }
    let escaped = path;
    let path = percent_decode_str(path).decode_utf8_lossy();
    if site.host == "oauth2.googleapis.com" {
        return match path.as_ref() {
            "/token" => Route::OAuthToken,
            "/tokeninfo" => Route::TokenInfo,
            _ => Route::Unknown,
        };
    }
    let owned = || path.clone().into_owned();
    match site.host.as_str() {
        "sts.googleapis.com" => return Route::Sts { path: owned() },
        issuers::GITHUB | issuers::GITLAB => return Route::Oidc { path: owned() },
        _ if site.family == HostKind::Plain && path.starts_with("/computeMetadata/") => {
            return Route::Metadata { path: owned() };
        }
        _ => {}
    }
    if let Some(rest) = path.strip_prefix("/artifacts-uploads/namespaces/") {
        return secret(rest, "/uploads/").map_or(Route::Unknown, |secret| Route::Upload {
            name: None,
            secret,
        });
    }
    if let Some(rest) = path.strip_prefix("/artifacts-downloads/namespaces/") {
        return secret(rest, "/downloads/")
            .map_or(Route::Unknown, |secret| Route::Download { secret });
    }
    if discovery::is_api(&site.host) {
        return Route::Api {
            path: escaped.to_owned(),
        };
    }
    if site.family == HostKind::Api {
        return Route::Unknown;
    }
    let first = path.split('/').nth(1).unwrap_or_default();
    if site.family == HostKind::Plain && matches!(first, "api" | "apis" | "version") {
        return Route::Kubernetes {
            path: path.into_owned(),
        };
    }
    let token = if site.family == HostKind::Plain {
        "/token"
    } else {
        "/v2/token"
    };
    match path.as_ref() {
        "/v2" | "/v2/" => return Route::Ping,
        "/v2/_catalog" => return Route::Catalog,
        other if other == token => return Route::Token,
        _ => {}
    }
    path.strip_prefix("/v2/").map_or(Route::Unknown, named)
}

/// Parses `NAME/tags/list`, `NAME/manifests/REFERENCE` and so on. The name may itself contain any
/// of these words, so it parses from the end.
fn named(rest: &str) -> Route {
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Route::Tags {
            name: name.to_owned(),
        };
    }
    if let Some(name) = rest
        .strip_suffix("/blobs/uploads/")
        .or(rest.strip_suffix("/blobs/uploads"))
    {
        return Route::Uploads {
            name: name.to_owned(),
        };
    }
    let Some((head, last)) = rest.rsplit_once('/') else {
        return Route::Unknown;
    };
    let Some((name, word)) = head.rsplit_once('/') else {
        return Route::Unknown;
    };
    let (name, last) = (name.to_owned(), last.to_owned());
    match word {
        "manifests" => Route::Manifest {
            name,
            reference: last,
        },
        "referrers" => Route::Referrers { name, digest: last },
        "blobs" => Route::Blob { name, digest: last },
        "uploads" => match name.strip_suffix("/blobs") {
            Some(name) => Route::Upload {
                name: Some(name.to_owned()),
                secret: last,
            },
            None => Route::Unknown,
        },
        _ => Route::Unknown,
    }
}

fn secret(rest: &str, word: &str) -> Option<String> {
    let (_, secret) = rest.split_once(word)?;
    Some(secret.to_owned())
}

/// The kind of a request, for the log and for faults.
pub(crate) fn kind(route: &Route, method: &Method, query: &Query) -> RequestKind {
    use RequestKind as Kind;
    match (route, method.as_str()) {
        (Route::Ping, _) => Kind::Ping,
        (Route::Token, _) => Kind::Token,
        (Route::OAuthToken, _) => Kind::OAuthToken,
        (Route::Sts { .. }, _) => Kind::Sts,
        (Route::Oidc { .. }, _) => Kind::Oidc,
        (Route::Metadata { .. }, _) => Kind::Metadata,
        (Route::Api { .. }, _) => Kind::Api,
        (Route::TokenInfo, _) => Kind::TokenInfo,
        (Route::Kubernetes { .. }, _) => Kind::Kubernetes,
        (Route::Catalog, _) => Kind::Catalog,
        (Route::Tags { .. }, _) => Kind::TagsList,
        (Route::Referrers { .. }, _) => Kind::Referrers,
        (Route::Manifest { .. }, "HEAD") => Kind::ManifestHead,
        (Route::Manifest { .. }, "GET") => Kind::ManifestGet,
        (Route::Manifest { .. }, "PUT") => Kind::ManifestPut,
        (Route::Manifest { .. }, "DELETE") => Kind::ManifestDelete,
        (Route::Blob { .. }, "HEAD") => Kind::BlobHead,
        (Route::Blob { .. }, "GET") => Kind::BlobGet,
        (Route::Uploads { .. }, "POST") if query.get("mount").is_some() => Kind::Mount,
        (Route::Uploads { .. }, "POST") => Kind::UploadStart,
        (Route::Upload { .. }, "PATCH") => Kind::UploadPatch,
        (Route::Upload { .. }, "PUT") => Kind::UploadPut,
        (Route::Upload { .. }, "GET") => Kind::UploadStatus,
        (Route::Upload { .. }, "DELETE") => Kind::UploadCancel,
        (Route::Download { .. }, _) => Kind::BlobDownload,
        _ => Kind::Other,
    }
}

/// Passes the request to its service. Another of Google's APIs is one more arm here and one more
/// file.
pub(crate) async fn handle(call: &mut Call, route: Route) -> Answer {
    // Strictness: each certificate is for one name only.
    if call.is_sent_to_wrong_host() {
        return Refusal::page(421, "Misdirected Request").into();
    }
    let answered = match route {
        Route::OAuthToken => oauth::token(call).await,
        Route::Sts { path } => sts::answer(call, &path).await,
        Route::Oidc { path } => issuers::answer(call, &path),
        Route::Metadata { path } => metadata::answer(call, &path),
        Route::Api { path } => cloud::handle(call, &path).await,
        Route::Forge { path } => forges::answer(call, &path),
        Route::TokenInfo => oauth::token_info(call).await,
        Route::Kubernetes { path } => return kubernetes::handle(call, &path).await,
        Route::Unknown => Err(Refusal::page(404, "Not Found")),
        route => return registry::handle(call, route).await,
    };
    answered.unwrap_or_else(Answer::from)
}
