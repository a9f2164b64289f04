//! Faults: what goes wrong on purpose, on which requests, and how often.

use std::sync::Mutex;
use std::time::Duration;

use crate::log::{RequestKind, is_change};

/// One thing that goes wrong. Of several that fit a request the first that is not used up
/// acts; those before it that still let requests pass count it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of request it waits for.
    pub on: RequestKind,
    /// Only on this host.
    pub host: Option<String>,
    /// Only where the method and the path, as in `POST /v1/x`, have this in them.
    pub path: Option<String>,
    /// Only for requests to Google's APIs that change something.
    pub changing: bool,
    /// So many requests that fit pass unharmed first.
    pub skip: u32,
    /// How often it acts.
    pub times: Times,
    /// What it does.
    pub act: FaultAction,
}

impl Fault {
    /// Acts once, on the next request of this kind.
    pub fn once(on: RequestKind, act: FaultAction) -> Self {
        Self {
            on,
            host: None,
            path: None,
            changing: false,
            skip: 0,
            times: Times::N(1),
            act,
        }
    }

    /// Acts on every request of this kind.
    pub fn always(on: RequestKind, act: FaultAction) -> Self {
        Self {
            times: Times::Forever,
            ..Self::once(on, act)
        }
    }

    /// Acts so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Times::N(times);
        self
    }

    /// Lets so many requests pass first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Only where the method and the path, as in `POST /v1/x`, have this in them.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Only for requests to Google's APIs that change something.
    #[must_use]
    pub fn changing(mut self) -> Self {
        self.changing = true;
        self
    }

    /// Only on this host.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }
}

/// How often a fault acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// That many times.
    N(u32),
    /// Without end.
    Forever,
}

/// What a fault does.
#[derive(Clone, Debug)]
pub enum FaultAction {
    /// Answers with this status instead of doing anything. Without `body`, the registry's
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
    /// Redirects once to the same path and query, at this `scheme://host` or else where it is, and
    /// lets the request pass that comes from there.
    Redirect {
        /// The status.
        code: u16,
        /// Another scheme and host.
        to: Option<String>,
    },
    /// Resets the connection as soon as the head of the request was read.
    ResetBeforeAnswer,
    /// Does what was asked, then resets the connection instead of answering.
    ResetAfterWork,
    /// Resets the connection when so many bytes of the request's body were read.
    CutRequestAt(u64),
    /// Closes the connection when so many bytes of the answer's body were sent.
    CutResponseAt(u64),
    /// Never answers, and does not read the body.
    Stall,
    /// Stops reading after so many bytes of the request's body.
    StallRequestAt(u64),
    /// Stops sending after so many bytes of the answer's body.
    StallResponseAt(u64),
    /// Changes the byte at this offset: of the request's body if it has one, otherwise of
    /// the answer's.
    CorruptByte(u64),
    /// Does what was asked, then sets a header of the answer, or takes it away.
    Header {
        /// The header's name.
        name: String,
        /// Its value; `None` takes it away.
        value: Option<String>,
    },
    /// Refuses with this status, and quotes all that it was sent: the `Authorization` and the body,
    /// as they came and in base64.
    Quote(u16),
    /// Every token given out so far stops working, this request's included.
    ExpireTokens,
    /// For a manifest PUT: the repository forgets the blobs and children that it names, which
    /// is how Artifact Registry's garbage collection looks from outside.
    ForgetBlobs,
    /// Waits before doing what was asked.
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

/// The faults that wait for their request.
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

    /// What is to go wrong with this request, if anything.
    pub(crate) fn strike(&self, kind: RequestKind, host: &str, asked: &str) -> Option<FaultAction> {
        let mut waiting = self.waiting.lock().unwrap();
        for fault in waiting.iter_mut() {
            let elsewhere = fault.host.as_deref().is_some_and(|wanted| wanted != host)
                || fault
                    .path
                    .as_deref()
                    .is_some_and(|part| !asked.contains(part))
                || (fault.changing && !is_change(asked));
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
            return Some(fault.act.clone());
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
        // Google's sentence, as people paste it.
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
