//! How long a failing step is retried, and for how long a host may be down.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use backon::ExponentialBackoff;
use tokio::time::Instant;

use super::{RetryKind, Retryable};

/// The maximum wait between two tries. Google's quotas count by the minute, so without a readable
/// `Retry-After` the waits must grow past that.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(75);

/// The minimum number of tries for a temporary failure, however long each takes. A blob of several
/// gigabytes may need longer than the whole timeout for one try.
const MIN_TRIES: u32 = 3;

/// How many more times a step is tried after a corrupt response or a refused token.
const MAX_LIMITED_RETRIES: u32 = 2;

/// How long a host that has never answered is retried. A registry may take that long to start, and
/// no wait corrects a misspelled name or a missing proxy setting.
pub(super) const FIRST_CONTACT: Duration = Duration::from_secs(30);

/// Since when a host is down. All steps of a host share it, so that not each of a thousand images
/// waits for the full timeout.
#[derive(Clone, Debug, Default)]
pub(super) struct HostDowntime(Arc<Mutex<DowntimeState>>);

#[derive(Debug, Default)]
struct DowntimeState {
    since: Option<Instant>,
    /// The last reason for a retry that was logged.
    logged: Option<String>,
}

impl HostDowntime {
    /// Returns how long the host has been down. The downtime starts now if it had not started.
    fn elapsed(&self) -> Duration {
        let mut state = self.0.lock();
        state.since.get_or_insert_with(Instant::now).elapsed()
    }

    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.since = None;
    }

    /// Records that a step succeeded, so that the next failure is logged again.
    pub(super) fn reset(&self) {
        *self.0.lock() = DowntimeState::default();
    }

    /// True if this message has not been logged since a step last succeeded. If a host is down,
    /// each try of each blob fails with the same message.
    pub(super) fn is_new_message(&self, text: &str, retry: RetryKind) -> bool {
        let mut state = self.0.lock();
        let is_down = matches!(retry, RetryKind::HostDown | RetryKind::NeverReached);
        let text = if is_down { "down" } else { text };
        let is_new_message = state.logged.as_deref() != Some(text);
        state.logged = Some(text.to_owned());
        is_new_message
    }
}

/// The state of the retries of one step.
pub(crate) struct RetryState {
    timeout: Duration,
    is_reached: bool,
    downtime: HostDowntime,
    waits: ExponentialBackoff,
    tries: u32,
    /// How many tries failed in a way that a wait does not correct.
    limited_failures: u32,
    began: Instant,
    during: Duration,
    failed_first: Option<Instant>,
}

impl RetryState {
    /// Creates the state of a step that has not failed yet. `is_reached` is true if the host has
    /// answered before.
    pub(super) fn new(
        timeout: Duration,
        is_reached: bool,
        downtime: HostDowntime,
        waits: ExponentialBackoff,
    ) -> Self {
        Self {
            timeout,
            is_reached,
            downtime,
            waits,
            tries: 0,
            limited_failures: 0,
            began: Instant::now(),
            during: Duration::ZERO,
            failed_first: None,
        }
    }

    /// Adds the number of tries to the last error.
    pub(crate) fn give_up<E: Retryable>(&self, error: E) -> E {
        error.tried(self.tries, self.during)
    }

    /// Returns the wait before the next try after a failure. `None` if the step is not tried again.
    pub(crate) fn after(&mut self, retry: RetryKind) -> Option<Duration> {
        self.tries += 1;
        self.during = self.failed_first.get_or_insert_with(Instant::now).elapsed();
        self.limited_failures += u32::from(matches!(
            retry,
            RetryKind::Reauthenticate | RetryKind::Limited
        ));
        self.is_reached |= !matches!(retry, RetryKind::HostDown | RetryKind::NeverReached);
        let before = match retry {
            RetryKind::HostDown => self.downtime.elapsed().saturating_sub(self.during),
            RetryKind::NeverReached => Duration::ZERO,
            _ => {
                self.downtime.end();
                Duration::ZERO
            }
        };
        let (tries, during) = (self.tries, self.during);
        let wait = self.waits.next().unwrap_or(MAX_WAIT);
        // One try may use all of that time to open a connection.
        let first_contact_wait = || {
            let limit = self.timeout.min(FIRST_CONTACT);
            let left = limit.saturating_sub(self.began.elapsed());
            (!left.is_zero()).then_some(wait.min(left))
        };
        let within = |limit: Duration, least: u32| {
            let left = limit.saturating_sub(during);
            match (left.is_zero(), tries < least) {
                (true, false) => None,
                (_, true) => Some(wait),
                // The last try is made when the time is up.
                (false, false) => Some(wait.min(left)),
            }
        };
        match retry {
            RetryKind::Reauthenticate => {
                (self.limited_failures <= MAX_LIMITED_RETRIES).then_some(Duration::ZERO)
            }
            RetryKind::Never => None,
            _ if self.timeout.is_zero() => None,
            RetryKind::Limited => (self.limited_failures <= MAX_LIMITED_RETRIES).then_some(wait),
            RetryKind::NeverReached => first_contact_wait(),
            RetryKind::HostDown if !self.is_reached => first_contact_wait(),
            // Other steps have already waited long enough for this host.
            RetryKind::HostDown if before >= self.timeout => None,
            RetryKind::HostDown => within(self.timeout.saturating_sub(before), MIN_TRIES),
            RetryKind::Transient(asked) | RetryKind::RateLimited(asked) => {
                let asked = asked.unwrap_or_default();
                if asked > self.timeout.saturating_sub(during) {
                    return None;
                }
                within(self.timeout, MIN_TRIES).map(|wait| wait.max(asked))
            }
        }
    }
}
