//! Google's extension of `tags/list`: the repositories below a path, and the manifest of each tag.
//!
//! All numbers are JSON strings. `gcloud container images list` prints `child` of the project's
//! path; `list-tags` prints `manifest`.
//! <https://github.com/google/go-containerregistry/blob/main/pkg/v1/google/list.go>

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::oci::digest::Digest;

/// A manifest in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedManifest {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The tags that point at it, sorted.
    pub tags: Vec<String>,
    /// The media type of the manifest.
    pub media_type: String,
    /// The size of the image in bytes, as counted by the registry.
    pub size: Option<u64>,
    /// The build time in the image config. `None` if it is not stated.
    pub created: Option<SystemTime>,
    /// The upload time.
    pub uploaded: Option<SystemTime>,
}

/// The fields of a response with the extension, as they are in the JSON.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Extension {
    /// The next path components below.
    #[serde(default)]
    pub(super) child: Vec<String>,
    /// The tags, which every registry lists.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    manifest: BTreeMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    image_size_bytes: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    tag: Vec<String>,
    #[serde(default)]
    time_created_ms: String,
    #[serde(default)]
    time_uploaded_ms: String,
}

impl Extension {
    /// True if the registry supports the extension and used it.
    pub(super) fn is_present(&self) -> bool {
        !self.child.is_empty() || !self.manifest.is_empty()
    }

    /// The manifests. Entries whose key is not a digest are left out.
    pub(super) fn manifests(self) -> Vec<ListedManifest> {
        self.manifest
            .into_iter()
            .filter_map(|(digest, mut entry)| {
                entry.tag.sort();
                Some(ListedManifest {
                    digest: digest.parse().ok()?,
                    tags: entry.tag,
                    media_type: entry.media_type,
                    size: entry.image_size_bytes.parse().ok(),
                    created: time(&entry.time_created_ms),
                    uploaded: time(&entry.time_uploaded_ms),
                })
            })
            .collect()
    }
}

/// Sorts by upload time.
pub(super) fn newest_first(manifests: &mut [ListedManifest]) {
    manifests.sort_by_key(|manifest| std::cmp::Reverse(manifest.uploaded));
}

/// Parses milliseconds since 1970. `0` and Go's zero time, which is before 1970, mean that the time
/// is unknown.
fn time(milliseconds: &str) -> Option<SystemTime> {
    let milliseconds: u64 = milliseconds.parse().ok().filter(|ms| *ms > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oci::json::{self, variants};

    proptest! {
        #[test]
        fn listing_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!({"tags": ["a"], "manifest": {(Digest::of(b"x").as_str()): {"tag": ["a"]}}}),
                variants::Fields {
                    all: &["tags", "child", "manifest", "tag", "mediaType", "timeCreatedMs"],
                    optional: &["tags", "child", "mediaType", "timeCreatedMs"],
                },
            )
        ) {
            let extension: Extension = json::from_str(&text).unwrap();
            prop_assert_eq!(&extension.tags, &["a"]);
            let manifests = extension.manifests();
            prop_assert_eq!(&manifests[0].tags, &["a"]);
            prop_assert_eq!(&manifests[0].digest, &Digest::of(b"x"));
        }
    }

    #[test]
    fn numbers_are_strings_and_times_before_1970_are_unknown() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"child":["a"],"manifest":{{"{digest}":{{"imageSizeBytes":"12","layerId":"",
            "mediaType":"m","tag":["b","a"],"timeCreatedMs":"-62135596800000",
            "timeUploadedMs":"1552917295327"}},"nonsense":{{}}}},"name":"p/a","tags":["a","b"]}}"#
        );
        let extension: Extension = json::from_str(&text).unwrap();
        assert!(extension.is_present());
        let manifests = extension.manifests();
        assert_eq!(manifests.len(), 1);
        assert_eq!(manifests[0].tags, ["a", "b"]);
        assert_eq!(manifests[0].size, Some(12));
        assert_eq!(manifests[0].created, None);
        assert!(manifests[0].uploaded.is_some());
    }
}
