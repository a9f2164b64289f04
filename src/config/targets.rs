//! Destinations: full references, and tags in a repository that is built from its parts.

use super::environment::{Environment, PROJECT};
use super::errors::Errors;
use super::{CommandName, defaults};
use crate::auth::{CredentialSource, GoogleCredential};
use crate::diagnostics::sanitize::quoted;
use crate::oci::reference::{
    Endpoint, HostKind, Parts, Reference, ReferenceError, check_tag, placeholder,
};
use crate::push::targets::{BestEffort, Destinations};

/// Reads `tags`, `registry`, `project_id`, `repository` and `name`. The project may come from the
/// credential.
///
/// Reports every fault that can be found without the image: invalid items, and parts that are
/// missing or have no use.
pub(super) fn destinations(
    environment: &Environment<'_>,
    command: CommandName,
    google: Option<&(CredentialSource, GoogleCredential)>,
) -> Destinations {
    // `setup` uses `registry` and `repository` only.
    let Items {
        mut references,
        tags,
        is_sound,
    } = match command {
        CommandName::Setup => Items::default(),
        _ => items(environment, command),
    };
    if command == CommandName::List {
        references.extend(listed_image(environment));
    }
    let endpoints = if is_sound || environment.inputs.registry.is_set() {
        endpoints(environment, command, &references, &tags, is_sound)
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
            repository: inputs.repository.text().map(str::to_owned),
            name: inputs.name.text().map(str::to_owned),
        },
        project_is_default: !inputs.project_id.is_set(),
        best_effort: BestEffort::default(),
    };
    let destinations = Destinations {
        best_effort: best_effort(environment, &destinations.hosts(), is_sound),
        ..destinations
    };
    let origin = project.map_or("project_id", |(origin, _)| origin);
    if check_parts(&destinations, origin, &environment.errors)
        && is_sound
        && command != CommandName::PullSecret
    {
        check_endpoints(&destinations, command, environment);
        // A key names its project. If the key is missing or faulty, the project is not reported as
        // well.
        let key_may_come = google.is_none()
            && (matches!(command, CommandName::Push | CommandName::Doctor)
                || environment.inputs.credentials_json.is_set());
        let mut endpoints = destinations.endpoints.iter();
        if destinations.parts.project.is_none()
            && !key_may_come
            && let Some(endpoint) = endpoints.find(|endpoint| endpoint.is_google())
        {
            environment
                .errors
                .missing("project_id", format!("`{endpoint}` needs a project"));
        }
    }
    destinations
}

