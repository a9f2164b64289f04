//! The content of the repositories, and uploads and downloads in progress.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;

use super::uploads::Session;
use crate::hosts::{ImagePath, PLAIN};
use crate::storage::{self, Blobs, Storage};

/// The settings of a repository of Artifact Registry.
#[derive(Clone, Debug, Default)]
pub struct RepositoryOptions {
    /// Tags can be created but neither moved nor deleted (`dockerConfig.immutableTags`).
    pub immutable_tags: bool,
}

/// Everything in the registry.
pub(crate) struct Store {
    pub(crate) blobs: Blobs,
    /// By resource name; the plain registry is one of them.
    repositories: Mutex<BTreeMap<String, Repository>>,
    /// By the secret of their URL.
    pub(super) uploads: Mutex<HashMap<String, Session>>,
    /// Held while a body is read, with `one_upload_at_a_time`.
    pub(super) upload_turn: tokio::sync::Mutex<()>,
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

/// The target of a redirected blob GET.
#[derive(Clone)]
pub(super) struct Download {
    pub(super) digest: String,
    /// The host of the original request.
    pub(super) host: String,
}

impl Image {
    /// The digest of a tag or a digest.
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
            upload_turn: tokio::sync::Mutex::default(),
            downloads: Mutex::default(),
            views: Mutex::default(),
        }
    }

    /// Creates a repository, or sets the options of an existing one.
    pub(crate) fn create(&self, resource: &str, options: RepositoryOptions) {
        let mut repositories = self.repositories.lock().unwrap();
        repositories.entry(resource.to_owned()).or_default().options = options;
    }

    pub(crate) fn has_repository(&self, resource: &str) -> bool {
        self.repositories.lock().unwrap().contains_key(resource)
    }

    /// The names of all repositories with this prefix.
    pub(crate) fn repositories(&self, start: &str) -> Vec<String> {
        let repositories = self.repositories.lock().unwrap();
        let names = repositories.keys().filter(|name| name.starts_with(start));
        names.cloned().collect()
    }

    /// The names of the images in a repository; blobs alone are none.
    pub(crate) fn images(&self, resource: &str) -> Vec<String> {
        let names = self.repository(resource, |repository| {
            let images = repository.images.iter();
            let images = images.filter(|(_, image)| !image.manifests.is_empty());
            images.map(|(name, _)| name.clone()).collect()
        });
        names.unwrap_or_default()
    }

    /// Removes a repository and everything in it.
    pub(crate) fn remove(&self, resource: &str) {
        self.repositories.lock().unwrap().remove(resource);
    }

    /// Reads a repository.
    pub(super) fn repository<T>(
        &self,
        resource: &str,
        read: impl FnOnce(&Repository) -> T,
    ) -> Option<T> {
        self.repositories.lock().unwrap().get(resource).map(read)
    }

    /// Reads an image.
    pub(super) fn image<T>(
        &self,
        image_path: &ImagePath,
        read: impl FnOnce(&Image) -> T,
    ) -> Option<T> {
        let repositories = self.repositories.lock().unwrap();
        let image = repositories
            .get(&image_path.resource)?
            .images
            .get(&image_path.image)?;
        Some(read(image))
    }

    /// Changes an image, which its first blob or manifest creates.
    pub(super) fn change<T>(
        &self,
        image_path: &ImagePath,
        change: impl FnOnce(&mut Image) -> T,
    ) -> T {
        let mut repositories = self.repositories.lock().unwrap();
        let repository = repositories.entry(image_path.resource.clone()).or_default();
        change(
            repository
                .images
                .entry(image_path.image.clone())
                .or_default(),
        )
    }

    pub(super) fn has_blob(&self, image_path: &ImagePath, digest: &str) -> bool {
        let known = self.image(image_path, |image| image.blobs.contains(digest));
        known.unwrap_or(false)
    }

    /// Puts a blob without a request. Returns its digest.
    pub(crate) fn add_blob(&self, image_path: &ImagePath, bytes: &[u8]) -> String {
        let mut writer = self.blobs.writer();
        writer.write(bytes);
        let digest = writer.digest();
        self.blobs.keep(&digest, writer);
        self.change(image_path, |image| image.blobs.insert(digest.clone()));
        digest
    }

    /// Puts a manifest without a request and without any check. Returns its digest.
    pub(crate) fn add_manifest(
        &self,
        image_path: &ImagePath,
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
        self.change(image_path, |image| {
            image.manifests.insert(digest.clone(), manifest);
            if !reference.contains(':') {
                image.tags.insert(reference.to_owned(), digest.clone());
            }
        });
        digest
    }

    /// A manifest's type and bytes.
    pub(crate) fn manifest(
        &self,
        image_path: &ImagePath,
        reference: &str,
    ) -> Option<(String, Vec<u8>)> {
        self.image(image_path, |image| {
            let manifest = image.manifests.get(image.resolve(reference)?)?;
            Some((manifest.media_type.clone(), manifest.bytes.to_vec()))
        })?
    }

    /// A blob's bytes. `None` if this image does not have it.
    pub(crate) fn blob(&self, image_path: &ImagePath, digest: &str) -> Option<Vec<u8>> {
        self.has_blob(image_path, digest)
            .then(|| self.blobs.bytes(digest))?
    }

    /// Tags and their digests.
    pub(crate) fn tags(&self, image_path: &ImagePath) -> BTreeMap<String, String> {
        let tags = self.image(image_path, |image| image.tags.clone());
        tags.unwrap_or_default()
    }

    /// Removes a blob from an image.
    pub(crate) fn forget_blob(&self, image_path: &ImagePath, digest: &str) {
        self.change(image_path, |image| image.blobs.remove(digest));
    }

    /// Removes a manifest with its tags, or one tag, without any check.
    pub(crate) fn forget_manifest(&self, image_path: &ImagePath, reference: &str) {
        self.change(image_path, |image| {
            if image.tags.remove(reference).is_none() {
                image.manifests.remove(reference);
                image.tags.retain(|_, digest| digest != reference);
            }
        });
    }
}
