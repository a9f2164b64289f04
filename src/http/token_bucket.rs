//! A token bucket: how many requests a quota of so many a minute leaves.
//!
//! It is kept as the time when the bucket would be full again (the generic cell rate algorithm,
//! ITU-T I.371), so that a request takes its turn without a clock of its own.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// What quotas count over. <https://cloud.google.com/artifact-registry/quotas>
const WINDOW: Duration = Duration::from_secs(60);

/// How long after a 429 the rate stays lowered: until what was sent before it counts no more.
const SLOWED: Duration = WINDOW;

/// The lowest rate, as a part of the usual one.
const LOWEST: u32 = 16;

/// The tokens of one host.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    /// How long one token takes to come back.
    interval: Duration,
    /// How much earlier than its token is back a request may go: what is in the bucket at the start.
    tolerance: Duration,
    /// When all tokens are back.
    full_at: Option<Instant>,
    /// What part of the rate is left, and until when.
    slowed: Option<(u32, Instant)>,
}

impl TokenBucket {
    /// One that lets no more requests pass in any minute.
    pub(super) fn new(requests_per_minute: NonZeroU32) -> Self {
        let limit = requests_per_minute.get();
        // A second's worth may go at once; what the bucket holds at the start is taken off the rate.
        let burst = (limit / 60).max(1);
        // Rounded up: not one too many.
        let interval = WINDOW / (limit - burst + 1) + Duration::from_nanos(1);
        Self {
            interval,
            tolerance: interval * (burst - 1),
            full_at: None,
            slowed: None,
        }
    }

    /// Takes a token: when the request may go, `earliest` or later.
    pub(super) fn take(&mut self, earliest: Instant) -> Instant {
        let full_at = self.full_at.unwrap_or(earliest);
        let turn = full_at
            .checked_sub(self.tolerance)
            .map_or(earliest, |turn| turn.max(earliest));
        let part = match self.slowed {
            Some((part, until)) if turn < until => part,
            _ => 1,
        };
        self.full_at = Some(full_at.max(turn) + self.interval * part);
        turn
    }

    /// Halves the rate for a while that begins `at` the end of what a 429 asks to wait, and again
    /// where it is lowered already.
    pub(super) fn slow_down(&mut self, at: Instant) {
        let part = match self.slowed {
            Some((part, until)) if Instant::now() < until => (part * 2).min(LOWEST),
            _ => 2,
        };
        self.slowed = Some((part, at + SLOWED));
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
                // Most come as fast as they can.
                now += Duration::from_millis(pause.saturating_sub(300) * 20);
                turns.push(bucket.take(now));
            }
            for (index, turn) in turns.iter().enumerate() {
                let within = turns[index..].iter().take_while(|later| **later < *turn + WINDOW);
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
