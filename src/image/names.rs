//! Compares a name that the user wrote with the names in an archive.

use crate::oci::digest::Digest;
use crate::oci::reference::split_host;

/// True if `wanted` refers to `name`: the texts are equal, or their full forms are, as in Docker
/// (`app` is `docker.io/library/app:latest`).
pub(super) fn means(wanted: &str, name: &str) -> bool {
    wanted == name || in_full(wanted) == in_full(name)
}

/// Formats the name of an image in a layout. Most tools write only the tag to
/// `org.opencontainers.image.ref.name`; it is shown with a `:` in front.
pub(super) fn of_layout(name: String) -> String {
    if name.contains(['/', ':', '@']) {
        name
    } else {
        format!(":{name}")
    }
}

/// True if `wanted` is this digest or ends in `@` and this digest.
pub(super) fn means_digest(wanted: &str, digest: &Digest) -> bool {
    wanted == digest.as_str()
        || wanted
            .rsplit_once('@')
            .is_some_and(|(_, d)| d == digest.as_str())
}

/// Expands a familiar name to its full form.
fn in_full(name: &str) -> String {
    let (host, path) = match name.split_once('/') {
        Some(("index.docker.io", path)) => ("docker.io", path),
        _ => split_host(name).unwrap_or(("docker.io", name)),
    };
    let library = if host == "docker.io" && !path.contains('/') {
        "library/"
    } else {
        ""
    };
    // After the last slash a colon starts a tag.
    let last = path.rsplit('/').next().unwrap_or(path);
    let tag = if last.contains([':', '@']) {
        ""
    } else {
        ":latest"
    };
    format!("{host}/{library}{path}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_if_docker_treats_them_so() {
        for (wanted, name) in [
            ("app", "app:latest"),
            ("app:v1", "docker.io/library/app:v1"),
            ("index.docker.io/library/app", "app"),
            ("team/app:v1", "docker.io/team/app:v1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("v1", "v1"),
        ] {
            assert!(means(wanted, name), "{wanted} {name}");
            assert!(means(name, wanted), "{name} {wanted}");
        }
    }

    #[test]
    fn other_hosts_paths_and_tags_are_not_equal() {
        for (wanted, name) in [
            ("app", "app:v1"),
            ("app:v1", "gcr.io/library/app:v1"),
            ("app:v1", "team/app:v1"),
            ("localhost/app", "app"),
            ("App", "app"),
        ] {
            assert!(!means(wanted, name), "{wanted} {name}");
        }
    }
}
