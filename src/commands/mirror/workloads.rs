//! The images that a cluster runs, or that its manifests name.
//!
//! A tag may have moved since a node pulled it. What runs is the digest in the status of a container,
//! so that digest is planned under the tag. Other digests of one tag, and images that are named by
//! digest alone, are planned without a tag: whoever pulls them by digest finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::MirrorError;
use super::tag_filter::Pattern;
use crate::diagnostics::sanitize::{quoted, sanitize};
use crate::http::Network;
use crate::kubernetes::{Cluster, ClusterAccess, NamedImage, RunningImage, Workloads};
use crate::oci::digest::Digest;
use crate::oci::reference::{Endpoint, Reference, looks_like_host};

/// The largest manifest file in bytes.
const LARGEST: u64 = 32 << 20;

/// The names in a message that could have thousands.
const SHOWN: usize = 5;

/// Where the names of images are read.
#[derive(Clone, Debug)]
pub enum WorkloadSource {
    /// A cluster.
    Cluster {
        /// Its address and login.
        access: Box<ClusterAccess>,
        /// The namespaces. Empty for all.
        namespaces: Vec<String>,
    },
    /// YAML files.
    Manifests {
        /// Paths with `*`, `?` and `**`, as the user typed them and as they are here.
        paths: Vec<(String, PathBuf)>,
    },
}

impl fmt::Display for WorkloadSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { namespaces, .. } if namespaces.is_empty() => {
                formatter.write_str("the cluster")
            }
            Self::Cluster { namespaces, .. } => {
                write!(formatter, "`{}` of the cluster", namespaces.join("`, `"))
            }
            Self::Manifests { paths } => {
                let paths: Vec<_> = paths.iter().map(|(typed, _)| quoted(typed)).collect();
                formatter.write_str(&paths.join(", "))
            }
        }
    }
}

/// An image to plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WorkloadImage {
    /// The image. Without a tag it is planned by its digest alone.
    pub(super) reference: Reference,
    /// The digest that runs under the tag, which may have moved. `None` if the tag is taken as it is.
    pub(super) running: Option<Digest>,
    /// The objects that name it: the first, and how many others.
    pub(super) used_by: String,
}

/// Reads the images of a source. Returns one error for each part that could not be read.
pub(super) async fn read(
    source: &WorkloadSource,
    exclude: &[Pattern],
    network: &Network,
) -> (Vec<WorkloadImage>, Vec<MirrorError>) {
    let mut errors = Vec::new();
    let found = match source {
        WorkloadSource::Cluster { access, namespaces } => {
            match Cluster::connect(access, network).await {
                Ok(cluster) => {
                    let (found, refused) = cluster.workloads(namespaces).await;
                    errors.extend(refused.into_iter().map(MirrorError::Cluster));
                    found
                }
                Err(error) => return (Vec::new(), vec![MirrorError::Cluster(error.into())]),
            }
        }
        WorkloadSource::Manifests { paths } => manifests(paths, &mut errors),
    };
    tell(source, &found);
    if found.images.is_empty() && errors.is_empty() {
        let what = match found.passed_over.is_empty() {
            true if found.read.is_empty() => "nothing was found".to_owned(),
            true => format!("found {}", counts(&found.read)),
            false => format!("found only {}", counts(&found.passed_over)),
        };
        let place = source.to_string();
        return (Vec::new(), vec![MirrorError::NoWorkload { place, what }]);
    }
    let (images, unreadable) = merge(found.images, exclude);
    errors.extend(unreadable);
    (images, errors)
}

/// Says in the log what was read and what was passed over.
fn tell(source: &WorkloadSource, found: &Workloads) {
    if !found.read.is_empty() {
        tracing::info!("{source}: read {}", counts(&found.read));
    }
    if !found.passed_over.is_empty() {
        let passed = counts(&found.passed_over);
        tracing::info!("{source}: skipped {passed}");
    }
}

