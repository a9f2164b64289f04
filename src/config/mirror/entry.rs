//! One image of the mirror file: its source, its tag filter and its name at the destinations.

use std::path::PathBuf;

use super::file::{By, ImageEntry, Options, PlatformList, Tags};
use crate::commands::mirror::name_template::NameTemplate;
use crate::commands::mirror::tag_filter::{Order, Pattern, TagFilter};
use crate::commands::mirror::{MirrorEntry, MirrorSource, WorkloadSource};
use crate::config::kubernetes_names::check_label;
use crate::config::push::PLATFORM_FORMS;
use crate::diagnostics::sanitize::quoted;
use crate::kubernetes::ClusterAccess;
use crate::oci::platform::Platform;
use crate::oci::platform::Platforms;
use crate::oci::reference::{Endpoint, Reference, ReferenceError, check_tag, looks_like_host};

/// The value of `from` for what a cluster runs.
pub(super) const KUBERNETES: &str = "kubernetes";
/// The value of `from` for what YAML files name.
const MANIFESTS: &str = "manifests";

/// What an entry needs of the run: the cluster, and where a path is on this machine.
pub(super) struct Here<'a> {
    /// The access to the cluster. `None` if no entry needs it.
    pub(super) cluster: Option<&'a ClusterAccess>,
    /// Resolves a path.
    pub(super) path: &'a dyn Fn(&str) -> Result<PathBuf, String>,
}

/// Checks an image of the list and fills in the defaults.
pub(super) fn entry(
    image: ImageEntry,
    defaults: &Options,
    here: &Here<'_>,
) -> Result<MirrorEntry, String> {
    let (source, tags) = match workloads(&image, here)? {
        Some(source) => (source, TagFilter::all()),
        None => source(&image.from, image.tags)?,
    };
    let to = match image.to.as_deref() {
        Some(text) => name_template(text).map_err(|fault| format!("`to`: {fault}"))?,
        // Names of a whole cluster's images meet too easily without their path.
        None if matches!(source, MirrorSource::Workloads { .. }) => NameTemplate::whole_path(),
        None => NameTemplate::default(),
    };
    let platforms = match image.platforms.as_ref().or(defaults.platforms.as_ref()) {
        None => Platforms::All,
        Some(PlatformList(names)) => match names.as_slice() {
            [] => return Err("`platforms` is empty: remove it, or set it to `all`".to_owned()),
            [all] if all == "all" => Platforms::All,
            names => {
                let platforms = names.iter().map(|text| platform(text));
                Platforms::Only(platforms.collect::<Result<_, _>>()?)
            }
        },
    };
    Ok(MirrorEntry {
        source,
        to,
        tags,
        platforms,
        referrers: image.referrers.or(defaults.referrers).unwrap_or(false),
        best_effort: image.best_effort.or(defaults.best_effort).unwrap_or(false),
    })
}

/// The images that workloads name. `None` if the source is a registry.
fn workloads(image: &ImageEntry, here: &Here<'_>) -> Result<Option<MirrorSource>, String> {
    let from = image.from.as_str();
    let (is_cluster, is_manifests) = (from == KUBERNETES, from == MANIFESTS);
    for (key, is_set, fits, needed) in [
        (
            "namespaces",
            image.namespaces.is_some(),
            is_cluster,
            "`from: kubernetes`",
        ),
        (
            "paths",
            image.paths.is_some(),
            is_manifests,
            "`from: manifests`",
        ),
        (
            "exclude",
            image.exclude.is_some(),
            is_cluster || is_manifests,
            "`from: kubernetes` and `from: manifests`; for a repository, exclude tags with `tags`",
        ),
        (
            "tags",
            image.tags.is_some(),
            !is_cluster && !is_manifests,
            "a repository; a deployed image has its tag already",
        ),
    ] {
        if is_set && !fits {
            return Err(format!("`{key}` is only for {needed}"));
        }
    }
    let from = if is_cluster {
        let namespaces = image.namespaces.clone();
        if namespaces.as_ref().is_some_and(Vec::is_empty) {
            return Err("`namespaces` is empty: remove it to read all namespaces".to_owned());
        }
        let namespaces = namespaces.unwrap_or_default();
        for namespace in &namespaces {
            check_label(namespace)
                .map_err(|fault| format!("`namespaces`: {} {fault}", quoted(namespace)))?;
        }
        let access = here.cluster.ok_or("it needs a cluster")?;
        WorkloadSource::Cluster {
            access: Box::new(access.clone()),
            namespaces,
        }
    } else if is_manifests {
        let typed = image.paths.clone().unwrap_or_default();
        if typed.is_empty() {
            return Err(
                "name the YAML files in `paths`, as in `paths: [rendered/*.yaml]`".to_owned(),
            );
        }
        let paths = typed.into_iter().map(|typed| {
            let path = (here.path)(&typed)?;
            Ok((typed, path))
        });
        let paths = paths.collect::<Result<_, String>>()?;
        WorkloadSource::Manifests { paths }
    } else {
        return Ok(None);
    };
    let exclude = image.exclude.as_deref().unwrap_or_default();
    let exclude = exclude.iter().map(|text| {
        Pattern::parse(text).map_err(|fault| {
            format!(
                "`exclude`: {} is not a valid expression: {fault}",
                quoted(text)
            )
        })
    });
    let exclude = exclude.collect::<Result<_, _>>()?;
    Ok(Some(MirrorSource::Workloads { from, exclude }))
}

