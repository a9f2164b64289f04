//! A client of the Docker Engine API, with the four requests that are needed.
//! <https://docs.docker.com/reference/api/engine/>

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::{EngineError, io_error, timeout_error};
use super::export::Export;
use crate::diagnostics::nearest::nearest;
use crate::http::Network;
use crate::image::location::EngineAddress;
use crate::image::names;
use crate::oci::json;

/// The maximum size of a response. It is enough for a list of several thousand images.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// The minimum rate, in bytes per second, at which an engine prepares an export. The classic image
/// store copies all layers before it sends the first byte, so the time until that byte grows with
/// the image.
const MIN_EXPORT_RATE: u64 = 8 * 1024 * 1024;

/// The maximum number of similar images that are named if an image does not exist.
const MAX_SIMILAR: usize = 5;

/// A Docker engine that has answered a ping.
pub(super) struct Engine {
    /// The address as messages show it.
    address: String,
    http: Client,
    /// `http://HOST`, followed by the API version once it is known.
    root: String,
    stall_timeout: Duration,
}

/// What the engine returns about an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImageMatch {
    id: String,
    repo_tags: Option<Vec<String>>,
    size: Option<i64>,
}

impl ImageMatch {
    #[cfg(test)]
    pub(super) fn new(id: &str, tags: &[&str]) -> Self {
        Self {
            id: id.to_owned(),
            repo_tags: Some(tags.iter().map(|&tag| tag.to_owned()).collect()),
            size: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The size of the image in bytes. 0 if the engine does not state it.
    pub(super) fn size(&self) -> u64 {
        self.size.and_then(|size| size.try_into().ok()).unwrap_or(0)
    }

    /// True if `reference` is the start of the image ID and not one of its names.
    pub(super) fn is_id_prefix(&self, reference: &str) -> bool {
        let hex = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_owned();
        let mut tags = self.repo_tags.iter().flatten();
        hex(&self.id).starts_with(&hex(reference)) && !tags.any(|tag| names::means(reference, tag))
    }
}

impl Engine {
    /// Pings the engine and reads the API version that it supports. Requests without a version are
    /// deprecated and mean the newest version. The requests made here are the same in all versions.
    pub(super) async fn connect(
        address: &EngineAddress,
        network: &Network,
    ) -> Result<Self, EngineError> {
        let socket = match address {
            EngineAddress::Socket(path) => Some(path.as_path()),
            EngineAddress::Tcp(..) => None,
        };
        let http = network.engine_client(socket).map_err(EngineError::Setup)?;
        let mut engine = Self {
            address: address.to_string(),
            http,
            root: match address {
                EngineAddress::Socket(_) => "http://localhost".to_owned(),
                EngineAddress::Tcp(host, port) => format!("http://{host}:{port}"),
            },
            stall_timeout: network.stall_timeout,
        };
        let response = engine
            .get("/_ping", engine.stall_timeout)
            .await
            .map_err(|error| error.of_socket(socket))?;
        let version = response
            .headers()
            .get("Api-Version")
            .and_then(|version| version.to_str().ok())
            .filter(|version| is_version(version));
        let Some(version) = version else {
            return Err(EngineError::NotAnEngine {
                engine: engine.address,
            });
        };
        tracing::debug!("{} speaks version {version} of the API", engine.address);
        engine.root.push_str(&format!("/v{version}"));
        Ok(engine)
    }

    /// Looks up the image that `reference` names.
    pub(super) async fn find(&self, reference: &str) -> Result<ImageMatch, EngineError> {
        let path = format!("/images/{reference}/json");
        match self.get_json(&path).await {
            Err(EngineError::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }) => Err(EngineError::NoImage {
                engine: self.address.clone(),
                reference: reference.to_owned(),
                similar: self.similar(reference).await,
            }),
            other => other,
        }
    }

    /// Requests the export of an image of `size` bytes, and waits for the response to start.
    pub(super) async fn export(&self, reference: &str, size: u64) -> Result<Export, EngineError> {
        tracing::info!(
            "exporting `{reference}` from the Docker engine at {}",
            self.address
        );
        let first_byte_timeout = first_byte_timeout(self.stall_timeout, size);
        let response = self
            .get(&format!("/images/{reference}/get"), first_byte_timeout)
            .await?;
        Ok(Export {
            engine: self.address.clone(),
            reference: reference.to_owned(),
            response,
            stall_timeout: self.stall_timeout,
        })
    }

    /// Returns names of the engine's images that are similar to `reference`. Empty if they cannot
    /// be listed, because they are only a hint.
    async fn similar(&self, reference: &str) -> Vec<String> {
        let images: Vec<ImageMatch> = self.get_json("/images/json").await.unwrap_or_default();
        let mut tags: Vec<String> = images
            .into_iter()
            .flat_map(|image| image.repo_tags.unwrap_or_default())
            .filter(|tag| tag != "<none>:<none>")
            .collect();
        tags.sort_unstable();
        similar(reference, &tags)
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let response = self.get(path, self.stall_timeout).await?;
        let body = self.read(path, response).await?;
        json::from_slice(&body).map_err(|cause| EngineError::Unexpected {
            engine: self.address.clone(),
            path: path.to_owned(),
            cause: cause.into(),
        })
    }

    /// Sends a request and waits for the response headers. Any status but 200 is an error.
    async fn get(&self, path: &str, first_byte_timeout: Duration) -> Result<Response, EngineError> {
        let url = format!("{}{path}", self.root);
        tracing::debug!("GET {url}");
        let no_response = |cause| EngineError::NoResponse {
            engine: self.address.clone(),
            path: path.to_owned(),
            cause,
        };
        let response = match timeout(first_byte_timeout, self.http.get(url).send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => {
                return Err(EngineError::Unreachable {
                    engine: self.address.clone(),
                    is_socket: true,
                    cause: io_error(error),
                });
            }
            Ok(Err(error)) => return Err(no_response(io_error(error))),
            Err(_) => return Err(no_response(timeout_error(first_byte_timeout))),
        };
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = self.read(path, response).await.unwrap_or_default();
        Err(EngineError::refused(&self.address, path, status, &body))
    }

    /// Reads a body of at most [`MAX_RESPONSE`] bytes.
    async fn read(&self, path: &str, mut response: Response) -> Result<Vec<u8>, EngineError> {
        let unexpected = |cause| EngineError::Unexpected {
            engine: self.address.clone(),
            path: path.to_owned(),
            cause,
        };
        let mut body = Vec::new();
        loop {
            match timeout(self.stall_timeout, response.chunk()).await {
                Ok(Ok(None)) => return Ok(body),
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= MAX_RESPONSE => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Ok(Some(_))) => {
                    return Err(unexpected(
                        format!("it is longer than {MAX_RESPONSE} bytes").into(),
                    ));
                }
                Ok(Err(error)) => return Err(unexpected(io_error(error).into())),
                Err(_) => return Err(unexpected(timeout_error(self.stall_timeout).into())),
            }
        }
    }
}

