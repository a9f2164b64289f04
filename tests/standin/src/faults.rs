//! Faults: what goes wrong on purpose, at which requests, and how often.

use std::sync::Mutex;
use std::time::Duration;

use crate::log::{RequestKind, is_change};

/// One fault. Of several that match a request the first that is not used up applies; those before
/// it that still skip requests count it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of request that it applies to.
    pub on: RequestKind,
    /// Applies on this host only.
    pub host: Option<String>,
    /// Applies only if the method and the path, as in `POST /v1/x`, contain this.
    pub path: Option<String>,
    /// Applies only to requests to Google's APIs that change something.
    pub changing: bool,
    /// The number of matching requests to skip.
    pub skip: u32,
    /// How often it applies.
    pub times: Times,
    /// What it does.
    pub action: FaultAction,
}

impl Fault {
    /// Applies once, to the next request of this kind.
    pub fn once(on: RequestKind, action: FaultAction) -> Self {
        Self {
            on,
            host: None,
            path: None,
            changing: false,
            skip: 0,
            times: Times::N(1),
            action,
        }
    }

    /// Applies to every request of this kind.
    pub fn always(on: RequestKind, action: FaultAction) -> Self {
        Self {
            times: Times::Forever,
            ..Self::once(on, action)
        }
    }

    /// Applies this number of times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Times::N(times);
        self
    }

    /// Skips this number of requests.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Applies only if the method and the path, as in `POST /v1/x`, contain this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Applies only to requests to Google's APIs that change something.
    #[must_use]
    pub fn changing(mut self) -> Self {
        self.changing = true;
        self
    }

    /// Applies on this host only.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }
}

/// How often a fault applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// This number of times.
    N(u32),
    /// Without end.
    Forever,
}

/// What a fault does.
#[derive(Clone, Debug)]
pub enum FaultAction {
    /// Answers with this status instead of serving the request. Without `body`, the registry's
    /// envelope with the code that fits the status.
    Status {
        /// The status.
        code: u16,
        /// Seconds in `Retry-After`.
        retry_after: Option<u64>,
        /// The body, as `text/plain` unless it begins with `{`.
        body: Option<String>,
        /// More headers.
        headers: Vec<(String, String)>,
    },
    /// Redirects once to the same path and query, at this `scheme://host` or the same one, and
    /// serves the redirected request.
    Redirect {
        /// The status.
        code: u16,
        /// Another scheme and host.
        to: Option<String>,
    },
    /// Resets the connection when the head of the request has been read.
    ResetBeforeAnswer,
    /// Serves the request, then resets the connection instead of answering.
    ResetAfterWork,
    /// Resets the connection after this many bytes of the request's body.
    CutRequestAt(u64),
    /// Closes the connection after this many bytes of the answer's body.
    CutResponseAt(u64),
    /// Never answers, and does not read the body.
    Stall,
    /// Serves the request, then never answers.
    StallAfterWork,
    /// Stops reading after this many bytes of the request's body.
    StallRequestAt(u64),
    /// Stops sending after this many bytes of the answer's body.
    StallResponseAt(u64),
    /// Changes the byte at this offset: of the request's body if it has one, otherwise of
    /// the answer's.
    CorruptByte(u64),
    /// Serves the request, then sets or removes a header of the answer.
    Header {
        /// The header's name.
        name: String,
        /// Its value; `None` removes it.
        value: Option<String>,
    },
    /// Refuses with this status, and quotes the whole request: the `Authorization` and the body,
    /// verbatim and in base64.
    Quote(u16),
    /// Expires every token issued so far, this request's included.
    ExpireTokens,
    /// For a manifest PUT: removes the blobs and children that it names from the repository, which
    /// is how Artifact Registry's garbage collection looks from outside.
    ForgetBlobs,
    /// Waits before serving the request.
    Delay(Duration),
}

impl FaultAction {
    /// A bare status with the registry's usual envelope.
    pub fn status(code: u16) -> Self {
        FaultAction::Status {
            code,
            retry_after: None,
            body: None,
            headers: Vec::new(),
        }
    }
}

/// The faults of a stand-in.
#[derive(Default)]
pub(crate) struct Faults {
    waiting: Mutex<Vec<Fault>>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.waiting.lock().unwrap().push(fault);
    }

    pub(crate) fn clear(&self) {
        self.waiting.lock().unwrap().clear();
    }

    /// The fault that applies to this request, if any.
    pub(crate) fn take(
        &self,
        kind: RequestKind,
        host: &str,
        method_and_path: &str,
    ) -> Option<FaultAction> {
        let mut waiting = self.waiting.lock().unwrap();
        for fault in waiting.iter_mut() {
            let elsewhere = fault.host.as_deref().is_some_and(|wanted| wanted != host)
                || fault
                    .path
                    .as_deref()
                    .is_some_and(|part| !method_and_path.contains(part))
                || (fault.changing && !is_change(method_and_path));
            if fault.on != kind || elsewhere {
                continue;
            }
            if fault.times == Times::N(0) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Times::N(left) = &mut fault.times {
                *left -= 1;
            }
            return Some(fault.action.clone());
        }
        None
    }
}

/// The registry's error code that goes with a status (OCI distribution-spec).
pub(crate) fn usual_error(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("UNAUTHORIZED", "authentication failed"),
        403 => ("DENIED", "Permission denied"),
        404 => ("NOT_FOUND", "not found"),
        // Google's text, as users pasted it.
        429 => (
            "TOOMANYREQUESTS",
            "Quota exceeded for quota metric 'Requests per project per region' and limit \
             'Requests per project per region per minute per region' of service \
             'artifactregistry.googleapis.com' for consumer 'project_number:123456789012'.",
        ),
        503 => ("UNAVAILABLE", "The service is currently unavailable."),
        _ => ("UNKNOWN", "Internal error encountered."),
    }
}
