//! What the repositories hold, and the uploads and downloads that are under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;

use super::uploads::Session;
use crate::site::{PLAIN, Place};
use crate::storage::{self, Blobs, Storage};

/// How a repository of Artifact Registry is set up.
#[derive(Clone, Debug, Default)]
pub struct RepositoryOptions {
    /// Its tags can be made but neither moved nor deleted (`dockerConfig.immutableTags`).
    pub immutable_tags: bool,
}

/// Everything that is stored.
pub(crate) struct Store {
    pub(crate) blobs: Blobs,
    /// By resource name; the plain registry is one of them.
    repositories: Mutex<BTreeMap<String, Repository>>,
    /// By the secret of their URL.
    pub(super) uploads: Mutex<HashMap<String, Session>>,
    /// Blobs by the secret of the URL that a GET was redirected to.
    pub(super) downloads: Mutex<HashMap<String, Download>>,
    pub(super) views: Mutex<HashMap<String, super::listing::View>>,
}

/// One repository of Artifact Registry, or all of the plain registry.
#[derive(Default)]
pub(super) struct Repository {
    pub(super) options: RepositoryOptions,
    pub(super) images: BTreeMap<String, Image>,
}

/// One image: what OCI calls a repository.
#[derive(Default)]
pub(super) struct Image {
    pub(super) blobs: BTreeSet<String>,
    pub(super) manifests: BTreeMap<String, Manifest>,
    pub(super) tags: BTreeMap<String, String>,
}

/// A stored manifest or index.
#[derive(Clone)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    pub(super) parsed: Value,
    pub(super) uploaded: SystemTime,
}

/// Where a redirected blob GET may go on.
#[derive(Clone)]
pub(super) struct Download {
    pub(super) digest: String,
    /// The host the blob was asked from.
    pub(super) host: String,
}

impl Image {
    /// The digest that a tag or a digest stands for here.
    pub(super) fn resolve<'a>(&'a self, reference: &'a str) -> Option<&'a str> {
        let digest = match self.tags.get(reference) {
            Some(digest) => digest,
            None => reference,
        };
        let (digest, _) = self.manifests.get_key_value(digest)?;
        Some(digest)
    }

    /// Every digest's tags, in order.
    pub(super) fn tags_by_digest(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tag, digest) in &self.tags {
            found.entry(digest).or_default().push(tag);
        }
        found
    }

    /// The tags of a digest, in order.
    pub(super) fn tags_of(&self, digest: &str) -> Vec<&str> {
        let tags = self.tags.iter().filter(|(_, tagged)| *tagged == digest);
        tags.map(|(tag, _)| tag.as_str()).collect()
    }
}

impl Store {
    pub(crate) fn new(storage: Storage) -> Self {
        let plain = BTreeMap::from([(PLAIN.to_owned(), Repository::default())]);
        Self {
            blobs: Blobs::new(storage),
            repositories: Mutex::new(plain),
            uploads: Mutex::default(),
            downloads: Mutex::default(),
            views: Mutex::default(),
        }
    }

    /// Makes a repository; one that is there only gets the options.
    pub(crate) fn create(&self, resource: &str, options: RepositoryOptions) {
        let mut repositories = self.repositories.lock().unwrap();
        repositories.entry(resource.to_owned()).or_default().options = options;
    }

    pub(crate) fn has_repository(&self, resource: &str) -> bool {
        self.repositories.lock().unwrap().contains_key(resource)
    }

    /// The names of all repositories that begin so.
    pub(crate) fn repositories(&self, start: &str) -> Vec<String> {
        let repositories = self.repositories.lock().unwrap();
        let names = repositories.keys().filter(|name| name.starts_with(start));
        names.cloned().collect()
    }

