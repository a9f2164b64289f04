//! How long a step may go on failing, and how long nobody at all is waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::ExponentialBackoff;
use tokio::time::Instant;

use super::retry::{RetryKind, Retryable};

/// The longest wait between two tries. A quota of Google's counts by the minute, and where
/// `RetryKind-After` cannot be seen the wait has to grow past that by itself.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(75);

/// How many times a step that a wait may mend is tried at least, however long each try takes: a
/// blob of some gigabytes may need longer than the whole time-out once.
const LEAST_TRIES: u32 = 3;

/// How many times more a step is tried whose answer was garbled, or whose token was refused.
const FEW: u32 = 2;

/// How long a host that has not answered yet is waited for: it takes a registry that long to start,
/// and no wait mends a name that is spelt wrongly, or a proxy that is not named.
pub(super) const FIRST_CONTACT: Duration = Duration::from_secs(30);

/// Since when nobody is there, as all steps together know it: the time that is allowed is that of a
/// host, so that of a thousand images not each waits for it anew.
#[derive(Clone, Debug, Default)]
pub(super) struct HostDowntime(Arc<Mutex<Lasting>>);

#[derive(Debug, Default)]
struct Lasting {
    since: Option<Instant>,
    /// What the log said last of why a step is tried again.
    logged: Option<String>,
}

impl HostDowntime {
    /// How long it has lasted; it begins now if it had not.
    fn lasts(&self) -> Duration {
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lasting.since.get_or_insert_with(Instant::now).elapsed()
    }

    pub(super) fn ends(&self) {
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lasting.since = None;
    }

    /// Notes that a step succeeded, so that the next failure is told anew.
    pub(super) fn is_over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Lasting::default();
    }

    /// True where the log has not said this yet since a step last succeeded: of one host that is
    /// down each blob has the same to tell, and each of its tries.
    pub(super) fn is_news(&self, text: &str, retry: RetryKind) -> bool {
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_down = matches!(retry, RetryKind::HostDown | RetryKind::NeverReached);
        let text = if is_down { "down" } else { text };
        let is_news = lasting.logged.as_deref() != Some(text);
        lasting.logged = Some(text.to_owned());
        is_news
    }
}

/// How often a step has failed, for how long, and how long it may go on.
pub(crate) struct RetryState {
    timeout: Duration,
    is_reached: bool,
    silence: HostDowntime,
    waits: ExponentialBackoff,
    tries: u32,
    /// How many of the tries failed in a way that no wait mends.
    unlucky: u32,
    began: Instant,
    during: Duration,
    failed_first: Option<Instant>,
}

impl RetryState {
    /// With a step that has not failed yet. `is_reached` says that the host has answered before.
    pub(super) fn new(
        timeout: Duration,
        is_reached: bool,
        silence: HostDowntime,
        waits: ExponentialBackoff,
    ) -> Self {
        Self {
            timeout,
            is_reached,
            silence,
            waits,
            tries: 0,
            unlucky: 0,
            began: Instant::now(),
            during: Duration::ZERO,
            failed_first: None,
        }
    }

    /// The last error, knowing how often it was tried to avoid it.
    pub(crate) fn give_up<E: Retryable>(&self, error: E) -> E {
        error.tried(self.tries, self.during)
    }

    /// How long to wait after a failure before the next try; none when there is to be no other.
    pub(crate) fn after(&mut self, retry: RetryKind) -> Option<Duration> {
        self.tries += 1;
        self.during = self.failed_first.get_or_insert_with(Instant::now).elapsed();
        self.unlucky += u32::from(matches!(
            retry,
            RetryKind::Reauthenticate | RetryKind::Limited
        ));
        self.is_reached |= !matches!(retry, RetryKind::HostDown | RetryKind::NeverReached);
        let before = match retry {
            RetryKind::HostDown => self.silence.lasts().saturating_sub(self.during),
            RetryKind::NeverReached => Duration::ZERO,
            _ => {
                self.silence.ends();
                Duration::ZERO
            }
        };
        let (tries, during) = (self.tries, self.during);
        let wait = self.waits.next().unwrap_or(LONGEST_WAIT);
        // A connection that is not made may take all of that time for one try.
        let to_meet = || {
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
            RetryKind::Reauthenticate => (self.unlucky <= FEW).then_some(Duration::ZERO),
            RetryKind::Never => None,
            _ if self.timeout.is_zero() => None,
            RetryKind::Limited => (self.unlucky <= FEW).then_some(wait),
            RetryKind::NeverReached => to_meet(),
            RetryKind::HostDown if !self.is_reached => to_meet(),
            // Others have waited long enough before this step began.
            RetryKind::HostDown if before >= self.timeout => None,
            RetryKind::HostDown => within(self.timeout.saturating_sub(before), LEAST_TRIES),
            RetryKind::Transient(asked) | RetryKind::RateLimited(asked) => {
                let asked = asked.unwrap_or_default();
                if asked > self.timeout.saturating_sub(during) {
                    return None;
                }
                within(self.timeout, LEAST_TRIES).map(|wait| wait.max(asked))
            }
        }
    }
}
