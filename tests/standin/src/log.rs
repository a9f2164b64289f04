//! The request log: each request and its result.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

/// The logged headers. `Authorization` is not among them: see [`Request::authorization`].
const LOGGED_HEADERS: &[&str] = &[
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
    /// The requested host: a name of Google's, or the stand-in's own address with its port.
    pub host: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without `?`, empty if there was none.
    pub query: String,
    /// The kind of request.
    pub kind: RequestKind,
    /// The status of the answer; 0 before it, or if a fault withheld it.
    pub status: u16,
    /// Bytes of the request's body read so far.
    pub received_bytes: u64,
    /// Bytes of the answer's body written so far.
    pub sent_bytes: u64,
    /// The scheme, and for Basic the user: `Bearer`, `Basic oauth2accesstoken`.
    pub authorization: Option<String>,
    /// It came through a CONNECT tunnel (for `Connect` itself: always true).
    pub via_proxy: bool,
    /// The number of the connection, which shows reuse.
    pub connection: u64,
    /// It came over HTTP/2.
    pub http2: bool,
    /// A fault was applied to it.
    pub faulted: bool,
    /// The logged headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text, of a request to one of the APIs.
    pub body: Option<String>,
}

impl Request {
    /// True for a request to one of Google's APIs that changes something.
    pub fn changes(&self) -> bool {
        self.kind == RequestKind::Api && is_change(&format!("{} {}", self.method, self.path))
    }
}

/// True if a method and path of an API change something; some reads use POST.
pub(crate) fn is_change(method_and_path: &str) -> bool {
    const READ_VERBS: [&str; 3] = [
        ":testIamPermissions",
        ":getIamPolicy",
        ":generateAccessToken",
    ];
    !method_and_path.starts_with("GET ")
        && !READ_VERBS
            .iter()
            .any(|look| method_and_path.ends_with(look))
}

/// The kinds of request.
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
    /// A URL that issues a CI's token to its job.
    Oidc,
    /// The metadata server.
    Metadata,
    /// One of the APIs of projects, accounts and repositories.
    Api,
    /// Google's endpoint that describes a token.
    TokenInfo,
    /// Any request to a Kubernetes API server.
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

/// The facts about a request that are known when it arrives.
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

/// A request in the log; its counters change while it is served.
pub(crate) struct Entry {
    arrival: Arrival,
    status: AtomicU16,
    received: AtomicU64,
    sent: AtomicU64,
    faulted: AtomicBool,
    body: OnceLock<String>,
    changed: Arc<ChangeSignal>,
}

/// Notifies waiters of every change of the log.
#[derive(Default)]
struct ChangeSignal {
    changes_seen: Mutex<u64>,
    heard: Condvar,
}

impl ChangeSignal {
    fn notify(&self) {
        *self.changes_seen.lock().unwrap() += 1;
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
        self.changed.notify();
    }

    /// Keeps the text of the body.
    pub(crate) fn set_body(&self, text: &str) {
        // One request has one body, so this is set once.
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
    changed: Arc<ChangeSignal>,
}

impl Log {
    /// Logs a request before it is served.
    pub(crate) fn open(&self, arrival: Arrival) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            arrival,
            status: AtomicU16::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            faulted: AtomicBool::new(false),
            body: OnceLock::new(),
            changed: Arc::clone(&self.changed),
        });
        self.entries.lock().unwrap().push(Arc::clone(&entry));
        self.changed.notify();
        entry
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        let entries = self.entries.lock().unwrap();
        entries.iter().map(|entry| entry.request()).collect()
    }

    /// Waits until a condition is met, for a minute at most, after which the test reports the
    /// failure.
    pub(crate) fn wait_for(&self, condition: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        loop {
            let before = *self.changed.changes_seen.lock().unwrap();
            let requests = self.requests();
            if condition(&requests) {
                return requests;
            }
            let changes_seen = self.changed.changes_seen.lock().unwrap();
            let (changes_seen, waited) = self
                .changed
                .heard
                .wait_timeout_while(changes_seen, Duration::from_secs(60), |changes_seen| {
                    *changes_seen == before
                })
                .unwrap();
            drop(changes_seen);
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

/// The headers to log.
pub(crate) fn logged_headers(headers: &http::HeaderMap) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for name in LOGGED_HEADERS {
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
