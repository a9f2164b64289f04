//! A double of a Docker engine, for the images that it hands out.
//!
//! It answers as moby does (daemon/server/router/image), and is stricter: what carries no version is
//! refused, as moby has announced, and so is whatever it does not know.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use url::Url;

use gcr_push::digest::Digest;

use super::images::{Layout, Picture, classic_archive, digest, docker25_archive, docker29_layout};

/// How the engine keeps images, and so which archives it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Before Docker 25.
    Classic,
    /// Docker 25 to 28.
    Docker25,
    /// The containerd image store, the default of Docker 29.
    Containerd,
}

/// What the engine does wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// Answers what ends in this with a status and a body.
    Refuses(&'static str, u16, &'static str),
    /// Tells no version of its API.
    TellsNoVersion,
    /// Never answers.
    IsSilent,
    /// Closes the connection after so many bytes of an export.
    Cuts(usize),
    /// Sends nothing more after so many bytes of an export.
    Stalls(usize),
    /// Puts an error behind so many bytes of an export, and ends it as if that were all.
    Stops(usize, &'static str),
}

struct Held {
    picture: Picture,
    tags: Vec<String>,
}

struct State {
    store: Store,
    images: Vec<Held>,
    fault: Fault,
    requests: Mutex<Vec<String>>,
    stalled: Sender<()>,
}

/// A running engine; it is gone when it is dropped.
pub struct Engine {
    state: Arc<State>,
    folder: TempDir,
    port: u16,
    stalled: Receiver<()>,
    _runtime: Runtime,
}

type Body = BoxBody<Bytes, io::Error>;

/// A status, and what the engine says about it.
type Refusal = (u16, String);

const VERSION: (u32, u32) = (1, 51);
/// Before Docker 25, and what skopeo's client still speaks.
const OLDEST: (u32, u32) = (1, 12);

impl Engine {
    /// An engine with these images and their tags.
    pub fn start(store: Store, images: &[(&Picture, &[&str])]) -> Self {
        Self::with(store, images, Fault::None)
    }

    /// An engine with one classic image, `app:1`, and a fault.
    pub fn faulty(fault: Fault) -> Self {
        let picture = Picture::new("app", 5);
        Self::with(Store::Classic, &[(&picture, &["app:1"])], fault)
    }

    /// The same with a fault.
    pub fn with(store: Store, images: &[(&Picture, &[&str])], fault: Fault) -> Self {
        let (stalled, is_stalled) = channel();
        let held = images.iter().map(|(picture, tags)| Held {
            picture: (*picture).clone(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        });
        let state = Arc::new(State {
            store,
            images: held.collect(),
            fault,
            requests: Mutex::default(),
            stalled,
        });
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (unix, tcp) = runtime.block_on(async {
            let unix = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
            (unix, TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let port = tcp.local_addr().unwrap().port();
        let known = Arc::clone(&state);
        runtime.spawn(async move {
            loop {
                serve(unix.accept().await.unwrap().0, Arc::clone(&known));
            }
        });
        let known = Arc::clone(&state);
        runtime.spawn(async move {
            loop {
                serve(tcp.accept().await.unwrap().0, Arc::clone(&known));
            }
        });
        Self {
            state,
            folder,
            port,
            stalled: is_stalled,
            _runtime: runtime,
        }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// `DOCKER_HOST` for its socket.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// `DOCKER_HOST` for its port.
    pub fn tcp_host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// What it was asked, without the version of the API.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits until an export stands still.
    pub fn wait_until_stalled(&self) {
        self.stalled.recv().unwrap();
    }

    /// What it exports of the image that was given as the `number`th, under these names.
    pub fn archive(&self, number: usize, names: &[&str]) -> Vec<u8> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.state.archive(&[(number, names)])
    }

    /// The ID of the image that was given as the `number`th.
    pub fn id(&self, number: usize) -> Digest {
        self.state.id(number)
    }

    /// The text of an error without the address of this engine.
    pub fn scrub(&self, text: &str) -> String {
        let folder: &Path = self.folder.path();
        text.replace(&folder.display().to_string(), "[ENGINE]")
    }
}

fn serve(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(state.answer(request).await) }
        });
        // A connection that a fault cuts ends in an error.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(connection), service)
            .await;
    });
}

fn page_not_found() -> Refusal {
    (404, "page not found".to_owned())
}

