//! The request of `list`.

use super::environment::Environment;
use crate::commands::list::{ListFormat, ListOptions, ListTarget};
use crate::oci::reference::{Endpoint, HostKind, Reference};
use crate::push::targets::Destinations;

/// Reads `list_recursive`, `list_platforms` and `list_format`.
pub(super) fn options(environment: &Environment<'_>) -> (ListOptions, ListFormat) {
    let inputs = &environment.inputs;
    let options = ListOptions {
        recursive: inputs.list_recursive.switch(),
        platforms: inputs.list_platforms.switch(),
    };
    let formats = [ListFormat::Table, ListFormat::Json];
    (options, inputs.list_format.word_or_first(formats))
}

/// The targets of `list`: the tags of each named image, else the images of each project.
pub(super) fn listings(destinations: &Destinations) -> Vec<ListTarget> {
    let mut listings: Vec<ListTarget> = Vec::new();
    for reference in &destinations.references {
        let image = ListTarget::Tags(Reference {
            tag: None,
            ..reference.clone()
        });
        if !listings.contains(&image) {
            listings.push(image);
        }
    }
    for endpoint in &destinations.endpoints {
        let listing = match &destinations.parts.name {
            Some(_) => destinations.at(endpoint, None).ok().map(ListTarget::Tags),
            None => path(destinations, endpoint).map(|path| ListTarget::Images {
                endpoint: endpoint.clone(),
                path,
            }),
        };
        listings.extend(listing.filter(|listing| !listings.contains(listing)));
    }
    listings
}

/// The path that holds the images of a project at an endpoint. `None` if it is not known.
fn path(destinations: &Destinations, endpoint: &Endpoint) -> Option<String> {
    let parts = &destinations.parts;
    if matches!(endpoint.kind(), HostKind::ArtifactRegistry { .. }) && parts.repository.is_none() {
        return Some(parts.project.as_ref()?.replace(':', "/"));
    }
    // The path is the part of any image before its name.
    let image = destinations.at(endpoint, Some("name")).ok()?;
    let path = image.repository.strip_suffix("name")?;
    Some(path.trim_end_matches('/').to_owned())
}
