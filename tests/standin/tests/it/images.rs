//! Small images, and the two ways of pushing their blobs.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use standin::Standin;

use crate::http_client::{Answer, Client};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(crate) const PUSHER: &str = "ci@proj.iam.gserviceaccount.com";
pub(crate) const GCR: &str = "projects/proj/locations/us/repositories/gcr.io";

/// A stand-in with the repository behind gcr.io and an account with every permission there.
pub(crate) fn ready() -> Standin {
    let standin = Standin::start();
    prepare(&standin);
    standin
}

/// Adds that repository and that account to a stand-in.
pub(crate) fn prepare(standin: &Standin) {
    standin.create_repository(GCR, standin::RepositoryOptions::default());
    standin.grant(PUSHER, "roles/artifactregistry.repoAdmin", "projects/proj");
}

/// The account's client on gcr.io, with its OAuth token as the credential.
pub(crate) fn pusher(standin: &Standin) -> Client<'_> {
    Client::at(standin, "gcr.io").bearer(&standin.access_token(PUSHER))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// A config, one layer and the manifest that names them.
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl Image {
    /// An image with unique content for its name.
    pub(crate) fn new(name: &str) -> Self {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-03-09T16:00:00Z",
            "config": {"Labels": {"name": name}},
        });
        let config = config.to_string().into_bytes();
        // skopeo copies a layer as it is if it starts like gzip, and compresses it otherwise.
        let layer = [b"\x1f\x8b\x08", name.as_bytes()].concat();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        });
        Self {
            config,
            layer,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.manifest)
    }

    /// Pushes everything.
    pub(crate) fn push(&self, client: &Client<'_>, name: &str, tag: &str) {
        self.push_blobs(client, name);
        let answer = put_manifest(client, name, tag, OCI_MANIFEST, &self.manifest);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    pub(crate) fn push_blobs(&self, client: &Client<'_>, name: &str) {
        for blob in [&self.config, &self.layer] {
            let answer = push_blob(client, name, blob);
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

/// An index over these manifests.
pub(crate) fn index(manifests: &[&[u8]]) -> Vec<u8> {
    let manifests: Vec<Value> = manifests
        .iter()
        .map(|manifest| descriptor(OCI_MANIFEST, manifest))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    index.to_string().into_bytes()
}

/// Opens an upload. Returns the path where it continues.
pub(crate) fn open_upload(client: &Client<'_>, name: &str) -> String {
    let answer = client.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    location(&answer)
}

/// The path of a `Location`, whatever its form.
pub(crate) fn location(answer: &Answer) -> String {
    let location = answer.header("location").expect("a location");
    match location.split_once("://") {
        Some((_, rest)) => rest[rest.find('/').unwrap()..].to_owned(),
        None => location.to_owned(),
    }
}

/// Pushes a blob by one POST and one PUT.
pub(crate) fn push_blob(client: &Client<'_>, name: &str, bytes: &[u8]) -> Answer {
    let location = open_upload(client, name);
    put_upload(client, &location, bytes, &sha256(bytes))
}

/// Ends an upload.
pub(crate) fn put_upload(
    client: &Client<'_>,
    location: &str,
    bytes: &[u8],
    digest: &str,
) -> Answer {
    let joint = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{joint}digest={digest}");
    let kind = [("content-type", "application/octet-stream")];
    client.send("PUT", &target, &kind, bytes)
}

pub(crate) fn put_manifest(
    client: &Client<'_>,
    name: &str,
    reference: &str,
    media_type: &str,
    bytes: &[u8],
) -> Answer {
    let path = format!("/v2/{name}/manifests/{reference}");
    client.send("PUT", &path, &[("content-type", media_type)], bytes)
}
