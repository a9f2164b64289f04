//! Limits the rate of requests to each host: no limit until the host answers 429, or the quota that
//! the user sets.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use tokio::time::{Instant, sleep_until};

use super::token_bucket::TokenBucket;
use crate::oci::reference::Endpoint;

/// The interval between requests after the first 429. Each further one doubles it.
const FIRST_GAP: Duration = Duration::from_millis(20);

/// The maximum interval between requests. Artifact Registry's quota is three orders of magnitude
/// higher (<https://cloud.google.com/artifact-registry/quotas>).
const MAX_GAP: Duration = Duration::from_secs(1);

/// The rate limiters of a run, one per host. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RateLimiters {
    requests_per_minute: Option<NonZeroU32>,
    hosts: Arc<Mutex<HashMap<Endpoint, RateLimiter>>>,
}

impl RateLimiters {
    /// Limits each host to this number of requests in any minute. `None` is no limit.
    pub fn new(requests_per_minute: Option<NonZeroU32>) -> Self {
        Self {
            requests_per_minute,
            hosts: Arc::default(),
        }
    }

    /// The rate limiter for a host.
    pub(crate) fn of(&self, host: &Endpoint) -> RateLimiter {
        let mut hosts = self.hosts.lock();
        let new = || RateLimiter::with_quota(self.requests_per_minute);
        hosts.entry(host.clone()).or_insert_with(new).clone()
    }
}

/// The rate limiter for all requests to one host. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateLimiter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The remaining quota.
    bucket: Option<TokenBucket>,
    /// No request is sent before this time.
    paused_until: Option<Instant>,
    /// The earliest time of the next request, if requests are spaced.
    next: Option<Instant>,
    /// The interval between requests.
    gap: Duration,
}

impl RateLimiter {
    fn with_quota(requests_per_minute: Option<NonZeroU32>) -> Self {
        Self(Arc::new(Mutex::new(State {
            bucket: requests_per_minute.map(TokenBucket::new),
            ..State::default()
        })))
    }

    /// Waits until the next request may be sent.
    pub(crate) async fn acquire(&self) {
        while let Some(slot) = self.reserve() {
            sleep_until(slot).await;
            let state = self.0.lock();
            if state.paused_until.is_none_or(|until| until <= slot) {
                return;
            }
        }
    }

    /// Reserves the time of the next request. `None` if it may be sent at once.
    fn reserve(&self) -> Option<Instant> {
        let mut state = self.0.lock();
        let now = Instant::now();
        let earliest = [state.paused_until, state.next]
            .into_iter()
            .flatten()
            .fold(now, Instant::max);
        let slot = match &mut state.bucket {
            Some(bucket) => bucket.take(earliest),
            None => earliest,
        };
        state.next = (!state.gap.is_zero()).then(|| slot + state.gap);
        (slot > now).then_some(slot)
    }

    /// Counts a request that was sent without a reservation: a followed redirect, or the second of
    /// two requests in one call.
    pub(crate) fn count(&self) {
        let mut state = self.0.lock();
        if let Some(bucket) = &mut state.bucket {
            bucket.take(Instant::now());
        }
    }

    /// Stops all requests for `wait`, and slows them down afterwards. A 429 applies to everything
    /// that a client sends, not only to the request that received it. True if requests were not
    /// stopped before.
    pub(crate) fn pause(&self, wait: Duration) -> bool {
        let mut state = self.0.lock();
        let now = Instant::now();
        let is_new = state.paused_until.is_none_or(|until| until <= now);
        // Requests that were sent at the same time are refused for the same reason.
        if is_new {
            state.gap = (state.gap * 2).clamp(FIRST_GAP, MAX_GAP);
            if let Some(bucket) = &mut state.bucket {
                bucket.slow_down(now + wait);
            }
        }
        state.paused_until = state.paused_until.max(Some(now + wait));
        is_new
    }

    /// Records a request that was not refused, so that the following ones may be slightly faster.
    pub(crate) fn recover(&self) {
        let mut state = self.0.lock();
        state.gap = match state.gap * 9 / 10 {
            gap if gap < Duration::from_millis(1) => Duration::ZERO,
            gap => gap,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn elapsed(limiter: &RateLimiter, turns: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..turns {
            limiter.acquire().await;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_before_a_refusal() {
        assert_eq!(elapsed(&RateLimiter::default(), 1000).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn everyone_waits_and_then_goes_one_by_one() {
        let limiter = RateLimiter::default();
        let other = limiter.clone();
        let wait = Duration::from_secs(30);
        assert!(limiter.pause(wait));
        assert!(!limiter.pause(Duration::from_secs(1)));
        assert_eq!(elapsed(&other, 3).await, wait + 2 * FIRST_GAP);
    }

    #[tokio::test(start_paused = true)]
    async fn extended_pause_holds_those_already_waiting() {
        let limiter = RateLimiter::default();
        limiter.pause(Duration::from_secs(1));
        let (waited, ()) = tokio::join!(elapsed(&limiter, 1), async {
            limiter.pause(Duration::from_secs(9));
        });
        assert!(waited >= Duration::from_secs(9), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn old_rate_returns_with_success() {
        let limiter = RateLimiter::default();
        for _ in 0..10 {
            limiter.pause(Duration::ZERO);
        }
        assert!(elapsed(&limiter, 3).await >= MAX_GAP);
        for _ in 0..100 {
            limiter.recover();
        }
        limiter.acquire().await;
        assert_eq!(elapsed(&limiter, 100).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_to_one_host_share_one_quota() {
        let rate_limiters = RateLimiters::new(NonZeroU32::new(600));
        let host = |name: &str| name.parse::<Endpoint>().unwrap();
        let start = Instant::now();
        let (one, same) = (
            rate_limiters.of(&host("gcr.io")),
            rate_limiters.clone().of(&host("gcr.io")),
        );
        tokio::join!(elapsed(&one, 300), elapsed(&same, 300));
        assert!(start.elapsed() > Duration::from_secs(50));
        assert_eq!(
            elapsed(&rate_limiters.of(&host("eu.gcr.io")), 10).await,
            Duration::ZERO
        );
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_lowers_the_rate_of_a_quota_for_a_while() {
        let limiter = RateLimiter::with_quota(NonZeroU32::new(60));
        let usual = elapsed(&limiter, 20).await;
        limiter.pause(Duration::ZERO);
        let slowed = elapsed(&limiter, 20).await;
        assert!(slowed >= usual * 3 / 2, "{slowed:?} after {usual:?}");
        tokio::time::sleep(Duration::from_secs(120)).await;
        for _ in 0..100 {
            limiter.recover();
        }
        let again = elapsed(&limiter, 20).await;
        assert!(again <= usual, "{again:?} after {usual:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_without_a_permit_count() {
        let limiter = RateLimiter::with_quota(NonZeroU32::new(60));
        for _ in 0..30 {
            limiter.count();
        }
        assert!(elapsed(&limiter, 1).await >= Duration::from_secs(29));
    }
}
