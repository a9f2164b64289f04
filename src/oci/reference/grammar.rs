//! The grammar of tags and repository names.

use super::{Endpoint, HostKind, ReferenceError};

/// Checks a tag against the grammar of the distribution spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
/// ("Pulling manifests").
///
/// # Errors
///
/// If a registry would refuse it.
pub fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let error = |reason| Err(ReferenceError::Tag(tag.to_owned(), reason));
    if tag.is_empty() {
        return error("it is empty; a variable may not be set in this run");
    }
    if tag.contains('/') {
        return error("a tag cannot contain `/`");
    }
    if tag.contains(':') {
        return error("a tag cannot contain `:`; write two tags as two items");
    }
    if tag.len() > 128 {
        return error("it is longer than 128 characters");
    }
    if tag.starts_with(['.', '-']) {
        return error("it starts with `.` or `-`");
    }
    if !tag
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        return error("a tag can contain only letters, digits, `_`, `.` and `-`");
    }
    Ok(())
}

/// The error for a name such as `gcr.io//app`.
pub(super) const EMPTY_PART: &str = "a part of it is empty; a variable may not be set, or a secret \
                                     in the pull request of a fork";

/// Checks a repository name: the grammar of the distribution spec for each component, the limit of
/// 255 characters including the host in most registries, and the number of components that Google
/// requires.
pub(super) fn check_repository(endpoint: &Endpoint, path: &str) -> Result<(), ReferenceError> {
    let error = |reason| Err(ReferenceError::Repository(path.to_owned(), reason));
    if path.is_empty() {
        return error("it is empty");
    }
    if path.split('/').any(str::is_empty) {
        return error(EMPTY_PART);
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return error("registries accept only lower case");
    }
    if endpoint.host().len() + 1 + path.len() > 255 {
        return error("with its host it is longer than 255 characters");
    }
    if !path.split('/').all(is_component) {
        return error(
            "each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`",
        );
    }
    // A domain-scoped project has one more component.
    let domain = usize::from(path.split('/').next().is_some_and(|c| c.contains('.')));
    let components = path.split('/').count() - domain.min(path.split('/').count());
    match endpoint.kind() {
        HostKind::Gcr { .. } if components < 2 => {
            error("on gcr.io an image is named `PROJECT/NAME`")
        }
        HostKind::ArtifactRegistry { .. } if components < 3 => {
            error("on pkg.dev an image is named `PROJECT/REPOSITORY/NAME`")
        }
        _ => Ok(()),
    }
}

/// True for a component of a name by the distribution spec: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
pub(crate) fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric);
    edges
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
            })
}

/// True if Docker takes a first component for a host. Otherwise it is part of a path on Docker Hub.
/// <https://github.com/distribution/reference/blob/main/normalize.go>
pub(crate) fn looks_like_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

/// Splits a name into host and path. `None` if it does not start with a host, as in `web:feature`.
pub(crate) fn split_host(text: &str) -> Option<(&str, &str)> {
    let (host, path) = text
        .split_once('/')
        .filter(|(host, _)| looks_like_host(host))?;
    let is_tag = match host.split_once(':') {
        Some((name, port)) => {
            !name.contains(['.', '[']) && !port.bytes().all(|b| b.is_ascii_digit())
        }
        None => false,
    };
    (!is_tag).then_some((host, path))
}

/// True if `repository` is `path` or below it. Everything is below the empty path.
pub(crate) fn is_at_or_below(repository: &str, path: &str) -> bool {
    let rest = repository.strip_prefix(path);
    path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_ends_at_a_slash() {
        assert!(is_at_or_below("acme/api", "acme"));
        assert!(is_at_or_below("acme", "acme"));
        assert!(is_at_or_below("anything", ""));
        assert!(!is_at_or_below("acme-2/api", "acme"));
    }
}
