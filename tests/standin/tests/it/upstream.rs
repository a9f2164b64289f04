//! A real registry behind the stand-in: Debian's docker-registry where it is installed, and a
//! second stand-in everywhere.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use standin::{Fault, FaultAction, RequestKind, Standin};

use crate::http_client::Client;
use crate::images::{Image, OCI_MANIFEST, location, push_blob, sha256};

#[test]
fn upstream_requests_pass_with_log_and_faults() {
    let behind = Standin::start();
    let url = format!("http://{}", behind.plain_address());
    let standin = Standin::builder()
        .upstream(&url)
        .upstream_name("mirror.example.com")
        .start();
    let client = Client::tls(&standin);
    let opened = client.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    let own = format!("https://{}/v2/", standin.tls_address());
    let upload_url = opened.header("location").unwrap();
    assert!(upload_url.starts_with(&own), "{upload_url}");
    let patched = client.send("PATCH", &location(&opened), &[], &vec![1; 2_000_000]);
    assert_eq!(patched.status, 202);
    let patch = standin.requests().pop().unwrap();
    assert_eq!(
        (patch.kind, patch.received_bytes),
        (RequestKind::UploadPatch, 2_000_000)
    );
    let image = Image::new("a");
    image.push(&client, "a", "v1");
    let stored = behind.manifest("plain", "a", "v1");
    assert_eq!(
        stored,
        Some((OCI_MANIFEST.to_owned(), image.manifest.clone()))
    );
    let named = Client::at(&standin, "mirror.example.com");
    let blob = named.get(&format!("/v2/a/blobs/{}", sha256(&image.layer)));
    assert_eq!((blob.status, blob.body), (200, image.layer.clone()));
    let head = named.head("/v2/a/manifests/v1");
    let length = image.manifest.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    standin.fault(Fault::once(
        RequestKind::ManifestGet,
        FaultAction::CutResponseAt(5),
    ));
    let cut = client.get("/v2/a/manifests/v1");
    assert_eq!((cut.body.len(), cut.complete), (5, false));
    standin.fault(Fault::once(
        RequestKind::ManifestGet,
        FaultAction::status(503),
    ));
    assert_eq!(client.get("/v2/a/manifests/v1").status, 503);
    assert_eq!(
        Client::at(&standin, "gcr.io").get("/v2/").status,
        401,
        "not behind it"
    );
}

#[test]
fn dead_upstream_registry_is_a_bad_gateway() {
    let standin = Standin::builder().upstream("http://127.0.0.1:1").start();
    assert_eq!(Client::tls(&standin).get("/v2/").status, 502);
}

/// A registry process that ends with the test.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(directory: &Path) -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let config = directory.join("config.yml");
        let root = directory.join("storage");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {address}\n",
            root.display()
        );
        fs::write(&config, text).unwrap();
        let process = Command::new(program)
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut registry = Self { process, address };
        // It does not announce that it is ready; a successful connection does.
        while TcpStream::connect(&registry.address).is_err() {
            assert!(
                registry.process.try_wait().unwrap().is_none(),
                "it ended early"
            );
            std::thread::yield_now();
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn debian_registry_takes_an_image_through_the_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(directory.path()) else {
        eprintln!("skipped: no /usr/bin/docker-registry");
        return;
    };
    let url = format!("http://{}", registry.address);
    let standin = Standin::builder().upstream(&url).start();
    let client = Client::tls(&standin);
    let image = Image::new("a");
    image.push(&client, "a", "v1");
    let accept = [("accept", OCI_MANIFEST)];
    let read = client.send("GET", "/v2/a/manifests/v1", &accept, b"");
    assert_eq!(read.body, image.manifest);
    let large = vec![5; 5_000_000];
    assert_eq!(push_blob(&client, "a", &large).status, 201);
    let read = client.get(&format!("/v2/a/blobs/{}", sha256(&large)));
    assert!(read.complete && read.body == large);
}
