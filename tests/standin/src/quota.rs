//! A quota: so many requests to a host within a stretch of time, and 429 for more, as
//! cloud.google.com/artifact-registry/quotas counts them by the minute.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::answer::Refusal;
use crate::call::Call;
use crate::faults::usual_error;

/// What a host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// So many requests, those that are refused left out.
    pub requests: usize,
    /// Within any stretch of that length.
    pub window: Duration,
}

/// When each host was asked.
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
