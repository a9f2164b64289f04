//! Reads an image from a Docker engine by its export, which is the archive that `docker save`
//! writes. <https://docs.docker.com/reference/api/engine/>
//!
//! No engine is ever required. If there is one (GitHub mounts its socket into the container of
//! every action), the user needs no archive file.

mod error;

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::open::Archive;
use super::spool::ChunkReader;
use super::{Source, SourceError};
use crate::diagnostics::nearest::nearest;
use crate::http::{ErrorResponse, Network, read_bounded, send_logged};
use crate::image::location::{ArchiveKind, DaemonImage, EngineAddress};
use crate::oci::json;
pub use error::EngineError;
use error::{Cause, EngineMessage, io_error};

/// How long an engine may prepare an export. The classic image store copies all layers before it
/// sends the first byte.
const PREPARATION: Duration = Duration::from_secs(60 * 60);

/// The maximum size of a document. It is enough for a list of several thousand images.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// The number of bytes at the end of an export in which the engine's error is looked for.
const TAIL: usize = 8 * 1024;

/// The number of chunks that are buffered. A chunk is what one read of the connection returns.
const QUEUED_CHUNKS: usize = 4;

/// Requests an image from the engine and opens its export. The export is written to an unnamed file
/// in `spool` as it arrives.
pub(super) async fn open(
    image: &DaemonImage,
    network: &Network,
    spool: PathBuf,
) -> Result<Source, SourceError> {
    let (send, receive) = mpsc::channel(QUEUED_CHUNKS);
    let archive = Archive {
        what: format!("`docker-daemon:{}`", image.reference),
        path: image.reference.clone(),
        kind: ArchiveKind::Docker,
        reference: None,
    };
    let name = name(&image.reference);
    let reference = name.clone().unwrap_or_else(|| image.reference.clone());
    let opening = Source::open_on_thread(move || {
        let (what, mut opened) = archive.copied(ChunkReader::new(receive), &spool)?;
        opened.image.names = name.map_or(opened.image.names, |name| vec![name]);
        Ok((what, opened))
    });
    // If there is no export, or it breaks off, the engine's error explains it, and the error of the
    // incomplete archive does not. If the copy fails, the receiver is dropped, which is not an error
    // of the engine.
    match tokio::join!(export(&image.engine, reference, network, send), opening) {
        (Err(error), _) => Err(SourceError::Engine(error)),
        (Ok(()), source) => source,
    }
}

/// Sends an export to the channel in chunks, until its end or until the receiver is dropped.
async fn export(
    address: &EngineAddress,
    reference: String,
    network: &Network,
    chunks: mpsc::Sender<Bytes>,
) -> Result<(), EngineError> {
    let engine = Engine::connect(address, network).await?;
    tracing::info!("exporting `{reference}` from the Docker engine at {address}");
    let path = format!("/images/{reference}/get");
    let mut response = match engine.get(&path, PREPARATION).await {
        Err(EngineError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
            return Err(EngineError::NoImage {
                similar: engine.similar(&reference).await,
                engine: engine.address,
                reference,
            });
        }
        response => response?,
    };
    let broken = |received, cause| EngineError::Broken {
        engine: address.clone(),
        reference: reference.clone(),
        received,
        cause,
    };
    let (mut received, mut tail) = (0, Vec::new());
    while let Some(chunk) = within(engine.stall_timeout, response.chunk())
        .await
        .map_err(|cause| broken(received, cause.into()))?
    {
        received += chunk.len() as u64;
        tail.extend_from_slice(&chunk[chunk.len().saturating_sub(TAIL)..]);
        tail.drain(..tail.len().saturating_sub(TAIL));
        if chunks.send(chunk).await.is_err() {
            return Ok(());
        }
    }
    match message_at_end(&tail) {
        Some(message) => Err(broken(received, EngineMessage(message).into())),
        None => Ok(()),
    }
}

/// The name of the image, with the tag `latest` if it has none: an engine exports all tags of a
/// name without a tag (moby, daemon/internal/image/tarexport/save.go). `None` if `reference` is an
/// image ID or the start of one, of which `docker images` shows 12 digits.
fn name(reference: &str) -> Option<String> {
    let (kind, hex) = reference.split_once(':').unwrap_or(("sha256", reference));
    let is_hex = hex.len() >= 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if kind == "sha256" && is_hex {
        return None;
    }
    let last = reference.rsplit('/').next().unwrap_or(reference);
    let has_tag = last.contains([':', '@']);
    Some(format!(
        "{reference}{}",
        if has_tag { "" } else { ":latest" }
    ))
}

/// A Docker engine.
struct Engine {
    address: EngineAddress,
    http: Client,
    /// `http://HOST`, followed by the API version once it is known.
    root: String,
    stall_timeout: Duration,
}