/// Returns how long the first byte of an export may take.
fn first_byte_timeout(stall_timeout: Duration, size: u64) -> Duration {
    stall_timeout.saturating_add(Duration::from_secs(size / MIN_EXPORT_RATE))
}

/// True for a version such as `1.51`. Nothing else may become a part of the request path.
fn is_version(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.len() < 10
        && text
            .split_once('.')
            .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

/// Returns the tags of the repository that `reference` names, in any namespace. If there are none,
/// returns the tag whose spelling is closest.
fn similar(reference: &str, tags: &[String]) -> Vec<String> {
    fn own_name(name: &str) -> &str {
        let last = name.rsplit('/').next().unwrap_or(name);
        last.split([':', '@']).next().unwrap_or(last)
    }
    let wanted = own_name(reference);
    let mut same: Vec<String> = tags
        .iter()
        .filter(|tag| own_name(tag) == wanted)
        .cloned()
        .collect();
    same.truncate(MAX_SIMILAR);
    if same.is_empty() {
        same.extend(nearest(reference, tags.iter().map(String::as_str)).map(str::to_owned));
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_timeout_grows_with_the_image() {
        let minute = Duration::from_secs(60);
        assert_eq!(first_byte_timeout(minute, 0), minute);
        assert_eq!(
            first_byte_timeout(minute, 8 << 30),
            Duration::from_secs(60 + 1024)
        );
        assert!(first_byte_timeout(Duration::MAX, u64::MAX) == Duration::MAX);
    }

    #[test]
    fn version_is_two_numbers() {
        for version in ["1.24", "1.51", "2.0"] {
            assert!(is_version(version), "{version}");
        }
        for version in [
            "",
            "1",
            "1.",
            ".1",
            "1.5/x",
            "1.5.1",
            "../..",
            "1.555555555",
        ] {
            assert!(!is_version(version), "{version}");
        }
    }

    #[test]
    fn similar_images_share_the_name_or_differ_by_a_typo() {
        let tags = ["api:1", "api:2", "gcr.io/acme/api:1", "web:latest"].map(str::to_owned);
        let similar = |reference| similar(reference, &tags);
        assert_eq!(similar("api:3"), ["api:1", "api:2", "gcr.io/acme/api:1"]);
        assert_eq!(similar("acme/api"), similar("api"));
        assert_eq!(similar("wbe:latest"), ["web:latest"]);
        assert!(similar("other:1").is_empty());
    }
}
