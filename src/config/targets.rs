//! Destinations: full references, and tags in a repository that is built from its parts.

use super::environment::{Environment, PROJECT};
use super::fault::Faults;
use super::values::list;
use super::{CommandName, defaults};
use crate::auth::{CredentialSource, GoogleCredential};
use crate::commands::list::ListTarget;
use crate::diagnostics::sanitize::quoted;
use crate::oci::reference::{
    Endpoint, HostKind, Parts, Reference, ReferenceError, check_tag, placeholder,
};
use crate::push::destinations::{BestEffort, Destinations};

/// Reads `tags`, `registry`, `project_id`, `repository` and `name`. The project may come from the
/// credential.
///
/// Reports every fault that can be found without the image: invalid items, and parts that are
/// missing or have no use.
pub(super) fn destinations(
    environment: &Environment,
    command: CommandName,
    google: Option<&(CredentialSource, GoogleCredential)>,
    faults: &mut Faults,
) -> Destinations {
    // `setup` uses `registry` and `repository` only.
    let Items {
        mut references,
        tags,
        is_sound,
    } = match command {
        CommandName::Setup => Items::default(),
        _ => items(environment, command, faults),
    };
    if command == CommandName::List {
        references.extend(listed_image(environment, faults));
    }
    let endpoints = if is_sound || environment.inputs.registry.is_some() {
        endpoints(environment, command, &references, &tags, is_sound, faults)
    } else {
        // An unusable item may have been a tag or a full reference.
        Vec::new()
    };
    let inputs = &environment.inputs;
    let project = project(environment, google);
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
        best_effort: best_effort(environment, &destinations.hosts(), is_sound, faults),
        ..destinations
    };
    let origin = project.map_or("project_id", |(origin, _)| origin);
    if check_parts(&destinations, origin, faults) && is_sound && command != CommandName::PullSecret
    {
        check_endpoints(&destinations, command, environment, faults);
        // A key names its project. If the key is missing or faulty, the project is not reported as
        // well.
        let key_may_come = google.is_none()
            && (matches!(command, CommandName::Push | CommandName::Doctor)
                || environment.inputs.credentials_json.is_some());
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

/// The project and the variable that it is from: `project_id`, else the key, else the variables of
/// other tools. `None` if no project is known.
fn project<'a>(
    environment: &'a Environment,
    google: Option<&'a (CredentialSource, GoogleCredential)>,
) -> Option<(&'static str, &'a str)> {
    let explicit = environment.inputs.project_id.as_deref();
    let of_key = google.and_then(|(origin, credential)| match (origin, credential) {
        (CredentialSource::Variable(name), GoogleCredential::Key(key)) => {
            Some((*name, key.project_id.as_deref()?))
        }
        (_, GoogleCredential::Key(key)) => Some(("credentials_json", key.project_id.as_deref()?)),
        _ => None,
    });
    let ambient = || {
        let mut names = PROJECT.iter();
        names.find_map(|name| Some((*name, environment.ambient(name)?)))
    };
    explicit
        .map(|project| ("project_id", project))
        .or(of_key)
        .or_else(ambient)
}

/// The items of `tags`: full references, and tags alone.
struct Items {
    /// Each has a tag, except those that are pushed by digest.
    references: Vec<Reference>,
    tags: Vec<String>,
    /// False if an item cannot be used, so that the list is incomplete.
    is_sound: bool,
}

impl Default for Items {
    fn default() -> Self {
        Self {
            references: Vec::new(),
            tags: Vec::new(),
            is_sound: true,
        }
    }
}

const BRANCH: &str = "a tag for a branch is `CI_COMMIT_REF_SLUG` on GitLab, and what docker/metadata-action makes on GitHub";

