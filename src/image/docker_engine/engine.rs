//! A Docker engine, and the four things that it is asked.
//! <https://docs.docker.com/reference/api/engine/>

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::{EngineError, io_error, nothing_came};
use super::export::Export;
use crate::diagnostics::nearest::nearest;
use crate::http::Network;
use crate::image::location::EngineAddress;
use crate::image::names;
use crate::oci::json;

/// The most bytes of an answer that are read: some thousand images in a list.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// How many bytes of an image an engine writes down in a second, at the least. The classic image
/// store copies all layers before it sends the first byte, so the wait for that byte grows with the
/// image.
const SLOWEST: u64 = 8 * 1024 * 1024;

/// How many images are named to who asked for one that is not there.
const MOST_SIMILAR: usize = 5;

/// An engine that has answered.
pub(super) struct Engine {
    /// As messages call it.
    address: String,
    http: Client,
    /// `http://HOST`, and from the first answer on the version of the API behind it.
    root: String,
    stall_timeout: Duration,
}

/// What the engine knows of an image.
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

    /// The image ID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The bytes of the image; 0 when the engine does not say.
    pub(super) fn size(&self) -> u64 {
        self.size.and_then(|size| size.try_into().ok()).unwrap_or(0)
    }

    /// True when `reference` is the start of the ID, and no name of the image.
    pub(super) fn is_meant_by_id(&self, reference: &str) -> bool {
        let hex = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_owned();
        let mut tags = self.repo_tags.iter().flatten();
        hex(&self.id).starts_with(&hex(reference)) && !tags.any(|tag| names::means(reference, tag))
    }
}

impl Engine {
    /// Asks whether an engine is there, and which version of the API it speaks. Requests without a
    /// version are deprecated, and the newest one is what they would mean; what is asked here has
    /// been the same in all of them.
    pub(super) async fn meet(
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
        let answer = engine
            .get("/_ping", engine.stall_timeout)
            .await
            .map_err(|error| error.of_socket(socket))?;
        let version = answer
            .headers()
            .get("Api-Version")
            .and_then(|version| version.to_str().ok())
            .filter(|version| is_version(version));
        let Some(version) = version else {
            return Err(EngineError::Stranger {
                engine: engine.address,
            });
        };
        tracing::debug!("{} speaks version {version} of the API", engine.address);
        engine.root.push_str(&format!("/v{version}"));
        Ok(engine)
    }

    /// Looks up what `reference` means.
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

    /// Asks for the export of an image of `size` bytes, and waits until it begins.
    pub(super) async fn export(&self, reference: &str, size: u64) -> Result<Export, EngineError> {
        tracing::info!(
            "exporting `{reference}` from the Docker engine at {}",
            self.address
        );
        let patience = patience(self.stall_timeout, size);
        let answer = self
            .get(&format!("/images/{reference}/get"), patience)
            .await?;
        Ok(Export {
            engine: self.address.clone(),
            reference: reference.to_owned(),
            answer,
            stall_timeout: self.stall_timeout,
        })
    }

    /// Names of the engine's images that are like `reference`; none when they cannot be had, for
    /// they are only advice.
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
        let answer = self.get(path, self.stall_timeout).await?;
        let body = self.read(path, answer).await?;
        json::from_slice(&body).map_err(|cause| EngineError::Unexpected {
            engine: self.address.clone(),
            path: path.to_owned(),
            cause: cause.into(),
        })
    }

    /// Sends a request, and waits for the head of its answer, which must be that it was done.
    async fn get(&self, path: &str, patience: Duration) -> Result<Response, EngineError> {
        let url = format!("{}{path}", self.root);
        tracing::debug!("GET {url}");
        let no_answer = |cause| EngineError::NoAnswer {
            engine: self.address.clone(),
            path: path.to_owned(),
            cause,
        };
        let answer = match timeout(patience, self.http.get(url).send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_connect() => {
                return Err(EngineError::Unreachable {
                    engine: self.address.clone(),
                    is_socket: true,
                    cause: io_error(error),
                });
            }
            Ok(Err(error)) => return Err(no_answer(io_error(error))),
            Err(_) => return Err(no_answer(nothing_came(patience))),
        };
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let body = self.read(path, answer).await.unwrap_or_default();
        Err(EngineError::refused(&self.address, path, status, &body))
    }

    /// Reads a body of bounded length.
    async fn read(&self, path: &str, mut answer: Response) -> Result<Vec<u8>, EngineError> {
        let unexpected = |cause| EngineError::Unexpected {
            engine: self.address.clone(),
            path: path.to_owned(),
            cause,
        };
        let mut body = Vec::new();
        loop {
            match timeout(self.stall_timeout, answer.chunk()).await {
                Ok(Ok(None)) => return Ok(body),
                Ok(Ok(Some(piece))) if body.len() + piece.len() <= MAX_ANSWER => {
                    body.extend_from_slice(&piece);
                }
                Ok(Ok(Some(_))) => {
                    return Err(unexpected(
                        format!("it is longer than {MAX_ANSWER} bytes").into(),
                    ));
                }
                Ok(Err(error)) => return Err(unexpected(io_error(error).into())),
                Err(_) => return Err(unexpected(nothing_came(self.stall_timeout).into())),
            }
        }
    }
}

/// How long the first byte of an export may take.
fn patience(stall_timeout: Duration, size: u64) -> Duration {
    stall_timeout.saturating_add(Duration::from_secs(size / SLOWEST))
}

/// `1.51`, and nothing that could lead a request elsewhere.
fn is_version(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.len() < 10
        && text
            .split_once('.')
            .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

/// The tags of the repository that `reference` names, wherever it lies; else the one name that it
/// may have been meant to be.
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
    same.truncate(MOST_SIMILAR);
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
        assert_eq!(patience(minute, 0), minute);
        assert_eq!(patience(minute, 8 << 30), Duration::from_secs(60 + 1024));
        assert!(patience(Duration::MAX, u64::MAX) == Duration::MAX);
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
