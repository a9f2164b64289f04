//! Destinations: full references, and tags under a repository that is put together from its parts.

use super::fault::{Faults, quoted};
use super::inputs::{Given, PROJECT};
use super::values::list;
use super::{BestEffort, Command, Destinations, Listing, defaults};
use crate::auth::{GoogleCredential, Origin};
use crate::reference::{Endpoint, HostKind, Parts, Reference, ReferenceError, check_tag};

/// Reads `tags`, `registry`, `project_id`, `repository` and `name`; the credential may know the
/// project.
///
/// All that can be told without the image is told here: an item that no registry takes, a part that
/// is missing or has no place.
pub(super) fn destinations(
    given: &Given,
    command: Command,
    google: Option<&(Origin, GoogleCredential)>,
    faults: &mut Faults,
) -> Destinations {
    // What is set up is told by `registry` and `repository` alone.
    let (references, tags) = match command {
        Command::Setup => (Vec::new(), Vec::new()),
        Command::List => {
            let (mut references, tags) = items(given, faults);
            references.extend(shown(given, faults));
            (references, tags)
        }
        _ => items(given, faults),
    };
    let endpoints = endpoints(given, command, &references, &tags, faults);
    let inputs = &given.inputs;
    let project = project(given, google);
    let destinations = Destinations {
        references,
        tags,
        endpoints,
        parts: Parts {
            project: project.map(|(_, project)| project.to_owned()),
            repository: inputs.repository.clone(),
            name: inputs.name.clone(),
        },
        project_is_default: inputs.project_id.is_none(),
        best_effort: BestEffort::default(),
    };
    let destinations = Destinations {
        best_effort: best_effort(given, &destinations.hosts(), faults),
        ..destinations
    };
    let origin = project.map_or("project_id", |(origin, _)| origin);
    if check_parts(&destinations, origin, faults) && command != Command::PullSecret {
        check_endpoints(&destinations, command, given, faults);
        // A key brings its project: while there is none, or a faulty one, it is not the project
        // that is missing.
        let key_may_come = google.is_none()
            && (matches!(command, Command::Push | Command::Doctor)
                || given.inputs.credentials_json.is_some());
        let mut endpoints = destinations.endpoints.iter();
        if destinations.parts.project.is_none()
            && !key_may_come
            && let Some(endpoint) = endpoints.find(|endpoint| endpoint.is_google())
        {
            faults.missing("project_id", format!("`{endpoint}` needs a project"));
        }
    }
    destinations
}

/// The project and the variable that it is from: `project_id`, else the key, else what the rest of
/// the world calls it.
fn project<'a>(
    given: &'a Given,
    google: Option<&'a (Origin, GoogleCredential)>,
) -> Option<(&'static str, &'a str)> {
    let explicit = given.inputs.project_id.as_deref();
    let of_key = google.and_then(|(origin, credential)| match (origin, credential) {
        (Origin::Variable(name), GoogleCredential::Key(key)) => {
            Some((*name, key.project_id.as_deref()?))
        }
        (_, GoogleCredential::Key(key)) => Some(("credentials_json", key.project_id.as_deref()?)),
        _ => None,
    });
    let ambient = || {
        let mut names = PROJECT.iter();
        names.find_map(|name| Some((*name, given.ambient(name)?)))
    };
    explicit
        .map(|project| ("project_id", project))
        .or(of_key)
        .or_else(ambient)
}

/// The items of `tags`: full references, each with a tag, and tags alone.
fn items(given: &Given, faults: &mut Faults) -> (Vec<Reference>, Vec<String>) {
    const VARIABLE: &str = "tags";
    let mut references: Vec<Reference> = Vec::new();
    let mut tags = Vec::new();
    let Some(text) = given.inputs.tags.as_deref() else {
        return (references, tags);
    };
    let items = list(text);
    if items.is_empty() {
        faults.unusable(VARIABLE, "there is no item in it, only separators");
    }
    for item in items {
        if item.contains(char::is_whitespace) {
            faults.unusable(
                VARIABLE,
                format!(
                    "{} is one item: put a comma or a line break between two",
                    quoted(item)
                ),
            );
            continue;
        }
        if !item.contains('/') {
            match check_tag(item) {
                Ok(()) => tags.push(item.to_owned()),
                Err(fault) => {
                    faults.unusable(VARIABLE, fault);
                    if item.contains(':') {
                        faults.hint("a full reference begins with its registry, as in `gcr.io/PROJECT/NAME:TAG`; an item without `/` is a tag alone");
                    }
                }
            }
            continue;
        }
        match item.parse::<Reference>() {
            Ok(reference) if reference.digest.is_some() => faults.unusable(
                VARIABLE,
                format!(
                    "{} ends in a digest, but only a tag can be chosen: the digest follows from the image",
                    quoted(item)
                ),
            ),
            Ok(mut reference) => {
                // As `docker push` reads it.
                reference.tag.get_or_insert_with(|| "latest".to_owned());
                if !references.contains(&reference) {
                    references.push(reference);
                }
            }
            Err(fault) => faults.unusable(VARIABLE, fault),
        }
    }
    (references, tags)
}