fn items(environment: &Environment, command: CommandName, faults: &mut Faults) -> Items {
    const VARIABLE: &str = "tags";
    let mut found = Items::default();
    let Some(text) = environment.inputs.tags.as_deref() else {
        return found;
    };
    let items = list(text);
    if items.is_empty() {
        faults.unusable(VARIABLE, "there is no item in it, only separators");
        found.is_sound = false;
    }
    if faults.refuse_login(VARIABLE, &items) {
        found.is_sound = false;
        return found;
    }
    let mut has_markup = false;
    for item in items {
        match one_item(item) {
            Ok(Item::Tag(tag)) => found.tags.push(tag),
            Ok(Item::Reference(reference)) => {
                let is_read_only =
                    reference.endpoint.is_read_only() && command != CommandName::List;
                if is_read_only {
                    faults.unusable(VARIABLE, read_only(&reference.endpoint));
                    found.is_sound = false;
                } else if !found.references.contains(&reference) {
                    found.references.push(reference);
                }
            }
            Err(fault) => {
                found.is_sound = false;
                let is_markup = matches!(fault, ItemFault::Name(ReferenceError::Markup(..)));
                // Every item of such a list has the same markup, so it is reported once.
                if !(is_markup && has_markup) {
                    fault.report(item, faults);
                }
                has_markup |= is_markup;
            }
        }
    }
    found
}

enum Item {
    Reference(Reference),
    Tag(String),
}

enum ItemFault {
    Name(ReferenceError),
    Text(String),
}

impl ItemFault {
    fn report(self, item: &str, faults: &mut Faults) {
        const VARIABLE: &str = "tags";
        match self {
            Self::Text(text) => faults.unusable(VARIABLE, text),
            Self::Name(fault) => {
                let is_branch = match &fault {
                    ReferenceError::Tag(tag, _) => tag.contains('/'),
                    ReferenceError::NoHost(_) => !item.contains(':'),
                    _ => false,
                };
                if is_branch {
                    faults.hint(BRANCH);
                } else if matches!(fault, ReferenceError::Tag(..))
                    && !item.contains('/')
                    && item.contains(':')
                {
                    faults.hint("a full reference begins with its registry, as in `gcr.io/PROJECT/NAME:TAG`; an item without `/` is a tag alone");
                }
                faults.unusable(VARIABLE, fault);
            }
        }
    }
}

impl From<ReferenceError> for ItemFault {
    fn from(fault: ReferenceError) -> Self {
        Self::Name(fault)
    }
}

fn one_item(item: &str) -> Result<Item, ItemFault> {
    if let Some(fault) = ReferenceError::of_text(item) {
        return Err(fault.into());
    }
    if item.contains(char::is_whitespace) {
        return Err(ItemFault::Text(format!(
            "{} is one item: put a comma or a line break between two",
            quoted(item)
        )));
    }
    if !item.contains('/') {
        check_tag(item)?;
        return Ok(Item::Tag(item.to_owned()));
    }
    let by_digest = item.strip_suffix('@');
    let mut reference: Reference = by_digest.unwrap_or(item).parse()?;
    if reference.digest.is_some() {
        return Err(ItemFault::Text(format!(
            "{} ends in a digest, but only a tag can be chosen: the digest follows from the image; \
             `@` alone pushes by digest, without a tag",
            quoted(item)
        )));
    }
    match (by_digest, &reference.tag) {
        (Some(_), Some(_)) => {
            return Err(ItemFault::Text(format!(
                "{} has a tag and an `@`, which pushes without a tag: keep one of them",
                quoted(item)
            )));
        }
        (Some(_), None) => {}
        // `docker push` has the same default.
        (None, _) => {
            reference.tag.get_or_insert_with(|| "latest".to_owned());
        }
    }
    Ok(Item::Reference(reference))
}

/// The message for a host that only holds public images.
pub(super) fn read_only(endpoint: &Endpoint) -> String {
    format!("nothing can be pushed to `{endpoint}`: it holds public images, which are only read")
}

/// The image that `list` shows, from `image`. `None` if it is not set or invalid.
fn listed_image(environment: &Environment, faults: &mut Faults) -> Option<Reference> {
    let text = environment.inputs.image.as_deref()?;
    let name = text.strip_prefix("docker://").unwrap_or(text);
    let reference = name.parse().map_err(|fault: ReferenceError| {
        format!("`list` shows what registries hold, as in `gcr.io/acme/api`: {fault}")
    });
    faults.accept("image", reference)
}

