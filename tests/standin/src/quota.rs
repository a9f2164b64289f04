//! A quota: so many requests to a host within a period, and 429 for more, as
//! cloud.google.com/artifact-registry/quotas counts them by the minute.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::answer::Refusal;
use crate::call::Call;
use crate::faults::usual_error;

/// The quota of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The number of requests, refused ones left out.
    pub requests: usize,
    /// The period.
    pub window: Duration,
}

/// The times of the requests to each host.
#[derive(Default)]
pub(crate) struct Counted(Mutex<HashMap<String, VecDeque<Instant>>>);

impl Counted {
    /// Counts a request, or refuses it.
    pub(crate) fn pass(&self, call: &Call) -> Result<(), Refusal> {
        let Some(Quota { requests, window }) = call.behaviour.quota else {
            return Ok(());
        };
        let mut counted = self.0.lock().unwrap();
        let times = counted.entry(call.site.host.clone()).or_default();
        let now = Instant::now();
        while times.front().is_some_and(|time| now - *time >= window) {
            times.pop_front();
        }
        if times.len() >= requests {
            let (code, message) = usual_error(429);
            return Err(Refusal::registry(429, code, message));
        }
        times.push_back(now);
        Ok(())
    }
}
