//! Progress counters.
//!
//! Code that moves bytes adds them to a [`Meter`], at the cost of one atomic addition per chunk.
//! The display polls a [`Snapshot`]; there are no callbacks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::oci::blob::ByteStream;

/// A kind of work on bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Reading, from a registry or into a temporary file.
    Read,
    /// Compressing. Counts uncompressed bytes.
    Compress,
    /// Sending to a registry.
    Send,
}

impl Work {
    /// Every kind, in the order in which they are applied to an image.
    pub const ALL: [Self; 3] = [Self::Read, Self::Compress, Self::Send];
}

/// The counters of one run. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, Arc<Counter>>,
    waiting: [Amount; 3],
    done: [Amount; 3],
}

/// A number of pieces and their total bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    pieces: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, pieces: u64, bytes: u64) {
        self.pieces += pieces;
        self.bytes += bytes;
    }

    /// Removes one piece. Stays at zero if the piece was not announced.
    fn take(&mut self, bytes: u64) {
        self.pieces = self.pieces.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[derive(Debug)]
struct Counter {
    work: Work,
    name: String,
    size: u64,
    moved: AtomicU64,
}

/// The known amount of one kind of work, and how much of it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// The pieces that are done, running or announced.
    pub pieces: u64,
    /// The pieces that are done.
    pub done: u64,
    /// The bytes of all pieces.
    pub bytes: u64,
    /// The bytes that are done, including those of running pieces.
    pub moved: u64,
}

/// A running piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The unique ID of the piece within the run.
    pub id: u64,
    /// The kind of work.
    pub work: Work,
    /// The name for people: the first digits of the digest.
    pub name: String,
    /// The size in bytes.
    pub size: u64,
    /// The bytes that are done.
    pub moved: u64,
}

/// The values of all counters at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The running pieces, in the order of their start.
    pub running: Vec<Running>,
    totals: [Total; 3],
}

impl Snapshot {
    /// The total of one kind of work.
    pub fn total(&self, work: Work) -> Total {
        self.totals[work as usize]
    }
}

impl Progress {
    /// Announces pieces that will begin later.
    pub fn expect(&self, work: Work, sizes: impl IntoIterator<Item = u64>) {
        let mut state = self.state();
        for size in sizes {
            state.waiting[work as usize].add(1, size);
        }
    }

    /// Begins a piece of `size` bytes, announced or not. If the meter is dropped without
    /// [`Meter::done`], the piece counts as announced again, and its bytes as not moved.
    pub fn begin(&self, work: Work, name: &str, size: u64) -> Meter {
        let counter = Arc::new(Counter {
            work,
            name: name.to_owned(),
            size,
            moved: AtomicU64::new(0),
        });
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, Arc::clone(&counter));
        state.waiting[work as usize].take(size);
        Meter {
            progress: self.clone(),
            id,
            counter,
            is_done: false,
        }
    }

    /// Reads all counters.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut totals = [Total::default(); 3];
        for ((total, done), waiting) in totals.iter_mut().zip(state.done).zip(state.waiting) {
            *total = Total {
                pieces: done.pieces + waiting.pieces,
                done: done.pieces,
                bytes: done.bytes + waiting.bytes,
                moved: done.bytes,
            };
        }
        let mut running = Vec::new();
        for (&id, counter) in &state.running {
            let moved = counter.moved.load(Ordering::Relaxed).min(counter.size);
            let total = &mut totals[counter.work as usize];
            total.pieces += 1;
            total.bytes += counter.size;
            total.moved += moved;
            running.push(Running {
                id,
                work: counter.work,
                name: counter.name.clone(),
                size: counter.size,
                moved,
            });
        }
        Snapshot { running, totals }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// The meter of one piece of work. It may be dropped at any time.
#[derive(Debug)]
pub struct Meter {
    progress: Progress,
    id: u64,
    counter: Arc<Counter>,
    is_done: bool,
}

impl Meter {
    /// Counts bytes as moved.
    pub fn add(&self, bytes: u64) {
        self.counter()(bytes);
    }

    /// Returns a function that counts bytes as moved and can be sent to another thread.
    pub fn counter(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let counter = Arc::clone(&self.counter);
        move |bytes| {
            counter.moved.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Wraps a stream so that its bytes are counted.
    pub fn watch(&self, stream: ByteStream) -> ByteStream {
        let count = self.counter();
        stream
            .inspect_ok(move |piece| count(piece.len() as u64))
            .boxed()
    }

    /// Marks the piece as done.
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        state.running.remove(&self.id);
        let work = self.counter.work as usize;
        let amounts = if self.is_done {
            &mut state.done
        } else {
            &mut state.waiting
        };
        amounts[work].add(1, self.counter.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::stream;

    #[test]
    fn chunk_counts_while_running_and_stays_when_done() {
        let progress = Progress::default();
        let first = progress.begin(Work::Send, "aaaa", 100);
        let second = progress.begin(Work::Send, "bbbb", 50);
        first.add(40);
        second.add(10);
        let total = progress.snapshot().total(Work::Send);
        assert_eq!((total.pieces, total.done), (2, 0));
        assert_eq!((total.bytes, total.moved), (150, 50));
        drop(second);
        first.done();
        let snapshot = progress.snapshot();
        assert_eq!(snapshot.running, []);
        let total = snapshot.total(Work::Send);
        assert_eq!((total.pieces, total.done), (2, 1));
        assert_eq!((total.bytes, total.moved), (150, 100));
        progress.begin(Work::Send, "bbbb", 50).done();
        let total = progress.snapshot().total(Work::Send);
        assert_eq!((total.pieces, total.bytes, total.moved), (2, 150, 150));
        assert_eq!(snapshot.total(Work::Compress), Total::default());
    }

    #[test]
    fn announced_bytes_count_once() {
        let progress = Progress::default();
        progress.expect(Work::Compress, [10, 20]);
        progress.begin(Work::Compress, "aaaa", 10).done();
        let total = progress.snapshot().total(Work::Compress);
        assert_eq!((total.pieces, total.done), (2, 1));
        assert_eq!((total.bytes, total.moved), (30, 10));
    }

    #[tokio::test]
    async fn watched_stream_passes_every_byte() {
        let progress = Progress::default();
        let meter = progress.begin(Work::Read, "aaaa", 5);
        let pieces = ["ab", "cde"].map(|piece| Ok(Bytes::from(piece)));
        let watched = meter.watch(stream::iter(pieces).boxed());
        let read: Vec<Bytes> = watched.try_collect().await.unwrap();
        assert_eq!(read.concat(), b"abcde");
        assert_eq!(progress.snapshot().running[0].moved, 5);
    }
}