/// `2 Deployment, 1 that is no Kubernetes object`.
fn counts(kinds: &BTreeMap<String, usize>) -> String {
    let kinds = kinds.iter().map(|(kind, count)| match kind.as_str() {
        "" => format!("{count} document without `apiVersion` and `kind`"),
        kind => {
            let kind: String = sanitize(kind).chars().take(60).collect();
            format!("{count} {kind}")
        }
    });
    kinds.collect::<Vec<_>>().join(", ")
}

/// Reads the files that the patterns match.
fn manifests(patterns: &[(String, PathBuf)], errors: &mut Vec<MirrorError>) -> Workloads {
    let mut files = BTreeSet::new();
    for (typed, pattern) in patterns {
        let matched = matching(pattern);
        if matched.is_empty() {
            errors.push(MirrorError::NoManifest(typed.clone()));
        }
        files.extend(matched);
    }
    let mut found = Workloads::default();
    for file in files {
        let path = || file.display().to_string();
        let text = match read_text(&file) {
            Ok(text) => text,
            Err(cause) => {
                errors.push(MirrorError::UnreadManifest(path(), cause));
                continue;
            }
        };
        let without_kind = found.passed_over.get("").copied();
        if let Err(reason) = found.add_yaml(&text) {
            let file = path();
            errors.push(MirrorError::NoYaml { file, reason });
        }
        if found.passed_over.get("").copied() != without_kind {
            tracing::warn!(
                "skipping {}, or a part of it: it has no `apiVersion` and `kind`, so it is not a \
                 Kubernetes object; for a chart, use the output of `helm template`",
                quoted(&path())
            );
        }
    }
    found
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 32 MiB",
        ));
    }
    Ok(text)
}

/// The files that a pattern matches, sorted. `*` and `?` stand for a part of a name, and `**` for any
/// folders.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        found = match &*text {
            "**" => found.into_iter().flat_map(folders).collect(),
            text if text.contains(['*', '?']) => {
                let Ok(pattern) = Pattern::parse(text) else {
                    return Vec::new();
                };
                let entries = found.iter().flat_map(|folder| entries(folder));
                let named = entries.filter(|path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    pattern.matches(&name)
                });
                named.collect()
            }
            _ => found.into_iter().map(|path| path.join(part)).collect(),
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    found.dedup();
    found
}

/// The entries of a folder. Empty if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let here = Path::new(".");
    let is_here = folder.as_os_str().is_empty();
    let entries = std::fs::read_dir(if is_here { here } else { folder });
    let names = entries.into_iter().flatten().flatten();
    names.map(|entry| folder.join(entry.file_name())).collect()
}

/// A folder and all folders below it. Links are not followed, because they may lead back.
fn folders(root: PathBuf) -> Vec<PathBuf> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(folder) = all.get(next).cloned() {
        let below = entries(&folder).into_iter();
        all.extend(below.filter(|path| path.is_dir() && !path.is_symlink()));
        next += 1;
    }
    all
}

/// What is known of one tag of a repository, or of a repository without a tag.
#[derive(Default)]
struct TagUse {
    /// The digests that run under the tag, each with the number of containers.
    running: BTreeMap<Digest, usize>,
    /// The digests that are named beside the tag, each with the number of containers.
    pinned: BTreeMap<Digest, usize>,
    /// True if the tag is named without a digest.
    is_plain: bool,
    is_on_node: bool,
    objects: BTreeSet<String>,
}