    /// The names of the images in a repository; blobs alone make none.
    pub(crate) fn images(&self, resource: &str) -> Vec<String> {
        let names = self.repository(resource, |repository| {
            let images = repository.images.iter();
            let images = images.filter(|(_, image)| !image.manifests.is_empty());
            images.map(|(name, _)| name.clone()).collect()
        });
        names.unwrap_or_default()
    }

    /// Removes a repository with all that is in it.
    pub(crate) fn remove(&self, resource: &str) {
        self.repositories.lock().unwrap().remove(resource);
    }

    /// Looks at a repository.
    pub(super) fn repository<T>(
        &self,
        resource: &str,
        look: impl FnOnce(&Repository) -> T,
    ) -> Option<T> {
        self.repositories.lock().unwrap().get(resource).map(look)
    }

    /// Looks at an image.
    pub(super) fn image<T>(&self, place: &Place, look: impl FnOnce(&Image) -> T) -> Option<T> {
        let repositories = self.repositories.lock().unwrap();
        let image = repositories
            .get(&place.resource)?
            .images
            .get(&place.image)?;
        Some(look(image))
    }

    /// Changes an image, which is made by its first blob or manifest.
    pub(super) fn change<T>(&self, place: &Place, change: impl FnOnce(&mut Image) -> T) -> T {
        let mut repositories = self.repositories.lock().unwrap();
        let repository = repositories.entry(place.resource.clone()).or_default();
        change(repository.images.entry(place.image.clone()).or_default())
    }

    pub(super) fn has_blob(&self, place: &Place, digest: &str) -> bool {
        let known = self.image(place, |image| image.blobs.contains(digest));
        known.unwrap_or(false)
    }

    /// Puts a blob there without a request; gives its digest.
    pub(crate) fn add_blob(&self, place: &Place, bytes: &[u8]) -> String {
        let mut writer = self.blobs.writer();
        writer.write(bytes);
        let digest = writer.digest();
        self.blobs.keep(&digest, writer);
        self.change(place, |image| image.blobs.insert(digest.clone()));
        digest
    }

    /// Puts a manifest there without a request and without any check; gives its digest.
    pub(crate) fn add_manifest(
        &self,
        place: &Place,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let digest = storage::digest(bytes);
        let manifest = Manifest {
            media_type: media_type.to_owned(),
            bytes: Bytes::copy_from_slice(bytes),
            parsed: serde_json::from_slice(bytes).unwrap_or_default(),
            uploaded: SystemTime::now(),
        };
        self.change(place, |image| {
            image.manifests.insert(digest.clone(), manifest);
            if !reference.contains(':') {
                image.tags.insert(reference.to_owned(), digest.clone());
            }
        });
        digest
    }

    /// A manifest's type and bytes.
    pub(crate) fn manifest(&self, place: &Place, reference: &str) -> Option<(String, Vec<u8>)> {
        self.image(place, |image| {
            let manifest = image.manifests.get(image.resolve(reference)?)?;
            Some((manifest.media_type.clone(), manifest.bytes.to_vec()))
        })?
    }

    /// A blob's bytes, if this image has it.
    pub(crate) fn blob(&self, place: &Place, digest: &str) -> Option<Vec<u8>> {
        self.has_blob(place, digest)
            .then(|| self.blobs.bytes(digest))?
    }

    /// Tags and their digests.
    pub(crate) fn tags(&self, place: &Place) -> BTreeMap<String, String> {
        let tags = self.image(place, |image| image.tags.clone());
        tags.unwrap_or_default()
    }

    /// Removes a blob from an image.
    pub(crate) fn forget_blob(&self, place: &Place, digest: &str) {
        self.change(place, |image| image.blobs.remove(digest));
    }

    /// Removes a manifest with its tags, or one tag, without asking who refers to it.
    pub(crate) fn forget_manifest(&self, place: &Place, reference: &str) {
        self.change(place, |image| {
            if image.tags.remove(reference).is_none() {
                image.manifests.remove(reference);
                image.tags.retain(|_, digest| digest != reference);
            }
        });
    }
}
