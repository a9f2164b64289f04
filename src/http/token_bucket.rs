//! A token bucket for a quota of requests per minute.
//!
//! Its state is the time at which it would be full again (the generic cell rate algorithm, ITU-T
//! I.371), so no timer is needed.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// The period over which quotas count. <https://cloud.google.com/artifact-registry/quotas>
const WINDOW: Duration = Duration::from_secs(60);

/// How long the rate stays reduced after a 429: until the earlier requests no longer count.
const SLOWED_FOR: Duration = WINDOW;

/// The maximum factor by which the rate is reduced.
const MAX_FACTOR: u32 = 16;

/// The bucket of one host.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    /// The time in which one token is refilled.
    interval: Duration,
    /// The capacity of the bucket as a time: how much earlier than its token is refilled a request
    /// may be sent.
    tolerance: Duration,
    /// When the bucket is full again.
    full_at: Option<Instant>,
    /// The factor by which the rate is reduced, and until when.
    slowed: Option<(u32, Instant)>,
}

impl TokenBucket {
    /// Creates a bucket that never permits more requests in any minute.
    pub(super) fn new(requests_per_minute: NonZeroU32) -> Self {
        let limit = requests_per_minute.get();
        // Requests of one second may be sent at once, so the capacity of the bucket is subtracted
        // from the rate.
        let burst = (limit / 60).max(1);
        // Rounded up, so that there is never one request too many.
        let interval = WINDOW / (limit - burst + 1) + Duration::from_nanos(1);
        Self {
            interval,
            tolerance: interval * (burst - 1),
            full_at: None,
            slowed: None,
        }
    }

    /// Takes a token. Returns when the request may be sent, which is `earliest` or later.
    pub(super) fn take(&mut self, earliest: Instant) -> Instant {
        let full_at = self.full_at.unwrap_or(earliest);
        let time = full_at
            .checked_sub(self.tolerance)
            .map_or(earliest, |time| time.max(earliest));
        let factor = match self.slowed {
            Some((factor, until)) if time < until => factor,
            _ => 1,
        };
        self.full_at = Some(full_at.max(time) + self.interval * factor);
        time
    }

    /// Halves the rate for some time from `at`, the end of the wait that a 429 requests. If it is
    /// already reduced, halves it again.
    pub(super) fn slow_down(&mut self, at: Instant) {
        let factor = match self.slowed {
            Some((factor, until)) if Instant::now() < until => (factor * 2).min(MAX_FACTOR),
            _ => 2,
        };
        self.slowed = Some((factor, at + SLOWED_FOR));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_minute_exceeds_the_quota(
            limit in 1..3_000_u32,
            pauses in proptest::collection::vec(0..400_u64, 1..400),
        ) {
            let mut bucket = TokenBucket::new(NonZeroU32::new(limit).unwrap());
            let mut now = Instant::now();
            let mut turns = Vec::new();
            for pause in pauses {
                // Most requests arrive as fast as possible.
                now += Duration::from_millis(pause.saturating_sub(300) * 20);
                turns.push(bucket.take(now));
            }
            for (index, time) in turns.iter().enumerate() {
                let within = turns[index..].iter().take_while(|later| **later < *time + WINDOW);
                prop_assert!(within.count() <= limit as usize);
            }
        }

        #[test]
        fn unused_quota_can_be_used(limit in 1..3_000_u32) {
            let mut bucket = TokenBucket::new(NonZeroU32::new(limit).unwrap());
            let start = Instant::now();
            let last = (0..limit).map(|_| bucket.take(start)).last().unwrap();
            prop_assert!(last < start + WINDOW);
        }
    }

    #[test]
    fn each_refusal_halves_the_rate_down_to_a_minimum() {
        let mut bucket = TokenBucket::new(NonZeroU32::new(60).unwrap());
        let start = Instant::now();
        for expected in [2, 4, 8, 16, 16] {
            bucket.slow_down(start);
            assert_eq!(bucket.slowed.unwrap().0, expected);
        }
    }
}