/// The project and the variable that it is from: `project_id`, else the key, else the variables of
/// other tools. `None` if no project is known.
fn project<'a>(
    environment: &'a Environment<'_>,
    google: Option<&'a (CredentialSource, GoogleCredential)>,
) -> Option<(&'static str, &'a str)> {
    let explicit = environment.inputs.project_id.text();
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

const BRANCH: &str = "for the tag of a branch, use `CI_COMMIT_REF_SLUG` on GitLab, and \
                      docker/metadata-action on GitHub";

fn items(environment: &Environment<'_>, command: CommandName) -> Items {
    let input = &environment.inputs.tags;
    let mut found = Items::default();
    let Some(items) = input.items_without_login() else {
        found.is_sound = false;
        return found;
    };
    if input.is_set() && items.is_empty() {
        input.invalid("it has only separators, and no item");
        found.is_sound = false;
    }
    let mut has_markup = false;
    for item in items {
        match one_item(item) {
            Ok(Item::Tag(tag)) => found.tags.push(tag),
            Ok(Item::Reference(reference)) => {
                let is_read_only =
                    reference.endpoint.is_read_only() && command != CommandName::List;
                if is_read_only {
                    input.invalid(read_only(&reference.endpoint));
                    found.is_sound = false;
                } else if !found.references.contains(&reference) {
                    found.references.push(reference);
                }
            }
            Err(fault) => {
                found.is_sound = false;
                let is_markup = matches!(fault, ItemError::Name(ReferenceError::Markup(..)));
                // Every item of such a list has the same markup, so it is reported once.
                if !(is_markup && has_markup) {
                    fault.report(item, &environment.errors);
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

enum ItemError {
    Name(ReferenceError),
    Text(String),
}

impl ItemError {
    fn report(self, item: &str, errors: &Errors) {
        const VARIABLE: &str = "tags";
        match self {
            Self::Text(text) => errors.invalid(VARIABLE, text),
            Self::Name(fault) => {
                let is_branch = match &fault {
                    ReferenceError::Tag(tag, _) => tag.contains('/'),
                    ReferenceError::NoHost(_) => !item.contains(':'),
                    _ => false,
                };
                if is_branch {
                    errors.hint(BRANCH);
                } else if matches!(fault, ReferenceError::Tag(..))
                    && !item.contains('/')
                    && item.contains(':')
                {
                    errors.hint(
                        "a full reference begins with its registry, as in \
                                 `gcr.io/PROJECT/NAME:TAG`; an item without `/` is only a tag",
                    );
                }
                errors.invalid(VARIABLE, fault);
            }
        }
    }
}

impl From<ReferenceError> for ItemError {
    fn from(fault: ReferenceError) -> Self {
        Self::Name(fault)
    }
}

fn one_item(item: &str) -> Result<Item, ItemError> {
    if let Some(fault) = ReferenceError::of_text(item) {
        return Err(fault.into());
    }
    if item.contains(char::is_whitespace) {
        return Err(ItemError::Text(format!(
            "{} is one item: put a comma or a line break between two items",
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
        return Err(ItemError::Text(format!(
            "{} ends in a digest, but you can set only a tag: the image determines the digest; \
             use `@` without a digest to push by digest, without a tag",
            quoted(item)
        )));
    }
    match (by_digest, &reference.tag) {
        (Some(_), Some(_)) => {
            return Err(ItemError::Text(format!(
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
    format!("nothing can be pushed to `{endpoint}`: its images are public and can only be read")
}

/// The image that `list` shows, from `image`. `None` if it is not set or invalid.
fn listed_image(environment: &Environment<'_>) -> Option<Reference> {
    let text = environment.inputs.image.text()?;
    let name = text.strip_prefix("docker://").unwrap_or(text);
    let reference = name.parse().map_err(|fault: ReferenceError| {
        format!("`list` reads only registries, as in `gcr.io/acme/api`: {fault}")
    });
    environment.errors.accept("image", reference)
}

/// Reads the items of `best_effort`: hosts, and references on them.
fn best_effort(environment: &Environment<'_>, hosts: &[Endpoint], is_sound: bool) -> BestEffort {
    let input = &environment.inputs.best_effort;
    let mut found = BestEffort::default();
    for item in input.items_without_login().unwrap_or_default() {
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
            Ok(_) => input.invalid(format!(
                "{} is not a destination: set a host, or a reference that is a destination",
                quoted(item)
            )),
            Err(error) => input.invalid(error),
        }
    }
    found
}

/// The hosts for tags without `/`: `registry`, or its default if there is something to push to it.
fn endpoints(
    environment: &Environment<'_>,
    command: CommandName,
    references: &[Reference],
    tags: &[String],
    is_sound: bool,
) -> Vec<Endpoint> {
    let input = &environment.inputs.registry;
    let is_named = command == CommandName::List && environment.inputs.image.is_set();
    let only_full = tags.is_empty() && (is_named || !references.is_empty());
    if !input.is_set() {
        let default = defaults::REGISTRY.parse().into_iter();
        return default.filter(|_| !only_full).collect();
    }
    let Some(items) = input.items_without_login() else {
        return Vec::new();
    };
    if items.is_empty() {
        input.invalid("it has only separators, and no item");
    }
    if only_full && is_sound && matches!(command, CommandName::Push | CommandName::Doctor) {
        input.invalid(
            "nothing would go to it, because every item of `tags` is a full reference: add its \
             references to `tags`, or add a tag without `/`",
        );
        return Vec::new();
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in items {
        match item.parse() {
            Ok(endpoint) if endpoints.contains(&endpoint) => {}
            Ok(endpoint) if endpoint.is_read_only() && command != CommandName::List => {
                input.invalid(read_only(&endpoint));
            }
            Ok(endpoint) => endpoints.push(endpoint),
            Err(error) => input.invalid(error),
        }
    }
    endpoints
}

/// Checks each part by itself, so that the error names the right variable. `origin` is the variable
/// of the project. True if all parts are valid.
fn check_parts(destinations: &Destinations, origin: &'static str, errors: &Errors) -> bool {
    let mut good = true;
    let mut fault = |variable, text: String| {
        errors.invalid(variable, text);
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
            "set it to the project only, without `/`"
        } else {
            reason
        };
        fault(
            origin,
            format!("project {} is not valid: {reason}", quoted(project)),
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
                "set it to the repository only, without `/`"
            }
            Some(_) if variable == "name" && part.contains([':', '@']) => {
                "set it to the name only; put a tag in `tags`"
            }
            Some(reason) => reason,
            None => continue,
        };
        fault(
            variable,
            format!("{noun} {} is not valid: {reason}", quoted(part)),
        );
    }
    good
}

const UNFILLED: &str = "it contains a variable that was not replaced by its value";

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
    environment: &Environment<'_>,
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
        (Some(endpoint), None) => environment.errors.missing(
            "repository",
            format!("`{endpoint}` needs the name of an Artifact Registry repository"),
        ),
        // If `registry` is faulty, the hosts that would use it are not known.
        (None, Some(_))
            if !environment.inputs.registry.is_set() || !destinations.endpoints.is_empty() =>
        {
            environment.errors.invalid(
                "repository",
                "it is for Artifact Registry, but no item of `registry` is a \
                 `LOCATION-docker.pkg.dev` host",
            );
        }
        _ => {}
    }
    if parts.name.is_none() {
        let mut endpoints = destinations.endpoints.iter();
        if command == CommandName::List
            && let Some(endpoint) = endpoints.find(|endpoint| endpoint.has_no_catalog())
        {
            environment.errors.missing(
                "name",
                format!("`{endpoint}` does not list its images, only the tags of one image"),
            );
        }
        return;
    }
    // The combined name may still be too long.
    for endpoint in &destinations.endpoints {
        if let Err(fault @ ReferenceError::Repository(..)) = destinations.at(endpoint, None) {
            environment.errors.invalid("name", fault);
        }
    }
}