/// Parses a name template and checks that its literal parts are valid in a name.
fn name_template(text: &str) -> Result<NameTemplate, String> {
    let template = NameTemplate::parse(text).map_err(|fault| fault.to_string())?;
    let (path, tag) = template.apply("host", "name", "tag");
    let name: Result<Reference, _> = format!("registry.example.com/{path}").parse();
    let checked = name.and_then(|_| check_tag(&tag));
    checked.map_err(|fault| fault.to_string())?;
    Ok(template)
}

fn platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is not a platform: expected {PLATFORM_FORMS}",
            quoted(text)
        )
    })
}

/// Parses the source of the images, and which of their tags are copied.
fn source(from: &str, tags: Option<Tags>) -> Result<(MirrorSource, TagFilter), String> {
    let name = from.strip_prefix("docker://").unwrap_or(from);
    if let Some(fault) = ReferenceError::of_text(name) {
        return Err(fault.to_string());
    }
    if let Some(path) = name.strip_suffix("/**") {
        let (host, path) = path.split_once('/').unwrap_or((path, ""));
        let endpoint = Some(host).filter(|host| looks_like_host(host));
        let endpoint = endpoint.and_then(|host| host.parse::<Endpoint>().ok());
        let endpoint = endpoint.ok_or_else(|| {
            format!(
                "{} is not a registry: expected its host, as in `registry.example.com/team/**`",
                quoted(host)
            )
        })?;
        if endpoint.has_no_catalog() {
            return Err(format!(
                "{host} cannot list the repositories below a path: name each repository"
            ));
        }
        return Ok((
            MirrorSource::Prefix(endpoint, path.to_owned()),
            tag_filter(tags)?,
        ));
    }
    let reference = Reference::familiar(name).map_err(|fault| match fault {
        ReferenceError::Tag(..) | ReferenceError::Repository(..) | ReferenceError::Digest(_) => {
            fault.to_string()
        }
        _ => "expected a name in a registry, such as `registry.example.com/team/api`, or `…/**` for all below a path".to_owned(),
    })?;
    let (tag, digest) = (reference.tag.is_some(), reference.digest.is_some());
    match (tag, digest, tags) {
        (false, false, tags) => Ok((MirrorSource::Repository(reference), tag_filter(tags)?)),
        (true, _, None) => Ok((MirrorSource::Image(reference), TagFilter::all())),
        (false, true, _) => Err(
            "a digest without a tag has no tag at the destination: add one, as in \
             `api:1.2@sha256:…`"
                .to_owned(),
        ),
        (true, _, Some(_)) => Err("it has a tag and also `tags`: keep one of them".to_owned()),
    }
}

fn tag_filter(tags: Option<Tags>) -> Result<TagFilter, String> {
    let rules = match tags {
        None => return Ok(TagFilter::all()),
        Some(Tags::List(include)) => {
            return Ok(TagFilter {
                include: patterns(&include)?,
                ..TagFilter::all()
            });
        }
        Some(Tags::Rules(rules)) => rules,
    };
    let semver = rules.semver.as_deref().map(|text| {
        text.parse().map_err(|fault| {
            format!(
                "`semver`: {} is not a range of versions: {fault}",
                quoted(text)
            )
        })
    });
    if rules.newest == Some(0) {
        return Err("`newest: 0` would mirror nothing".to_owned());
    }
    let semver = semver.transpose()?;
    if rules.by.is_some() && rules.newest.is_none() {
        return Err("`by` requires `newest`".to_owned());
    }
    let order = match rules.by {
        Some(By::Semver) => Order::Semver,
        Some(By::Date) => Order::Date,
        None if semver.is_some() => Order::Semver,
        None if rules.newest.is_some() => {
            return Err("`newest` requires `by: semver` or `by: date`".to_owned());
        }
        None => Order::Semver,
    };
    Ok(TagFilter {
        include: patterns(&rules.include)?,
        exclude: patterns(&rules.exclude)?,
        semver,
        newest: rules.newest,
        order,
    })
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, String> {
    let parsed = texts.iter().map(|text| {
        Pattern::parse(text).map_err(|fault| {
            format!(
                "`tags`: {} is not a valid expression: {fault}",
                quoted(text)
            )
        })
    });
    parsed.collect()
}
