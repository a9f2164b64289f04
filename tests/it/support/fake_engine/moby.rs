//! The answers of the fake engine: moby's routes, and how it reads names.

use std::cmp::Ordering;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use gcr_push::oci::digest::Digest;

use super::{EngineFault, Store};
use crate::support::images::{
    Layout, TestImage, classic_archive, digest, docker25_archive, docker29_layout,
};

pub struct StoredImage {
    pub test_image: TestImage,
    pub tags: Vec<String>,
}

pub struct State {
    pub store: Store,
    pub images: Vec<StoredImage>,
    pub fault: EngineFault,
    pub requests: Mutex<Vec<String>>,
    pub stalled: Sender<()>,
}

pub type Body = BoxBody<Bytes, io::Error>;

/// A status and a message.
type Refusal = (u16, String);

const VERSION: (u32, u32) = (1, 51);
/// The API version of skopeo's client, before Docker 25.
const OLDEST: (u32, u32) = (1, 12);

fn page_not_found() -> Refusal {
    (404, "page not found".to_owned())
}

fn no_such_image(name: &str) -> Refusal {
    (404, format!("No such image: {}", with_tag(name)))
}

impl State {
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if matches!(self.fault, EngineFault::IsSilent) {
            return std::future::pending().await;
        }
        let mut answer = self.routed(&request).unwrap_or_else(|(status, message)| {
            let body = json!({"message": message}).to_string() + "\n";
            response(status, "application/json", body)
        });
        if !matches!(self.fault, EngineFault::TellsNoVersion) {
            let version = format!("{}.{}", VERSION.0, VERSION.1);
            let headers = answer.headers_mut();
            headers.insert("Api-Version", version.parse().unwrap());
        }
        answer
    }

    fn routed(&self, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path();
        let (version, rest) = match path.strip_prefix("/v").and_then(|p| p.split_once('/')) {
            Some((version, rest)) => (Some(version), format!("/{rest}")),
            None => (None, path.to_owned()),
        };
        let requested = format!("{} {rest}", request.method());
        self.requests.lock().unwrap().push(requested);
        if let EngineFault::Refuses(end, status, body) = self.fault
            && path.ends_with(end)
        {
            return Ok(response(status, "text/plain", body));
        }
        if request.method() != Method::GET
            && !(path == "/_ping" && request.method() == Method::HEAD)
        {
            return Err(page_not_found());
        }
        if path == "/_ping" {
            return Ok(response(200, "text/plain; charset=utf-8", "OK"));
        }
        check_version(version.ok_or_else(page_not_found)?)?;
        let query = request.uri().query().unwrap_or_default();
        let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["images", "json"] => Ok(document(self.list())),
            // The route that Docker's client and skopeo use.
            ["images", "get"] => {
                let url = Url::parse(&format!("http://x/?{query}")).unwrap();
                let names: Vec<String> = url.query_pairs().map(|(_, name)| name.into()).collect();
                self.export(&names)
            }
            ["images", name @ .., "get"] if query.is_empty() => self.export(&[name.join("/")]),
            _ => Err(page_not_found()),
        }
    }

    fn list(&self) -> Value {
        let images = (0..self.images.len()).map(|number| self.summary_json(number));
        images.collect()
    }

    fn summary_json(&self, number: usize) -> Value {
        let held = &self.images[number];
        json!({
            "Id": self.id(number), "RepoTags": held.tags, "RepoDigests": self.digests(number),
            "Size": held.test_image.layers.iter().map(Vec::len).sum::<usize>(),
        })
    }

    fn digests(&self, number: usize) -> Vec<String> {
        let mut digests: Vec<String> = self.images[number]
            .tags
            .iter()
            .map(|tag| {
                format!(
                    "{}@{}",
                    repository(tag),
                    Digest::of(repository(tag).as_bytes())
                )
            })
            .collect();
        digests.dedup();
        digests
    }

    pub fn id(&self, number: usize) -> Digest {
        let test_image = &self.images[number].test_image;
        match self.store {
            Store::Classic | Store::Docker25 => test_image.id(),
            Store::Containerd => digest(&docker29_layout(test_image, "app", "1").1),
        }
    }

    fn find(&self, matches: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.images.len()).find(|&number| matches(number))
    }

    fn find_id(&self, name: &str) -> Option<usize> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let is_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        self.find(|number| is_hex && self.id(number).hex().starts_with(hex))
    }

    fn export(&self, names: &[String]) -> Result<Response<Body>, Refusal> {
        let mut chosen = Vec::new();
        for name in names {
            let name = familiar(name);
            let last = name.rsplit('/').next().unwrap();
            if !last.contains([':', '@']) {
                // A name without a tag means every tag.
                for (number, held) in self.images.iter().enumerate() {
                    let tags = held.tags.iter().filter(|tag| repository(tag) == name);
                    let tags: Vec<String> = tags.cloned().collect();
                    if !tags.is_empty() {
                        chosen.push((number, tags));
                    }
                }
            } else if let Some(number) = self.find(|n| self.images[n].tags.contains(&name)) {
                chosen.push((number, vec![name.clone()]));
            }
            if chosen.is_empty() {
                let number = self
                    .find(|number| self.digests(number).contains(&name))
                    .or_else(|| self.find_id(&name));
                chosen.push((number.ok_or_else(|| no_such_image(&name))?, Vec::new()));
            }
        }
        let body = BodyExt::boxed(StreamBody::new(self.export_stream(self.archive(&chosen))));
        let answer = Response::builder().header("Content-Type", "application/x-tar");
        Ok(answer.body(body).unwrap())
    }

    /// The bytes of an export as the engine sends them.
    fn export_stream(
        &self,
        archive: Vec<u8>,
    ) -> impl Stream<Item = io::Result<Frame<Bytes>>> + use<> {
        const CHUNK_SIZE: usize = 32 * 1024;

        let mut archive = Bytes::from(archive);
        let fault = self.fault.clone();
        let length = match fault {
            EngineFault::Cuts(length)
            | EngineFault::Stalls(length)
            | EngineFault::Stops(length, _) => length,
            _ => archive.len(),
        };
        archive.truncate(length);
        let chunks = std::iter::from_fn(move || {
            let length = archive.len().min(CHUNK_SIZE);
            (length > 0).then(|| Ok(archive.split_to(length)))
        });
        let stalled = self.stalled.clone();
        let end = async move {
            // hyper flushes when the stream has nothing ready.
            tokio::task::yield_now().await;
            match fault {
                EngineFault::Cuts(_) => Some(Err(io::Error::other("cut"))),
                // moby, streamformatter.FormatError
                EngineFault::Stops(_, message) => {
                    let line = json!({"errorDetail": {"message": message}, "error": message});
                    Some(Ok(format!("{line}\r\n").into()))
                }
                EngineFault::Stalls(_) => {
                    stalled.send(()).unwrap();
                    std::future::pending().await
                }
                _ => None,
            }
        };
        stream::iter(chunks)
            .chain(stream::once(end).filter_map(std::future::ready))
            .map(|piece| piece.map(Frame::data))
    }

    pub fn archive(&self, chosen: &[(usize, Vec<String>)]) -> Vec<u8> {
        let names: Vec<Vec<&str>> = chosen
            .iter()
            .map(|(_, names)| names.iter().map(String::as_str).collect())
            .collect();
        let images: Vec<(&TestImage, &[&str])> = chosen
            .iter()
            .zip(&names)
            .map(|((number, _), names)| (&self.images[*number].test_image, names.as_slice()))
            .collect();
        match self.store {
            Store::Classic => classic_archive(&images),
            Store::Docker25 => docker25_archive(&images),
            Store::Containerd => containerd_layout(&images).archive(),
        }
    }
}

