//! A fake Docker engine, as far as it exports images.
//!
//! It answers as moby does (daemon/server/router/image), and is stricter: it refuses requests
//! without a version, as moby has announced, and everything it does not know.

mod moby;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;

use gcr_push::oci::digest::Digest;

use super::images::TestImage;
use moby::{State, StoredImage};

/// How the engine stores images, which decides the archives that it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Before Docker 25.
    Classic,
    /// Docker 25 to 28.
    Docker25,
    /// The containerd image store, the default of Docker 29.
    Containerd,
}

/// A fault of the engine.
#[derive(Clone, Debug)]
pub enum EngineFault {
    None,
    /// Answers paths that end in this with a status and a body.
    Refuses(&'static str, u16, &'static str),
    /// Reports no version of its API.
    TellsNoVersion,
    /// Never answers.
    IsSilent,
    /// Closes the connection after this many bytes of an export.
    Cuts(usize),
    /// Stalls after this many bytes of an export.
    Stalls(usize),
    /// Puts an error after this many bytes of an export, and ends it as if it were complete.
    Stops(usize, &'static str),
}

/// A running engine; dropping it stops it.
pub struct FakeEngine {
    state: Arc<State>,
    folder: TempDir,
    port: u16,
    stalled: Receiver<()>,
    _runtime: Runtime,
}

impl FakeEngine {
    /// An engine with these images and their tags.
    pub fn start(store: Store, images: &[(&TestImage, &[&str])]) -> Self {
        Self::with(store, images, EngineFault::None)
    }

    /// An engine with one classic image, `app:1`, and a fault.
    pub fn faulty(fault: EngineFault) -> Self {
        let test_image = TestImage::new("app", 5);
        Self::with(Store::Classic, &[(&test_image, &["app:1"])], fault)
    }

    /// The same with a fault.
    pub fn with(store: Store, images: &[(&TestImage, &[&str])], fault: EngineFault) -> Self {
        let (stalled, is_stalled) = channel();
        let held = images.iter().map(|(test_image, tags)| StoredImage {
            test_image: (*test_image).clone(),
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

    /// The requests that it received, without the version of the API.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits until an export stalls.
    pub fn wait_until_stalled(&self) {
        self.stalled.recv().unwrap();
    }

    /// The export of the nth image, under these names.
    pub fn archive(&self, number: usize, names: &[&str]) -> Vec<u8> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.state.archive(&[(number, names)])
    }

    /// The ID of the nth image.
    pub fn id(&self, number: usize) -> Digest {
        self.state.id(number)
    }

    /// An error without the address of this engine.
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
        // A fault that cuts the connection makes this an error.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(connection), service)
            .await;
    });
}
