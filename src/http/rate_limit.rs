//! How fast requests to one host may follow each other: all at once, until the host says that it is
//! too much, or no faster than a quota allows.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::token_bucket::TokenBucket;
use crate::oci::reference::Endpoint;

/// The distance between two requests after the first 429; each further one doubles it.
const FIRST_GAP: Duration = Duration::from_millis(20);

/// The largest distance between two requests: Artifact Registry's quota is three orders of
/// magnitude above it (<https://cloud.google.com/artifact-registry/quotas>).
const LARGEST_GAP: Duration = Duration::from_secs(1);

/// The paces of a run, one a host; clones share them.
#[derive(Clone, Debug, Default)]
pub struct RateLimiters {
    requests_per_minute: Option<NonZeroU32>,
    hosts: Arc<Mutex<HashMap<Endpoint, RateLimiter>>>,
}

impl RateLimiters {
    /// No host gets more requests in any minute than that; none is as many as there are.
    pub fn new(requests_per_minute: Option<NonZeroU32>) -> Self {
        Self {
            requests_per_minute,
            hosts: Arc::default(),
        }
    }

    /// The pace that everything keeps that is sent to a host.
    pub(crate) fn of(&self, host: &Endpoint) -> RateLimiter {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || RateLimiter::within(self.requests_per_minute);
        hosts.entry(host.clone()).or_insert_with(new).clone()
    }
}

/// The pace that all requests to one host keep; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateLimiter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a quota leaves.
    bucket: Option<TokenBucket>,
    /// No request is sent before.
    held_until: Option<Instant>,
    /// The next request's turn, where they have to queue.
    next: Option<Instant>,
    /// How far apart they are sent.
    gap: Duration,
}

impl RateLimiter {
    fn within(requests_per_minute: Option<NonZeroU32>) -> Self {
        Self(Arc::new(Mutex::new(State {
            bucket: requests_per_minute.map(TokenBucket::new),
            ..State::default()
        })))
    }

    /// Waits until the next request may be sent.
    pub(crate) async fn acquire(&self) {
        while let Some(turn) = self.take_turn() {
            sleep_until(turn).await;
            let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.held_until.is_none_or(|until| until <= turn) {
                return;
            }
        }
    }

    /// When the next request may be sent; none for at once.
    fn take_turn(&self) -> Option<Instant> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earliest = [state.held_until, state.next]
            .into_iter()
            .flatten()
            .fold(now, Instant::max);
        let turn = match &mut state.bucket {
            Some(bucket) => bucket.take(earliest),
            None => earliest,
        };
        state.next = (!state.gap.is_zero()).then(|| turn + state.gap);
        (turn > now).then_some(turn)
    }

    /// Counts a request that went out without a turn of its own: a redirect that was followed, or
    /// the second of two that one call makes.
    pub(crate) fn count(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = &mut state.bucket {
            bucket.take(Instant::now());
        }
    }

    /// Lets nobody send for so long, and all more slowly after that: a 429 is about everything that
    /// a client does, not about the one request that got it. Tells whether nobody was held before.
    pub(crate) fn pause(&self, wait: Duration) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_new = state.held_until.is_none_or(|until| until <= now);
        // What was in flight at the same time is refused for the same reason.
        if is_new {
            state.gap = (state.gap * 2).clamp(FIRST_GAP, LARGEST_GAP);
            if let Some(bucket) = &mut state.bucket {
                bucket.slow_down(now + wait);
            }
        }
        state.held_until = state.held_until.max(Some(now + wait));
        is_new
    }

    /// A request was let pass: the next ones may follow a little faster.
    pub(crate) fn recover(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.gap = match state.gap * 9 / 10 {
            gap if gap < Duration::from_millis(1) => Duration::ZERO,
            gap => gap,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn elapsed(pace: &RateLimiter, turns: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..turns {
            pace.acquire().await;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_before_a_refusal() {
        assert_eq!(elapsed(&RateLimiter::default(), 1000).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn everyone_waits_and_then_goes_one_by_one() {
        let pace = RateLimiter::default();
        let other = pace.clone();
        let wait = Duration::from_secs(30);
        assert!(pace.pause(wait));
        assert!(!pace.pause(Duration::from_secs(1)));
        assert_eq!(elapsed(&other, 3).await, wait + 2 * FIRST_GAP);
    }

    #[tokio::test(start_paused = true)]
    async fn extended_pause_holds_those_already_waiting() {
        let pace = RateLimiter::default();
        pace.pause(Duration::from_secs(1));
        let (waited, ()) = tokio::join!(elapsed(&pace, 1), async {
            pace.pause(Duration::from_secs(9));
        });
        assert!(waited >= Duration::from_secs(9), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn old_rate_returns_with_success() {
        let pace = RateLimiter::default();
        for _ in 0..10 {
            pace.pause(Duration::ZERO);
        }
        assert!(elapsed(&pace, 3).await >= LARGEST_GAP);
        for _ in 0..100 {
            pace.recover();
        }
        pace.acquire().await;
        assert_eq!(elapsed(&pace, 100).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_to_one_host_share_one_quota() {
        let paces = RateLimiters::new(NonZeroU32::new(600));
        let host = |name: &str| name.parse::<Endpoint>().unwrap();
        let start = Instant::now();
        let (one, same) = (paces.of(&host("gcr.io")), paces.clone().of(&host("gcr.io")));
        tokio::join!(elapsed(&one, 300), elapsed(&same, 300));
        assert!(start.elapsed() > Duration::from_secs(50));
        assert_eq!(
            elapsed(&paces.of(&host("eu.gcr.io")), 10).await,
            Duration::ZERO
        );
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_lowers_the_rate_of_a_quota_for_a_while() {
        let pace = RateLimiter::within(NonZeroU32::new(60));
        let usual = elapsed(&pace, 20).await;
        pace.pause(Duration::ZERO);
        let slowed = elapsed(&pace, 20).await;
        assert!(slowed >= usual * 3 / 2, "{slowed:?} after {usual:?}");
        tokio::time::sleep(Duration::from_secs(120)).await;
        for _ in 0..100 {
            pace.recover();
        }
        let again = elapsed(&pace, 20).await;
        assert!(again <= usual, "{again:?} after {usual:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_without_a_permit_count() {
        let pace = RateLimiter::within(NonZeroU32::new(60));
        for _ in 0..30 {
            pace.count();
        }
        assert!(elapsed(&pace, 1).await >= Duration::from_secs(29));
    }
}