/// Merges the images by repository and tag. Returns one error for each name that is no image.
fn merge(images: Vec<NamedImage>, exclude: &[Pattern]) -> (Vec<WorkloadImage>, Vec<MirrorError>) {
    let mut uses: BTreeMap<(Endpoint, String, Option<String>), TagUse> = BTreeMap::new();
    let mut bad: BTreeMap<String, MirrorError> = BTreeMap::new();
    let mut without_host = BTreeSet::new();
    for NamedImage {
        image,
        running,
        object,
    } in images
    {
        let is_excluded = |name: &str| exclude.iter().any(|pattern| pattern.matches(name));
        let reference = match Reference::familiar(&image) {
            _ if is_excluded(&image) => continue,
            Ok(reference) => reference,
            Err(cause) => {
                let name: String = image.escape_debug().take(150).collect();
                let error = MirrorError::NoReference {
                    image: name.clone(),
                    used_by: object,
                    cause,
                };
                bad.entry(name).or_insert(error);
                continue;
            }
        };
        let is_tagged = reference.tag.is_some() || reference.digest.is_some();
        let tag = reference.tag.clone();
        let tag = tag.or_else(|| (!is_tagged).then(|| "latest".to_owned()));
        let full = Reference {
            tag: tag.clone(),
            ..reference.clone()
        };
        if is_excluded(&reference.name()) || is_excluded(&full.to_string()) {
            continue;
        }
        if !image
            .split_once('/')
            .is_some_and(|(host, _)| looks_like_host(host))
        {
            without_host.insert(image);
        }
        let key = (reference.endpoint, reference.repository, tag);
        let tag_use = uses.entry(key).or_default();
        match (reference.digest, running) {
            (Some(digest), _) => *tag_use.pinned.entry(digest).or_default() += 1,
            (None, Some(RunningImage::Digest(digest))) => {
                *tag_use.running.entry(digest).or_default() += 1;
            }
            (None, running) => {
                tag_use.is_plain = true;
                tag_use.is_on_node |= running == Some(RunningImage::OnNode);
            }
        }
        tag_use.objects.insert(object);
    }
    if !without_host.is_empty() {
        let shown: Vec<_> = without_host
            .iter()
            .take(SHOWN)
            .map(|name| quoted(name))
            .collect();
        let more = if without_host.len() > SHOWN {
            ", …"
        } else {
            ""
        };
        tracing::info!(
            "an image without a registry in its name is from Docker Hub: {}{more}",
            shown.join(", ")
        );
    }
    let merged = uses
        .into_iter()
        .flat_map(|((endpoint, repository, tag), tag_use)| {
            let reference = Reference {
                endpoint,
                repository,
                tag,
                digest: None,
            };
            split(&reference, tag_use)
        });
    (merged.collect(), bad.into_values().collect())
}

/// The images to plan for one tag. The tag goes to the digest that most containers run, else to the
/// tag as it is, else to the digest that is named most; all other digests are planned without it.
fn split(reference: &Reference, tag_use: TagUse) -> Vec<WorkloadImage> {
    let most = |digests: &BTreeMap<Digest, usize>| {
        let most = digests
            .iter()
            .max_by_key(|(digest, count)| (**count, *digest));
        most.map(|(digest, _)| digest.clone())
    };
    let first = tag_use.objects.first().cloned().unwrap_or_default();
    let mut used_by = match tag_use.objects.len() {
        0 | 1 => first,
        all => format!("{first} and {} more", all - 1),
    };
    if tag_use.is_on_node {
        used_by.push_str(" (only a node has it)");
    }
    let image = |tag: Option<&String>, digest: Option<&Digest>, running| WorkloadImage {
        reference: Reference {
            tag: tag.cloned(),
            digest: digest.cloned(),
            ..reference.clone()
        },
        running,
        used_by: used_by.clone(),
    };
    let tag = reference.tag.as_ref();
    let mut images = Vec::new();
    let mut tagged = None;
    if tag.is_some() {
        let running = most(&tag_use.running);
        if running.is_some() || tag_use.is_plain {
            images.push(image(tag, None, running.clone()));
            tagged = running;
        } else if let Some(digest) = most(&tag_use.pinned) {
            images.push(image(tag, Some(&digest), None));
            tagged = Some(digest);
        }
    }
    let digests: BTreeSet<_> = tag_use
        .running
        .keys()
        .chain(tag_use.pinned.keys())
        .collect();
    let others = digests
        .into_iter()
        .filter(|digest| Some(*digest) != tagged.as_ref());
    images.extend(others.map(|digest| image(None, Some(digest), None)));
    images
}