/// Reads the items of `best_effort`: hosts, and references on them.
fn best_effort(
    environment: &Environment,
    hosts: &[Endpoint],
    is_sound: bool,
    faults: &mut Faults,
) -> BestEffort {
    const VARIABLE: &str = "best_effort";
    let mut found = BestEffort::default();
    let Some(text) = environment.inputs.best_effort.as_deref() else {
        return found;
    };
    let items = list(text);
    if faults.refuse_login(VARIABLE, &items) {
        return found;
    }
    for item in items {
        let endpoint = if item.contains('/') {
            let name = item.strip_suffix('@').unwrap_or(item);
            name.parse().map(|reference: Reference| {
                let endpoint = reference.endpoint.clone();
                found.references.push(reference);
                endpoint
            })
        } else {
            item.parse()
                .inspect(|host: &Endpoint| found.hosts.push(host.clone()))
        };
        match endpoint {
            Ok(endpoint) if hosts.contains(&endpoint) || !is_sound => {}
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

/// The hosts for tags without `/`: `registry`, or its default if there is something to push to it.
fn endpoints(
    environment: &Environment,
    command: CommandName,
    references: &[Reference],
    tags: &[String],
    is_sound: bool,
    faults: &mut Faults,
) -> Vec<Endpoint> {
    const VARIABLE: &str = "registry";
    let is_named = command == CommandName::List && environment.inputs.image.is_some();
    let only_full = tags.is_empty() && (is_named || !references.is_empty());
    let Some(text) = environment.inputs.registry.as_deref() else {
        if only_full {
            return Vec::new();
        }
        return defaults::REGISTRY.parse().into_iter().collect();
    };
    let items = list(text);
    if items.is_empty() {
        faults.unusable(VARIABLE, "there is no item in it, only separators");
    }
    if faults.refuse_login(VARIABLE, &items) {
        return Vec::new();
    }
    if only_full && is_sound && matches!(command, CommandName::Push | CommandName::Doctor) {
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
            Ok(endpoint) if endpoint.is_read_only() && command != CommandName::List => {
                faults.unusable(VARIABLE, read_only(&endpoint));
            }
            Ok(endpoint) => endpoints.push(endpoint),
            Err(fault) => faults.unusable(VARIABLE, fault),
        }
    }
    endpoints
}

/// Checks each part by itself, so that the error names the right variable. `origin` is the variable
/// of the project. True if all parts are valid.
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
        let reason = if placeholder(project).is_some() {
            UNFILLED
        } else if project.contains('/') {
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
            Some(_) if placeholder(part).is_some() => UNFILLED,
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

const UNFILLED: &str = "it holds a variable that nothing filled in";

/// The reason why no registry would accept these parts. `None` if they are valid.
fn refused(parts: Parts) -> Option<&'static str> {
    // A registry that checks nothing but the grammar.
    let plain: Endpoint = "registry.example".parse().ok()?;
    match parts.at(&plain) {
        Err(ReferenceError::Repository(_, reason)) => Some(reason),
        _ => None,
    }
}

/// Checks that each endpoint has the parts that it needs, and that an endpoint uses each part.
fn check_endpoints(
    destinations: &Destinations,
    command: CommandName,
    environment: &Environment,
    faults: &mut Faults,
) {
    let parts = &destinations.parts;
    let of_kind = |wanted: fn(&HostKind) -> bool| {
        let mut endpoints = destinations.endpoints.iter();
        endpoints.find(|endpoint| wanted(&endpoint.kind()))
    };
    let artifact_registry = of_kind(|kind| matches!(kind, HostKind::ArtifactRegistry { .. }));
    match (artifact_registry, &parts.repository) {
        // Without a repository, `list` shows all repositories of the project.
        (Some(_), None) if command == CommandName::List && parts.name.is_none() => {}
        (Some(endpoint), None) => faults.missing(
            "repository",
            format!("`{endpoint}` needs the name of an Artifact Registry repository"),
        ),
        // If `registry` is faulty, the hosts that would use it are not known.
        (None, Some(_))
            if environment.inputs.registry.is_none() || !destinations.endpoints.is_empty() =>
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
        if command == CommandName::List
            && let Some(endpoint) = endpoints.find(|endpoint| endpoint.has_no_catalog())
        {
            faults.missing(
                "name",
                format!("`{endpoint}` does not list its images, only the tags of one image"),
            );
        }
        return;
    }
    // The combined name may still be too long.
    for endpoint in &destinations.endpoints {
        if let Err(fault @ ReferenceError::Repository(..)) = destinations.at(endpoint, None) {
            faults.unusable("name", fault);
        }
    }
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
