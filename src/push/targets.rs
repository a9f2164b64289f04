//! From what was asked for to repositories and tags, with the defaults that only the source knows.

use crate::config::Destinations;
use crate::reference::{Endpoint, Reference, ReferenceError, check_tag};

/// A repository at an endpoint, and the tags that the image gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The registry.
    pub endpoint: Endpoint,
    /// The path below it.
    pub repository: String,
    /// The tags, at least one, each once.
    pub tags: Vec<String>,
}

/// Every repository that the image goes to, in the order in which they were given: full references
/// first, then the short tags at each registry. `names` are the source's own (`RepoTags`).
///
/// # Errors
///
/// When a part is missing, or a name that the source gives would be refused.
pub fn targets(
    destinations: &Destinations,
    names: &[String],
) -> Result<Vec<Target>, ReferenceError> {
    let mut targets = Vec::new();
    for reference in &destinations.references {
        let tag = reference.tag.as_deref().unwrap_or("latest");
        add(&mut targets, reference, tag);
    }
    let own: Vec<_> = names.iter().map(|name| split(name)).collect();
    let own_name = own.first().map(|(name, _)| *name);
    let own_tags: Vec<_> = own
        .iter()
        .filter(|(name, _)| Some(*name) == own_name)
        .filter_map(|(_, tag)| *tag)
        .collect();
    let given: Vec<_> = destinations.tags.iter().map(String::as_str).collect();
    let tags = match (given.is_empty(), own_tags.is_empty()) {
        (false, _) => given,
        (true, false) => own_tags,
        (true, true) => vec!["latest"],
    };
    for endpoint in &destinations.endpoints {
        let reference = destinations.at(endpoint, own_name)?;
        for tag in &tags {
            check_tag(tag)?;
            add(&mut targets, &reference, tag);
        }
    }
    Ok(targets)
}

fn add(targets: &mut Vec<Target>, reference: &Reference, tag: &str) {
    let same = |target: &&mut Target| {
        target.endpoint == reference.endpoint && target.repository == reference.repository
    };
    match targets.iter_mut().find(same) {
        Some(target) if target.tags.iter().any(|known| known == tag) => {}
        Some(target) => target.tags.push(tag.to_owned()),
        None => targets.push(Target {
            endpoint: reference.endpoint.clone(),
            repository: reference.repository.clone(),
            tags: vec![tag.to_owned()],
        }),
    }
}

/// `docker.io/library/app:1` is the image `app` with tag `1`: host and `library/` say where it came
/// from, not what it is.
fn split(name: &str) -> (&str, Option<&str>) {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let path = match path.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => path,
    };
    (path.strip_prefix("library/").unwrap_or(path), tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Parts;

    fn short(tags: &[&str], name: Option<&str>) -> Destinations {
        Destinations {
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            endpoints: vec!["gcr.io".parse().unwrap(), "eu.gcr.io".parse().unwrap()],
            parts: Parts {
                project: Some("p".to_owned()),
                repository: None,
                name: name.map(str::to_owned),
            },
            ..Destinations::default()
        }
    }

    fn printed(destinations: &Destinations, names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let targets = targets(destinations, &names).unwrap();
        let lines = targets.iter().map(|target| {
            format!(
                "{}/{}:{}",
                target.endpoint,
                target.repository,
                target.tags.join(",")
            )
        });
        lines.collect()
    }

    #[test]
    fn without_tags_the_source_s_own_are_taken_and_else_latest() {
        assert_eq!(
            printed(
                &short(&[], None),
                &["docker.io/library/app:1", "app:2", "other:3"]
            ),
            ["gcr.io/p/app:1,2", "eu.gcr.io/p/app:1,2"]
        );
        assert_eq!(
            printed(&short(&[], Some("api")), &[]),
            ["gcr.io/p/api:latest", "eu.gcr.io/p/api:latest"]
        );
    }

    #[test]
    fn tags_that_were_given_win_and_references_come_first() {
        let mut destinations = short(&["a", "b", "a"], None);
        destinations.references = vec!["r.example:5000/x:1".parse().unwrap()];
        assert_eq!(
            printed(&destinations, &["localhost:5000/team/app:9"]),
            [
                "r.example:5000/x:1",
                "gcr.io/p/team/app:a,b",
                "eu.gcr.io/p/team/app:a,b"
            ]
        );
    }

    #[test]
    fn an_image_without_any_name_is_told() {
        assert_eq!(
            targets(&short(&["a"], None), &[]),
            Err(ReferenceError::NoName)
        );
    }
}
