//! Lists repositories through Artifact Registry's API. Its lists are paged and complete, and
//! contain the platforms of every index.
//! <https://cloud.google.com/artifact-registry/docs/reference/rest>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ChildPlatforms, ListedImage};
use crate::google::{Api, Google, GoogleError};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint};
use crate::registry::ListedManifest;

/// The largest page size of the API.
const PAGE: &str = "1000";

/// A repository of Artifact Registry, whose images are named below `endpoint`.
pub(super) struct ListedRepository<'a> {
    pub(super) google: &'a Google,
    pub(super) endpoint: &'a Endpoint,
    pub(super) place: ArtifactRegistryRepository,
}

/// The ids of the Docker repositories of a project in a location.
pub(super) async fn repositories(
    google: &Google,
    project: &str,
    location: &str,
) -> Result<Vec<String>, GoogleError> {
    #[derive(Deserialize)]
    struct Item {
        name: String,
        #[serde(default)]
        format: String,
    }
    let path = format!("v1/projects/{project}/locations/{location}/repositories");
    let mut found = Vec::new();
    let take = |item: Item| {
        if let ("DOCKER", Some((_, id))) = (item.format.as_str(), item.name.rsplit_once('/')) {
            found.push(id.to_owned());
        }
    };
    google.each(paged(&path), "repositories", take).await?;
    Ok(found)
}

impl ListedRepository<'_> {
    /// The names of all its images, with their folders.
    pub(super) async fn names(&self) -> Result<Vec<String>, GoogleError> {
        #[derive(Deserialize)]
        struct Item {
            name: String,
        }
        let url = paged(&format!("v1/{}/packages", self.place.resource()));
        let mut names = Vec::new();
        let take = |item: Item| {
            if let Some((_, id)) = item.name.split_once("/packages/") {
                names.push(unescaped(id));
            }
        };
        self.google.each(url, "packages", take).await?;
        Ok(names)
    }

    /// Every manifest of the images that are `wanted`. Adds the platforms of the children of their
    /// indexes.
    pub(super) async fn images(
        &self,
        wanted: impl Fn(&str) -> bool,
        child_platforms: &mut ChildPlatforms,
    ) -> Result<Vec<ListedImage>, GoogleError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Item {
            uri: String,
            #[serde(default)]
            tags: Vec<String>,
            #[serde(flatten)]
            fields: CommonFields,
            upload_time: Option<String>,
            #[serde(default)]
            image_manifests: Vec<Child>,
        }
        let url = paged(&format!("v1/{}/dockerImages", self.place.resource()));
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        let mut found = Vec::new();
        let take = |item: Item| {
            let Some((image, digest)) = self.split(&item.uri) else {
                return;
            };
            if !wanted(&image) {
                return;
            }
            let repository = names
                .entry(image)
                .or_insert_with_key(|image| self.path(image));
            let platforms = platforms_of(item.image_manifests, child_platforms);
            let uploaded = item.upload_time.as_deref().and_then(time);
            found.push(ListedImage {
                repository: Arc::clone(repository),
                manifest: item.fields.manifest(digest, item.tags, uploaded),
                platforms,
            });
        };
        self.google.each(url, "dockerImages", take).await?;
        Ok(found)
    }

    /// Every manifest of one image.
    pub(super) async fn versions(&self, image: &str) -> Result<Vec<ListedImage>, GoogleError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Item {
            name: String,
            create_time: Option<String>,
            #[serde(default)]
            metadata: CommonFields,
            #[serde(default)]
            related_tags: Vec<Tag>,
        }
        #[derive(Deserialize)]
        struct Tag {
            name: String,
        }
        let package = image.replace('/', "%2F");
        let path = format!("v1/{}/packages/{package}/versions", self.place.resource());
        let mut url = paged(&path);
        url.query_pairs_mut().append_pair("view", "FULL");
        let repository = self.path(image);
        let mut found = Vec::new();
        let take = |item: Item| {
            let digest = item
                .name
                .rsplit_once('/')
                .and_then(|(_, digest)| digest.parse().ok());
            let Some(digest) = digest else { return };
            let tags = item.related_tags.iter();
            let tags = tags.filter_map(|tag| tag.name.split_once("/tags/"));
            let tags = tags.map(|(_, tag)| tag.to_owned()).collect();
            let uploaded = item.create_time.as_deref().and_then(time);
            found.push(ListedImage {
                repository: Arc::clone(&repository),
                manifest: item.metadata.manifest(digest, tags, uploaded),
                platforms: Vec::new(),
            });
        };
        self.google.each(url, "versions", take).await?;
        Ok(found)
    }

    /// The repository path of an image below the endpoint.
    fn path(&self, image: &str) -> Arc<str> {
        format!("{}/{image}", self.place.path(self.endpoint)).into()
    }

    /// The image and the digest of `HOST/PROJECT/REPOSITORY/IMAGE@DIGEST`.
    fn split(&self, uri: &str) -> Option<(String, Digest)> {
        let (path, digest) = uri.split_once('@')?;
        // The project of a domain is two components of a path.
        let before = if self.place.project.contains(':') {
            4
        } else {
            3
        };
        let image = path.splitn(before + 1, '/').nth(before)?;
        Some((image.to_owned(), digest.parse().ok()?))
    }
}

/// The fields of a manifest that several lists have in common.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CommonFields {
    image_size_bytes: String,
    media_type: String,
    build_time: String,
}

impl CommonFields {
    fn manifest(
        self,
        digest: Digest,
        mut tags: Vec<String>,
        uploaded: Option<SystemTime>,
    ) -> ListedManifest {
        tags.sort();
        ListedManifest {
            digest,
            tags,
            media_type: self.media_type,
            size: self.image_size_bytes.parse().ok(),
            created: time(&self.build_time).filter(|time| *time > SystemTime::UNIX_EPOCH),
            uploaded,
        }
    }
}

/// A child manifest of an index.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Child {
    digest: String,
    os: String,
    architecture: String,
    variant: String,
}

/// The platforms of an index. Adds them to those of its children.
fn platforms_of(children: Vec<Child>, child_platforms: &mut ChildPlatforms) -> Vec<Platform> {
    let mut platforms = Vec::new();
    for child in children {
        let platform = Platform {
            os: child.os,
            architecture: child.architecture,
            variant: Some(child.variant).filter(|variant| !variant.is_empty()),
            os_version: None,
        };
        if platform.is_known() {
            if let Ok(digest) = child.digest.parse() {
                child_platforms.insert(digest, platform.clone());
            }
            platforms.push(platform);
        }
    }
    platforms
}

fn paged(path: &str) -> url::Url {
    let mut url = Api::ArtifactRegistry.url(path);
    url.query_pairs_mut().append_pair("pageSize", PAGE);
    url
}

/// The id of a package without the escapes of its slashes.
fn unescaped(id: &str) -> String {
    id.replace("%2F", "/").replace("%2f", "/")
}

fn time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .map(SystemTime::from)
}
