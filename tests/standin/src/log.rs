//! The request log: what arrived, and what became of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

/// Headers that tests ask about. `Authorization` is not among them: see
/// [`Request::authorization`].
const KEPT: &[&str] = &[
    "accept",
    "content-length",
    "content-range",
    "content-type",
    "host",
    "range",
    "transfer-encoding",
    "user-agent",
    "x-goog-user-project",
];

/// One request as it was received.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// The host that was asked: a name of Google's, or our own address with its port.
    pub host: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without `?`, empty if there was none.
    pub query: String,
    /// What it is in terms of the protocol.
    pub kind: RequestKind,
    /// The status of the answer; 0 while there is none, or when a fault kept it back.
    pub status: u16,
    /// Bytes of the request's body that were read so far.
    pub received_bytes: u64,
    /// Bytes of the answer's body that were written so far.
    pub sent_bytes: u64,
    /// The scheme, and for Basic the user: `Bearer`, `Basic oauth2accesstoken`.
    pub authorization: Option<String>,
    /// It came through a CONNECT tunnel (for `Connect` itself: always true).
    pub via_proxy: bool,
    /// Counts connections, so that their reuse can be seen.
    pub connection: u64,
    /// It came over HTTP/2.
    pub http2: bool,
    /// A fault was applied to it.
    pub faulted: bool,
    /// The headers of interest, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The text of the body, of a request to one of the APIs.
    pub body: Option<String>,
}

impl Request {
    /// Whether it is a request to one of Google's APIs that changes something.
    pub fn changes(&self) -> bool {
        self.kind == RequestKind::Api && is_change(&format!("{} {}", self.method, self.path))
    }
}

/// Whether a method and path of an API are for a change; some are only asked with POST.
pub(crate) fn is_change(asked: &str) -> bool {
    const LOOKS: [&str; 3] = [
        ":testIamPermissions",
        ":getIamPolicy",
        ":generateAccessToken",
    ];
    !asked.starts_with("GET ") && !LOOKS.iter().any(|look| asked.ends_with(look))
}

/// What a request is in terms of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// `GET /v2/`.
    Ping,
    /// A registry's token endpoint.
    Token,
    /// Google's OAuth token endpoint.
    OAuthToken,
    /// Google's Security Token Service.
    Sts,
    /// A URL that hands a CI's token to its job.
    Oidc,
    /// The metadata server.
    Metadata,
    /// One of the APIs of projects, accounts and repositories.
    Api,
    /// Google's endpoint that tells about a token.
    TokenInfo,
    /// Anything that an API server of Kubernetes is asked.
    Kubernetes,
    /// HEAD of a blob.
    BlobHead,
    /// GET of a blob.
    BlobGet,
    /// GET of the URL that a blob GET redirected to.
    BlobDownload,
    /// POST that opens an upload.
    UploadStart,
    /// POST with `mount=`.
    Mount,
    /// PATCH of an upload.
    UploadPatch,
    /// PUT that ends an upload.
    UploadPut,
    /// GET of an upload.
    UploadStatus,
    /// DELETE of an upload.
    UploadCancel,
    /// HEAD of a manifest.
    ManifestHead,
    /// GET of a manifest.
    ManifestGet,
    /// PUT of a manifest.
    ManifestPut,
    /// DELETE of a manifest or tag.
    ManifestDelete,
    /// `tags/list`, Google's listing included.
    TagsList,
    /// `_catalog`.
    Catalog,
    /// The referrers API.
    Referrers,
    /// CONNECT to the proxy.
    Connect,
    /// Anything else.
    Other,
}

/// Facts about a request that do not change once it was received.
pub(crate) struct Arrival {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) kind: RequestKind,
    pub(crate) authorization: Option<String>,
    pub(crate) via_proxy: bool,
    pub(crate) connection: u64,
    pub(crate) http2: bool,
    pub(crate) headers: BTreeMap<String, String>,
}

/// A request in the log; its counters move while it is served.
pub(crate) struct Entry {
    arrival: Arrival,
    status: AtomicU16,
    received: AtomicU64,
    sent: AtomicU64,
    faulted: AtomicBool,
    body: OnceLock<String>,
    bell: Arc<Bell>,
}

/// Rings whenever something happens to the log.
#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() += 1;
        self.heard.notify_all();
    }
}

impl Entry {
    pub(crate) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Keeps the text of the body.
    pub(crate) fn said(&self, text: &str) {
        // One request, one body: there is nothing to set twice.
        let _ = self.body.set(text.to_owned());
    }

    pub(crate) fn faulted(&self) {
        self.faulted.store(true, Ordering::SeqCst);
    }

    fn request(&self) -> Request {
        let arrival = &self.arrival;
        Request {
            method: arrival.method.clone(),
            host: arrival.host.clone(),
            path: arrival.path.clone(),
            query: arrival.query.clone(),
            kind: arrival.kind,
            status: self.status.load(Ordering::SeqCst),
            received_bytes: self.received.load(Ordering::SeqCst),
            sent_bytes: self.sent.load(Ordering::SeqCst),
            authorization: arrival.authorization.clone(),
            via_proxy: arrival.via_proxy,
            connection: arrival.connection,
            http2: arrival.http2,
            faulted: self.faulted.load(Ordering::SeqCst),
            headers: arrival.headers.clone(),
            body: self.body.get().cloned(),
        }
    }
}

/// All requests since the start or the last `clear`, in order of arrival.
#[derive(Default)]
pub(crate) struct Log {
    entries: Mutex<Vec<Arc<Entry>>>,
    bell: Arc<Bell>,
}

impl Log {
    /// Writes a request down before anything is done about it.
    pub(crate) fn open(&self, arrival: Arrival) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            arrival,
            status: AtomicU16::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            faulted: AtomicBool::new(false),
            body: OnceLock::new(),
            bell: Arc::clone(&self.bell),
        });
        self.entries.lock().unwrap().push(Arc::clone(&entry));
        self.bell.ring();
        entry
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        let entries = self.entries.lock().unwrap();
        entries.iter().map(|entry| entry.request()).collect()
    }

    /// Waits until a condition is met, for a minute at most: what has not come by then does not
    /// come, and the test that waits for it shall say so.
    pub(crate) fn wait_for(&self, condition: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        loop {
            let before = *self.bell.rung.lock().unwrap();
            let requests = self.requests();
            if condition(&requests) {
                return requests;
            }
            let rung = self.bell.rung.lock().unwrap();
            let (rung, waited) = self
                .bell
                .heard
                .wait_timeout_while(rung, Duration::from_secs(60), |rung| *rung == before)
                .unwrap();
            drop(rung);
            assert!(
                !waited.timed_out(),
                "what is waited for has not come: {requests:#?}"
            );
        }
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().unwrap().clear();
    }
}

/// The headers worth keeping.
pub(crate) fn kept(headers: &http::HeaderMap) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for name in KEPT {
        let values: Vec<_> = headers.get_all(*name).iter().map(text).collect();
        if !values.is_empty() {
            kept.insert((*name).to_owned(), values.join(", "));
        }
    }
    kept
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