/// What `list` is to show of `image`: what a registry holds under that name.
fn shown(given: &Given, faults: &mut Faults) -> Option<Reference> {
    let text = given.inputs.image.as_deref()?;
    let name = text.strip_prefix("docker://").unwrap_or(text);
    let reference = name.parse().map_err(|fault: ReferenceError| {
        format!("`list` shows what registries hold, as in `gcr.io/acme/api`: {fault}")
    });
    faults.take("image", reference)
}

/// The items of `best_effort`: hosts, and repositories on them.
fn best_effort(given: &Given, hosts: &[Endpoint], faults: &mut Faults) -> BestEffort {
    const VARIABLE: &str = "best_effort";
    let mut found = BestEffort::default();
    let Some(text) = given.inputs.best_effort.as_deref() else {
        return found;
    };
    for item in list(text) {
        let endpoint = if item.contains('/') {
            item.parse().map(|reference: Reference| {
                let endpoint = reference.endpoint.clone();
                found.references.push(reference);
                endpoint
            })
        } else {
            item.parse()
                .inspect(|host: &Endpoint| found.hosts.push(host.clone()))
        };
        match endpoint {
            Ok(endpoint) if hosts.contains(&endpoint) => {}
            Ok(_) => faults.unusable(
                VARIABLE,
                format!(
                    "{} is no destination: give a host or a reference that is one",
                    quoted(item)
                ),
            ),
            Err(fault) => faults.unusable(VARIABLE, fault),
        }
    }
    found
}

/// The hosts that tags alone go to: `registry`, or its default where something would go there.
fn endpoints(
    given: &Given,
    command: Command,
    references: &[Reference],
    tags: &[String],
    faults: &mut Faults,
) -> Vec<Endpoint> {
    const VARIABLE: &str = "registry";
    let is_named = command == Command::List && given.inputs.image.is_some();
    let only_full = tags.is_empty() && (is_named || !references.is_empty());
    let Some(text) = given.inputs.registry.as_deref() else {
        if only_full {
            return Vec::new();
        }
        return defaults::REGISTRY.parse().into_iter().collect();
    };
    let items = list(text);
    if items.is_empty() {
        faults.unusable(VARIABLE, "there is no item in it, only separators");
    }
    if only_full && matches!(command, Command::Push | Command::Doctor) {
        faults.unusable(
            VARIABLE,
            "nothing would go there, because every item of `tags` is a full reference: give its references in `tags` too, or a tag without `/`",
        );
        return Vec::new();
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in items {
        match item.parse() {
            Ok(endpoint) if endpoints.contains(&endpoint) => {}
            Ok(endpoint) => endpoints.push(endpoint),
            Err(fault) => faults.unusable(VARIABLE, fault),
        }
    }
    endpoints
}

/// Checks each part by itself, so that the variable that is wrong is the one that is named; the
/// project is from `origin`.
fn check_parts(destinations: &Destinations, origin: &'static str, faults: &mut Faults) -> bool {
    let mut good = true;
    let mut fault = |variable, text: String| {
        faults.unusable(variable, text);
        good = false;
    };
    let parts = &destinations.parts;
    let mut endpoints = destinations.endpoints.iter();
    let project_is_used = !destinations.project_is_default || endpoints.any(Endpoint::is_google);
    if let Some(project) = &parts.project
        && project_is_used
        && let Some(reason) = refused(Parts {
            project: Some(project.clone()),
            name: Some("name".to_owned()),
            repository: None,
        })
    {
        let reason = if project.contains('/') {
            "give the project alone, without `/`"
        } else {
            reason
        };
        fault(
            origin,
            format!("project {} would be refused: {reason}", quoted(project)),
        );
    }
    for (variable, noun, part) in [
        ("repository", "repository", &parts.repository),
        ("name", "image name", &parts.name),
    ] {
        let Some(part) = part else { continue };
        let alone = Parts {
            name: Some(part.clone()),
            ..Parts::default()
        };
        let reason = match refused(alone) {
            _ if variable == "repository" && part.contains('/') => {
                "give the repository alone, without `/`"
            }
            Some(_) if variable == "name" && part.contains([':', '@']) => {
                "give the name alone; a tag goes into `tags`"
            }
            Some(reason) => reason,
            None => continue,
        };
        fault(
            variable,
            format!("{noun} {} would be refused: {reason}", quoted(part)),
        );
    }
    good
}

/// Why no registry would take these parts.
fn refused(parts: Parts) -> Option<&'static str> {
    // A registry that asks for nothing but the grammar.
    let plain: Endpoint = "registry.example".parse().ok()?;
    match parts.at(&plain) {
        Err(ReferenceError::Repository(_, reason)) => Some(reason),
        _ => None,
    }
}