fn no_such_image(name: &str) -> Refusal {
    (404, format!("No such image: {}", with_tag(name)))
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if matches!(self.fault, Fault::IsSilent) {
            return std::future::pending().await;
        }
        let mut answer = self.routed(&request).unwrap_or_else(|(status, message)| {
            let body = json!({"message": message}).to_string() + "\n";
            whole(status, "application/json", body)
        });
        if !matches!(self.fault, Fault::TellsNoVersion) {
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
        let asked = format!("{} {rest}", request.method());
        self.requests.lock().unwrap().push(asked);
        if let Fault::Refuses(end, status, body) = self.fault
            && path.ends_with(end)
        {
            return Ok(whole(status, "text/plain", body));
        }
        if request.method() != Method::GET
            && !(path == "/_ping" && request.method() == Method::HEAD)
        {
            return Err(page_not_found());
        }
        if path == "/_ping" {
            return Ok(whole(200, "text/plain; charset=utf-8", "OK"));
        }
        check_version(version.ok_or_else(page_not_found)?)?;
        let query = request.uri().query().unwrap_or_default();
        let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["images", "json"] => Ok(document(self.list())),
            // What Docker's client and skopeo ask for.
            ["images", "get"] => {
                let url = Url::parse(&format!("http://x/?{query}")).unwrap();
                let names: Vec<String> = url.query_pairs().map(|(_, name)| name.into()).collect();
                self.export(&names)
            }
            ["images", name @ .., "json"] => self.inspect(&name.join("/")),
            ["images", name @ .., "get"] if query.is_empty() => self.export(&[name.join("/")]),
            _ => Err(page_not_found()),
        }
    }

    fn list(&self) -> Value {
        let images = (0..self.images.len()).map(|number| self.described(number));
        images.collect()
    }

    fn described(&self, number: usize) -> Value {
        let held = &self.images[number];
        json!({
            "Id": self.id(number), "RepoTags": held.tags, "RepoDigests": self.digests(number),
            "Size": held.picture.layers.iter().map(Vec::len).sum::<usize>(),
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

    fn id(&self, number: usize) -> Digest {
        let picture = &self.images[number].picture;
        match self.store {
            Store::Classic | Store::Docker25 => picture.id(),
            Store::Containerd => digest(&docker29_layout(picture, "app", "1").1),
        }
    }

    fn inspect(&self, name: &str) -> Result<Response<Body>, Refusal> {
        let name = familiar(name);
        let wanted = with_tag(&name);
        let number = self
            .find(|number| self.images[number].tags.contains(&wanted))
            .or_else(|| self.find(|number| self.digests(number).contains(&name)))
            .or_else(|| self.find_id(&name));
        let number = number.ok_or_else(|| no_such_image(&name))?;
        Ok(document(self.described(number)))
    }

    fn find(&self, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.images.len()).find(|&number| is_it(number))
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
                // Of a name without a tag, every tag.
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
        let body = BodyExt::boxed(StreamBody::new(self.sent(self.archive(&chosen))));
        let answer = Response::builder().header("Content-Type", "application/x-tar");
        Ok(answer.body(body).unwrap())
    }

    /// The bytes of an export as they leave the engine.
    fn sent(&self, archive: Vec<u8>) -> impl Stream<Item = io::Result<Frame<Bytes>>> + use<> {
        const PIECE: usize = 32 * 1024;

        let mut archive = Bytes::from(archive);
        let fault = self.fault.clone();
        let length = match fault {
            Fault::Cuts(length) | Fault::Stalls(length) | Fault::Stops(length, _) => length,
            _ => archive.len(),
        };
        archive.truncate(length);
        let pieces = std::iter::from_fn(move || {
            let length = archive.len().min(PIECE);
            (length > 0).then(|| Ok(archive.split_to(length)))
        });
        let stalled = self.stalled.clone();
        let end = async move {
            // hyper sends what it has gathered when there is nothing more to be had just now.
            tokio::task::yield_now().await;
            match fault {
                Fault::Cuts(_) => Some(Err(io::Error::other("cut"))),
                // moby, streamformatter.FormatError
                Fault::Stops(_, message) => {
                    let line = json!({"errorDetail": {"message": message}, "error": message});
                    Some(Ok(format!("{line}\r\n").into()))
                }
                Fault::Stalls(_) => {
                    stalled.send(()).unwrap();
                    std::future::pending().await
                }
                _ => None,
            }
        };
        stream::iter(pieces)
            .chain(stream::once(end).filter_map(std::future::ready))
            .map(|piece| piece.map(Frame::data))
    }

    fn archive(&self, chosen: &[(usize, Vec<String>)]) -> Vec<u8> {
        let names: Vec<Vec<&str>> = chosen
            .iter()
            .map(|(_, names)| names.iter().map(String::as_str).collect())
            .collect();
        let images: Vec<(&Picture, &[&str])> = chosen
            .iter()
            .zip(&names)
            .map(|((number, _), names)| (&self.images[*number].picture, names.as_slice()))
            .collect();
        match self.store {
            Store::Classic => classic_archive(&images),
            Store::Docker25 => docker25_archive(&images),
            Store::Containerd => containerd_layout(&images).archive(),
        }
    }
}

/// What the containerd image store exports of these images: their indexes, under their names.
fn containerd_layout(images: &[(&Picture, &[&str])]) -> Layout {
    let mut all = Layout::default();
    for (picture, names) in images {
        let (layout, index, there) = docker29_layout(picture, "app", "1");
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
    let asked = (number(major)?, number(minor)?);
    match (asked.cmp(&OLDEST), asked.cmp(&VERSION)) {
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

/// A name without what Docker leaves out.
fn familiar(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

fn with_tag(name: &str) -> String {
    match name.rsplit('/').next().unwrap().contains([':', '@']) {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    }
}

fn repository(tag: &str) -> &str {
    tag.rsplit_once(':').unwrap().0
}

fn document(value: Value) -> Response<Body> {
    whole(200, "application/json", value.to_string())
}

fn whole(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("Content-Type", kind)
        .body(BodyExt::boxed(body))
        .unwrap()
}