/// The export of the containerd image store: the indexes of these images, under their names.
fn containerd_layout(images: &[(&TestImage, &[&str])]) -> Layout {
    let mut all = Layout::default();
    for (test_image, names) in images {
        let (layout, index, there) = docker29_layout(test_image, "app", "1");
        all.blobs.extend(layout.blobs);
        for name in *names {
            let (repository, tag) = name.rsplit_once(':').unwrap();
            all.list_for_docker(&index, repository, tag);
        }
        if names.is_empty() {
            all.list(&index, None);
        }
        all.docker_entry(&there, names);
    }
    all
}

fn check_version(version: &str) -> Result<(), Refusal> {
    let (major, minor) = version.split_once('.').ok_or_else(page_not_found)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| page_not_found());
    let requested = (number(major)?, number(minor)?);
    match (requested.cmp(&OLDEST), requested.cmp(&VERSION)) {
        (Ordering::Less, _) => Err((
            400,
            format!("client version {version} is too old. Minimum supported API version is 1.12"),
        )),
        (_, Ordering::Greater) => Err((
            400,
            format!("client version {version} is too new. Maximum supported API version is 1.51"),
        )),
        _ => Ok(()),
    }
}

/// A name without the parts that Docker leaves out.
fn familiar(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

fn with_tag(name: &str) -> String {
    if name.rsplit('/').next().unwrap().contains([':', '@']) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

fn repository(tag: &str) -> &str {
    tag.rsplit_once(':').unwrap().0
}

fn document(value: Value) -> Response<Body> {
    response(200, "application/json", value.to_string())
}

fn response(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("Content-Type", kind)
        .body(BodyExt::boxed(body))
        .unwrap()
}
