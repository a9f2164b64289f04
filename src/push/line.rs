//! How many blobs share the line: no more than it carries.
//!
//! A few connections fill any line. On a slow one, more of them only starve each other until the
//! other side, or something on the way, gives one of them up.

use std::collections::{HashSet, VecDeque};

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::ci::progress::{Progress, Work};

/// What a large blob counts at most; a smaller one counts its size.
const LARGEST_SHARE: u64 = 256 * 1024;

/// What is under way while nothing is known of the line.
const AT_FIRST: u64 = 4 * LARGEST_SHARE;

/// What is under way on the slowest line: while one blob is finished or begun, the other is sent.
const AT_LEAST: u64 = 2 * LARGEST_SHARE;

/// What the line carries in that time is under way.
const WINDOW: Duration = Duration::from_secs(8);

/// How often the line is looked at while a blob waits.
const TICK: Duration = Duration::from_millis(50);

/// Bounds what is under way.
#[derive(Debug)]
pub(super) struct Line {
    progress: Progress,
    state: Mutex<State>,
    /// Lets one blob wait at a time, in their order.
    queue: tokio::sync::Mutex<()>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    under_way: u64,
    budget: u64,
    samples: VecDeque<(Instant, u64)>,
}

/// What one blob takes of the line, until it is dropped.
pub(super) struct LineShare<'a> {
    line: &'a Line,
    share: u64,
}

impl Line {
    /// A line of which `progress` says how much it carries.
    pub(super) fn new(progress: Progress) -> Self {
        Self {
            progress,
            state: Mutex::new(State {
                under_way: 0,
                budget: AT_FIRST,
                samples: VecDeque::new(),
            }),
            queue: tokio::sync::Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Waits until the line carries a blob of `size` bytes beside what is under way.
    pub(super) async fn share(&self, size: u64) -> LineShare<'_> {
        let share = size.min(LARGEST_SHARE);
        let _first = self.queue.lock().await;
        while !self.takes(share) {
            // Whichever comes first.
            let _ = timeout(TICK, self.freed.notified()).await;
        }
        LineShare { line: self, share }
    }

    fn takes(&self, share: u64) -> bool {
        let snapshot = self.progress.snapshot();
        let sent = snapshot.total(Work::Send).moved;
        // What is sent and waits for its answer is not on the line any more. To several destinations
        // a blob is under way more than once, and counts once.
        let mut finishing = HashSet::new();
        let finishing: u64 = snapshot
            .running
            .iter()
            .filter(|piece| piece.work == Work::Send && piece.moved >= piece.size)
            .filter(|piece| finishing.insert(&piece.name))
            .map(|piece| piece.size.min(LARGEST_SHARE))
            .sum();
        let mut state = self.state();
        let on_the_line = state.under_way.saturating_sub(finishing);
        if on_the_line > 0 && on_the_line + share > state.budget(sent, Instant::now()) {
            return false;
        }
        state.under_way += share;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// What may be under way at `now`, when `sent` bytes have been sent in all.
    fn budget(&mut self, sent: u64, now: Instant) -> u64 {
        let last = self.samples.back().map(|(at, _)| now - *at);
        if last.is_some_and(|since| since > 4 * TICK) {
            // Nobody waited in between, so that it was not the line that bounded what was sent.
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
            let carried = sent.saturating_sub(*before);
            let least = match now - *since >= WINDOW {
                true => AT_LEAST,
                false => self.budget,
            };
            self.budget = carried.max(least);
        }
        self.budget
    }
}

impl Drop for LineShare<'_> {
    fn drop(&mut self) {
        self.line.state().under_way -= self.share;
        self.line.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// How many of 40 blobs are under way at once at first, and later, on a line that carries so
    /// many bytes a second, all of them at the same pace.
    async fn at_once(size: u64, carries: u64) -> (usize, usize) {
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
                    let moved = carries / 20 / running.load(Ordering::Relaxed) as u64;
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
        // Small ones are as many as they are.
        assert_eq!(at_once(20_000, 16 * 1024).await.0, 40);
    }
}