impl Engine {
    /// Pings the engine and reads the API version that it supports. Requests without a version are
    /// deprecated and mean the newest version. The requests made here are the same in all versions.
    async fn connect(address: &EngineAddress, network: &Network) -> Result<Self, EngineError> {
        let (socket, root) = match address {
            EngineAddress::Socket(path) => (Some(path.as_path()), "http://localhost".to_owned()),
            EngineAddress::Tcp(host, port) => (None, format!("http://{host}:{port}")),
        };
        let mut engine = Self {
            address: address.clone(),
            http: network.engine_client(socket).map_err(EngineError::Setup)?,
            root,
            stall_timeout: network.stall_timeout,
        };
        let response = engine.get("/_ping", engine.stall_timeout).await?;
        // Nothing but a version such as `1.51` may become a part of a path.
        let is_version = |text: &&str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let version = response.headers().get("Api-Version");
        let version = version.and_then(|version| version.to_str().ok());
        let Some(version) = version.filter(is_version) else {
            return Err(engine.no_answer(invalid("the response does not contain an API version")));
        };
        engine.root.push_str(&format!("/v{version}"));
        Ok(engine)
    }

    /// Sends a request and waits for the response headers. Any status but 200 is an error.
    async fn get(&self, path: &str, limit: Duration) -> Result<Response, EngineError> {
        let url = format!("{}{path}", self.root);
        let response = within(limit, send_logged(self.http.get(&url), &url)).await;
        let response = response.map_err(|cause| self.no_answer(cause))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.read(response).await.unwrap_or_default();
        let refusal = ErrorResponse::parse(status, &headers, &body);
        Err(EngineError::refused(&self.address, path, refusal))
    }

    async fn read(&self, response: Response) -> Result<Bytes, Cause> {
        let reading = read_bounded(response, MAX_DOCUMENT, self.stall_timeout);
        Ok(timeout(self.stall_timeout, reading).await??)
    }

    fn no_answer(&self, cause: io::Error) -> EngineError {
        let is_other = matches!(&self.address, EngineAddress::Socket(path)
            if path.metadata().is_ok_and(|found| !found.file_type().is_socket()));
        let no_socket = is_other.then(|| invalid("it is not a socket"));
        EngineError::NoAnswer {
            engine: self.address.clone(),
            cause: no_socket.unwrap_or(cause),
        }
    }

    /// Returns at most five images with the same name in any repository, else the one whose
    /// spelling is closest. Empty if the images cannot be listed, because they are only a hint.
    async fn similar(&self, reference: &str) -> Vec<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            repo_tags: Option<Vec<String>>,
        }
        fn last_part(name: &str) -> Option<&str> {
            name.rsplit('/').next()?.split([':', '@']).next()
        }
        let mut images: Vec<Image> = Vec::new();
        if let Ok(response) = self.get("/images/json", self.stall_timeout).await
            && let Ok(body) = self.read(response).await
        {
            images = json::from_slice(&body).unwrap_or_default();
        }
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        let tags: BTreeSet<String> = tags.flatten().collect();
        let is_same = |tag: &&String| last_part(tag) == last_part(reference);
        let mut similar: Vec<_> = tags.iter().filter(is_same).take(5).cloned().collect();
        if similar.is_empty() {
            let closest = nearest(reference, tags.iter().map(String::as_str));
            similar.extend(closest.map(str::to_owned));
        }
        similar
    }
}

/// Returns the error message at the end of an export. An engine that fails in the middle has
/// already sent status 200, and appends its error as a line of JSON (moby,
/// daemon/server/router/image/image_routes.go, `getImagesGet`). A tar file ends with zeros.
fn message_at_end(tail: &[u8]) -> Option<String> {
    let mut starts = (0..tail.len()).filter(|&start| tail[start..].starts_with(b"{\"error"));
    starts.find_map(|start| {
        let line: Value = json::from_slice(&tail[start..]).ok()?;
        Some(line.pointer("/errorDetail/message")?.as_str()?.to_owned())
    })
}

/// Waits for a response or for the next part of it.
async fn within<T>(
    limit: Duration,
    waiting: impl Future<Output = reqwest::Result<T>>,
) -> io::Result<T> {
    match timeout(limit, waiting).await {
        Ok(result) => result.map_err(io_error),
        Err(_) => {
            let text = format!("no data arrived for {} s", limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

/// Why what is at an address is no engine.
fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_after_an_export_is_found_and_a_file_is_none() {
        let error = r#"{"errorDetail":{"message":"no space left"},"error":"no space left"}"#;
        for before in ["", "\0\0", "{\"error\":\"", error] {
            let tail = format!("{before}{error}\r\n");
            let message = message_at_end(tail.as_bytes());
            assert_eq!(message.as_deref(), Some("no space left"), "{before}");
        }
        assert_eq!(message_at_end(format!("{error}\0\0").as_bytes()), None);
    }
}