/// Checks that each endpoint gets the parts that it needs, and that no part is without an endpoint.
fn check_endpoints(
    destinations: &Destinations,
    command: Command,
    given: &Given,
    faults: &mut Faults,
) {
    let parts = &destinations.parts;
    let of_kind = |wanted: fn(&HostKind) -> bool| {
        let mut endpoints = destinations.endpoints.iter();
        endpoints.find(|endpoint| wanted(&endpoint.kind()))
    };
    let artifact_registry = of_kind(|kind| matches!(kind, HostKind::ArtifactRegistry { .. }));
    match (artifact_registry, &parts.repository) {
        // Without it all repositories of the project are listed.
        (Some(_), None) if command == Command::List && parts.name.is_none() => {}
        (Some(endpoint), None) => faults.missing(
            "repository",
            format!("`{endpoint}` needs the name of an Artifact Registry repository"),
        ),
        // Where `registry` is at fault, it is not known what would have been used.
        (None, Some(_))
            if given.inputs.registry.is_none() || !destinations.endpoints.is_empty() =>
        {
            faults.unusable(
                "repository",
                "it is for Artifact Registry, and no item of `registry` is a `LOCATION-docker.pkg.dev` host",
            );
        }
        _ => {}
    }
    if parts.name.is_none() {
        let mut endpoints = destinations.endpoints.iter();
        if command == Command::List
            && let Some(endpoint) = endpoints.find(|endpoint| endpoint.has_no_catalog())
        {
            faults.missing(
                "name",
                format!("`{endpoint}` does not list its images, only the tags of one image"),
            );
        }
        return;
    }
    // Together the parts may still be too long.
    for endpoint in &destinations.endpoints {
        if let Err(fault @ ReferenceError::Repository(..)) = destinations.at(endpoint, None) {
            faults.unusable("name", fault);
        }
    }
}

/// What `list` shows: the tags of each image that is named, else the images of each project.
pub(super) fn listings(destinations: &Destinations) -> Vec<Listing> {
    let mut listings: Vec<Listing> = Vec::new();
    for reference in &destinations.references {
        let image = Listing::Tags(Reference {
            tag: None,
            ..reference.clone()
        });
        if !listings.contains(&image) {
            listings.push(image);
        }
    }
    for endpoint in &destinations.endpoints {
        let listing = match &destinations.parts.name {
            Some(_) => destinations.at(endpoint, None).ok().map(Listing::Tags),
            None => path(destinations, endpoint).map(|path| Listing::Images {
                endpoint: endpoint.clone(),
                path,
            }),
        };
        listings.extend(listing.filter(|listing| !listings.contains(listing)));
    }
    listings
}

/// What the images of a project are below, at an endpoint.
fn path(destinations: &Destinations, endpoint: &Endpoint) -> Option<String> {
    let parts = &destinations.parts;
    if matches!(endpoint.kind(), HostKind::ArtifactRegistry { .. }) && parts.repository.is_none() {
        return Some(parts.project.as_ref()?.replace(':', "/"));
    }
    // Any image will do: what stands before its name is what is listed.
    let image = destinations.at(endpoint, Some("name")).ok()?;
    let path = image.repository.strip_suffix("name")?;
    Some(path.trim_end_matches('/').to_owned())
}
