//! Limits the concurrent uploads to the bandwidth of the network connection (the line).
//!
//! A few uploads use the full bandwidth. On a slow line, further ones slow each other down until
//! the registry or a proxy closes a connection because of a timeout.

use std::collections::{HashSet, VecDeque};

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::ci::progress::{Progress, Work};

/// The most bytes that one blob counts for; a smaller blob counts its size.
const LARGEST_SHARE: u64 = 256 * 1024;

/// The budget in bytes before the bandwidth is measured.
const INITIAL_BUDGET: u64 = 4 * LARGEST_SHARE;

/// The smallest budget: two blobs, so that one is sent while the other is started or finished.
const MIN_BUDGET: u64 = 2 * LARGEST_SHARE;

/// The budget is what the line transfers in this time.
const WINDOW: Duration = Duration::from_secs(8);

/// How often the bandwidth is measured while a blob waits.
const TICK: Duration = Duration::from_millis(50);

/// Limits the bytes of the uploads in progress to the bandwidth.
#[derive(Debug)]
pub(super) struct Line {
    progress: Progress,
    state: Mutex<State>,
    /// Admits the waiting blobs in their order.
    queue: tokio::sync::Mutex<()>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// The bytes of the uploads in progress.
    in_flight: u64,
    budget: u64,
    samples: VecDeque<(Instant, u64)>,
}

/// The part of the budget that one upload uses until this is dropped.
pub(super) struct LineShare<'a> {
    line: &'a Line,
    share: u64,
}

impl Line {
    /// Creates a limiter that measures the bandwidth from the bytes that `progress` counts.
    pub(super) fn new(progress: Progress) -> Self {
        Self {
            progress,
            state: Mutex::new(State {
                in_flight: 0,
                budget: INITIAL_BUDGET,
                samples: VecDeque::new(),
            }),
            queue: tokio::sync::Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Waits until the budget allows a blob of `size` bytes in addition to the uploads in progress.
    pub(super) async fn share(&self, size: u64) -> LineShare<'_> {
        let share = size.min(LARGEST_SHARE);
        let _first = self.queue.lock().await;
        while !self.try_reserve(share) {
            // A freed share or the end of the tick, whichever is first.
            let _ = timeout(TICK, self.freed.notified()).await;
        }
        LineShare { line: self, share }
    }

    /// Reserves `share` if the budget allows it.
    fn try_reserve(&self, share: u64) -> bool {
        let snapshot = self.progress.snapshot();
        let sent = snapshot.total(Work::Send).moved;
        // A blob that is sent and waits for the response uses no bandwidth. A blob that is sent to
        // several destinations counts once.
        let mut finishing = HashSet::new();
        let finishing: u64 = snapshot
            .running
            .iter()
            .filter(|piece| piece.work == Work::Send && piece.moved >= piece.size)
            .filter(|piece| finishing.insert(&piece.name))
            .map(|piece| piece.size.min(LARGEST_SHARE))
            .sum();
        let mut state = self.state();
        let sending = state.in_flight.saturating_sub(finishing);
        if sending > 0 && sending + share > state.budget(sent, Instant::now()) {
            return false;
        }
        state.in_flight += share;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Returns the budget at `now`, after `sent` bytes in total.
    fn budget(&mut self, sent: u64, now: Instant) -> u64 {
        let last = self.samples.back().map(|(at, _)| now - *at);
        if last.is_some_and(|since| since > 4 * TICK) {
            // No blob waited in between, so the samples do not show the bandwidth.
            self.samples.clear();
        }
        self.samples.push_back((now, sent));
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now - *at >= WINDOW)
        {
            self.samples.pop_front();
        }
        if let Some((since, before)) = self.samples.front() {
            let transferred = sent.saturating_sub(*before);
            let least = if now - *since >= WINDOW {
                MIN_BUDGET
            } else {
                self.budget
            };
            self.budget = transferred.max(least);
        }
        self.budget
    }
}

impl Drop for LineShare<'_> {
    fn drop(&mut self) {
        self.line.state().in_flight -= self.share;
        self.line.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Returns how many of 40 blobs are uploaded at once at first, and later, on a line with this
    /// bandwidth in bytes per second, which the uploads share equally.
    async fn at_once(size: u64, bandwidth: u64) -> (usize, usize) {
        let progress = Progress::default();
        let line = Arc::new(Line::new(progress.clone()));
        let running = Arc::new(AtomicUsize::new(0));
        for number in 0..40 {
            let (line, progress) = (Arc::clone(&line), progress.clone());
            let running = Arc::clone(&running);
            tokio::spawn(async move {
                let _share = line.share(size).await;
                let meter = progress.begin(Work::Send, &number.to_string(), size);
                running.fetch_add(1, Ordering::Relaxed);
                let mut left = size;
                while left > 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let moved = bandwidth / 20 / running.load(Ordering::Relaxed) as u64;
                    let moved = moved.clamp(1, left);
                    meter.add(moved);
                    left -= moved;
                }
                meter.done();
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let first = running.load(Ordering::Relaxed);
        let mut later = 0;
        for _ in 0..40 {
            tokio::time::sleep(WINDOW).await;
            later = match running.load(Ordering::Relaxed) {
                0 => break,
                count => count,
            };
        }
        (first, later)
    }

    #[tokio::test(start_paused = true)]
    async fn slow_line_carries_two_uploads_and_fast_one_all() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(at_once(MIB, 16 * 1024).await, (4, 2));
        assert_eq!(at_once(64 * MIB, 128 * MIB).await, (4, 40));
        // All small blobs are uploaded at once.
        assert_eq!(at_once(20_000, 16 * 1024).await.0, 40);
    }
}
