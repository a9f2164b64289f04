//! When a name that the user wrote means a name that an archive holds.

use crate::oci::digest::Digest;
use crate::oci::reference::split_host;

/// True when `wanted` means `name`: the same text, or the same image once both are written out in
/// full, as Docker does (`app` is `docker.io/library/app:latest`).
pub(super) fn means(wanted: &str, name: &str) -> bool {
    wanted == name || in_full(wanted) == in_full(name)
}

/// The name of an image in a layout, where most tools write the tag alone
/// (`org.opencontainers.image.ref.name`): that is no name, and is told with a `:` in front.
pub(super) fn of_layout(name: String) -> String {
    match name.contains(['/', ':', '@']) {
        true => name,
        false => format!(":{name}"),
    }
}

/// True when `wanted` is, or ends in, this digest.
pub(super) fn means_digest(wanted: &str, digest: &Digest) -> bool {
    wanted == digest.as_str()
        || wanted
            .rsplit_once('@')
            .is_some_and(|(_, d)| d == digest.as_str())
}

/// A familiar name with everything written out that Docker leaves out.
fn in_full(name: &str) -> String {
    let (host, path) = match name.split_once('/') {
        Some(("index.docker.io", path)) => ("docker.io", path),
        _ => split_host(name).unwrap_or(("docker.io", name)),
    };
    let library = match host == "docker.io" && !path.contains('/') {
        true => "library/",
        false => "",
    };
    // After the last slash a colon starts a tag.
    let last = path.rsplit('/').next().unwrap_or(path);
    let tag = match last.contains([':', '@']) {
        true => "",
        false => ":latest",
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
