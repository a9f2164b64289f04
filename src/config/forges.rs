//! The repositories of GitHub and GitLab that may push without a key: their names and, if set,
//! their numeric IDs.

use super::environment::Environment;
use crate::commands::setup::request::Forge;
use crate::commands::setup::request::ForgeIds;
use crate::commands::setup::request::ForgeKind;
use crate::diagnostics::sanitize::quoted;
use crate::oci::reference::Endpoint;

/// Parses `OWNER/REPO`, with `#OWNER_ID/REPO_ID` for a private repository.
pub(super) fn github(item: &str, environment: &Environment<'_>) -> Result<Forge, String> {
    let expected = || {
        format!(
            "{} is not a GitHub repository: expected `OWNER/REPO`, or with its numeric ids \
             `OWNER/REPO#OWNER_ID/REPO_ID`",
            quoted(item)
        )
    };
    let (path, ids) = with_ids(item).ok_or_else(expected)?;
    let path = path.strip_prefix("https://github.com/").unwrap_or(path);
    let path = path.strip_suffix(".git").unwrap_or(path);
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [owner, repository] if is_path_part(owner) && is_path_part(repository) => {}
        _ => return Err(expected()),
    }
    let own = ids_of_run(
        environment,
        environment.ambient("GITHUB_REPOSITORY") == Some(path),
        ["GITHUB_REPOSITORY_OWNER_ID", "GITHUB_REPOSITORY_ID"],
    );
    Ok(Forge {
        kind: ForgeKind::GitHub,
        path: path.to_owned(),
        ids: ids.or(own),
    })
}

/// Parses `https://HOST/GROUP/PROJECT`, with `#NAMESPACE_ID/PROJECT_ID` for a private project.
pub(super) fn gitlab(item: &str, environment: &Environment<'_>) -> Result<Forge, String> {
    let expected = || {
        format!(
            "{} is not a GitLab project: expected `https://HOST/GROUP/PROJECT`, or with its \
             numeric ids `https://HOST/GROUP/PROJECT#NAMESPACE_ID/PROJECT_ID`",
            quoted(item)
        )
    };
    let (url, ids) = with_ids(item).ok_or_else(expected)?;
    let (host, path) = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(expected)?;
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let parts: Vec<&str> = path.split('/').collect();
    let endpoint: Endpoint = host.parse().map_err(|_| expected())?;
    if parts.len() < 2 || !parts.iter().all(|part| is_path_part(part)) {
        return Err(expected());
    }
    let own = ids_of_run(
        environment,
        environment.ambient("CI_PROJECT_URL") == Some(url),
        ["CI_PROJECT_NAMESPACE_ID", "CI_PROJECT_ID"],
    );
    Ok(Forge {
        kind: ForgeKind::GitLab(endpoint.host().to_owned()),
        path: path.to_owned(),
        ids: ids.or(own),
    })
}

/// The IDs of the job's own repository, from the variables `names`. `None` for another repository.
fn ids_of_run(environment: &Environment<'_>, is_own: bool, names: [&str; 2]) -> Option<ForgeIds> {
    let number = |name| environment.ambient(name)?.parse().ok();
    is_own.then(|| {
        Some(ForgeIds {
            owner: number(names[0])?,
            repository: number(names[1])?,
        })
    })?
}

/// Splits `TEXT#OWNER/REPOSITORY`. `None` if the part after `#` is not a pair of numbers.
fn with_ids(item: &str) -> Option<(&str, Option<ForgeIds>)> {
    let Some((text, ids)) = item.split_once('#') else {
        return Some((item, None));
    };
    let (owner, repository) = ids.split_once('/')?;
    let ids = ForgeIds {
        owner: owner.parse().ok()?,
        repository: repository.parse().ok()?,
    };
    Some((text, Some(ids)))
}

fn is_path_part(part: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_ids_may_follow_the_name() {
        assert_eq!(with_ids("a/b"), Some(("a/b", None)));
        let ids = ForgeIds {
            owner: 1,
            repository: 22,
        };
        assert_eq!(with_ids("a/b#1/22"), Some(("a/b", Some(ids))));
        for bad in ["a/b#", "a/b#1", "a/b#x/1", "a/b#1/-2", "a/b#1/2/3"] {
            assert_eq!(with_ids(bad), None, "{bad}");
        }
    }
}
