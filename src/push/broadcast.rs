//! One read of a blob for several destinations, in memory that does not grow with it.
//!
//! The read is as fast as the slowest required subscriber. A best-effort subscriber leaves it when it
//! is more than a window behind and its stall budget is spent, and reads the blob itself later.
//!
//! Two required subscribers can block each other: a registry that reads one upload at a time takes
//! nothing of the second upload before the first one ends, and the first waits for the read, which
//! waits for the second. The second then leaves the read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::blob_locations::BlobLocations;
use crate::oci::blob::ByteStream;
use crate::oci::reference::Endpoint;

/// How many bytes a subscriber may be behind the read.
const WINDOW: usize = 1024 * 1024;

/// How long a registry may acknowledge nothing while one of its uploads is starved, before it counts
/// as one that reads one upload at a time.
const SERIAL_AFTER: Duration = Duration::from_secs(10);

/// How often the progress of a registry is checked.
const TICK: Duration = Duration::from_secs(1);

/// How long a shared read waits for a subscriber.
#[derive(Clone)]
pub(super) enum Subscriber {
    /// Without limit, unless its registry reads another upload of this read first.
    Required(Arc<RegistryProgress>),
    /// Until its stall budget is spent.
    BestEffort(Arc<StallBudget>),
}

/// The progress of a subscriber's registry.
pub(super) struct RegistryProgress {
    endpoint: Endpoint,
    locations: Arc<BlobLocations>,
    /// Returns the bytes that it has acknowledged.
    acknowledged: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl RegistryProgress {
    pub(super) fn new(
        endpoint: Endpoint,
        locations: Arc<BlobLocations>,
        acknowledged: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            endpoint,
            locations,
            acknowledged: Box::new(acknowledged),
        }
    }

    /// Resolves once the registry holds up an upload because it reads another one first, which is
    /// starved by the read that they share.
    async fn until_serial(&self, is_other_starved: impl Fn() -> bool) {
        let mut last = None;
        loop {
            sleep(TICK).await;
            if !is_other_starved() {
                last = None;
                continue;
            }
            if self.locations.is_serial(&self.endpoint) {
                return;
            }
            let acknowledged = (self.acknowledged)();
            let (value, since) = *last.get_or_insert((acknowledged, Instant::now()));
            if value != acknowledged {
                last = None;
            } else if since.elapsed() >= SERIAL_AFTER {
                self.locations.record_serial(&self.endpoint);
                tracing::info!(
                    "{} reads one upload at a time: each of its repositories gets a blob by itself",
                    self.endpoint
                );
                return;
            }
        }
    }
}

/// How long one destination may hold up all the reads that it shares.
pub(super) struct StallBudget(Mutex<Remaining>);

struct Remaining {
    time: Duration,
    /// Until when it is already charged: several reads may wait at once.
    spent_until: Instant,
}

impl StallBudget {
    pub(super) fn new(time: Duration) -> Self {
        let spent_until = Instant::now();
        Self(Mutex::new(Remaining { time, spent_until }))
    }

    fn remaining(&self) -> Duration {
        self.0.lock().time
    }

    fn charge(&self, since: Instant) {
        let mut left = self.0.lock();
        let now = Instant::now();
        let spent = now.saturating_duration_since(since.max(left.spent_until));
        left.time = left.time.saturating_sub(spent);
        left.spent_until = now;
    }
}

/// What one subscriber gets of a shared read.
pub(super) struct Subscription {
    pub(super) bytes: ByteStream,
    /// True once it has fallen behind; then the stream ends in an error.
    pub(super) is_behind: Arc<AtomicBool>,
}

/// Reads `bytes` once for all subscribers. A subscriber that drops its stream leaves the read.
pub(super) fn broadcast(bytes: ByteStream, subscribers: Vec<Subscriber>) -> Vec<Subscription> {
    let (slots, subscriptions) = subscribers.into_iter().map(subscribe).unzip();
    tokio::spawn(read(bytes, slots));
    subscriptions
}

/// The sending end of a subscription.
struct Slot {
    subscriber: Subscriber,
    room: Arc<Semaphore>,
    chunks: mpsc::UnboundedSender<Chunk>,
    is_behind: Arc<AtomicBool>,
}

enum Chunk {
    Bytes(Bytes),
    End,
    Failed(io::Error),
}

/// The permits that a chunk takes. A chunk larger than the window takes all of it.
fn permits(chunk: &Bytes) -> u32 {
    chunk.len().min(WINDOW) as u32
}

fn subscribe(subscriber: Subscriber) -> (Slot, Subscription) {
    let room = Arc::new(Semaphore::new(WINDOW));
    let (chunks, receiver) = mpsc::unbounded_channel();
    let is_behind = Arc::new(AtomicBool::new(false));
    let subscription = Subscription {
        bytes: chunk_stream(
            receiver,
            CloseOnDrop(Arc::clone(&room)),
            Arc::clone(&is_behind),
        ),
        is_behind: Arc::clone(&is_behind),
    };
    let slot = Slot {
        subscriber,
        room,
        chunks,
        is_behind,
    };
    (slot, subscription)
}

/// Closes the window when the subscriber is gone, so that the read does not wait for it.
struct CloseOnDrop(Arc<Semaphore>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn chunk_stream(
    chunks: mpsc::UnboundedReceiver<Chunk>,
    room: CloseOnDrop,
    is_behind: Arc<AtomicBool>,
) -> ByteStream {
    stream::unfold(Some((chunks, room, is_behind)), |state| async move {
        let (mut chunks, room, is_behind) = state?;
        match chunks.recv().await {
            Some(Chunk::Bytes(chunk)) => {
                room.0.add_permits(permits(&chunk) as usize);
                Some((Ok(chunk), Some((chunks, room, is_behind))))
            }
            Some(Chunk::End) => None,
            Some(Chunk::Failed(error)) => Some((Err(error), None)),
            None => {
                let reason = if is_behind.load(Ordering::Acquire) {
                    "it fell behind the others"
                } else {
                    "the read that it shares has ended"
                };
                Some((Err(io::Error::other(reason)), None))
            }
        }
    })
    .boxed()
}

async fn read(mut bytes: ByteStream, mut slots: Vec<Slot>) {
    while !slots.is_empty() {
        match bytes.next().await {
            Some(Ok(chunk)) => {
                let mut next = 0;
                while let Some(slot) = slots.get(next) {
                    if slot.send(&chunk, &slots).await {
                        next += 1;
                    } else {
                        slots.swap_remove(next);
                    }
                }
            }
            Some(Err(error)) => {
                for slot in &slots {
                    let copy = io::Error::new(error.kind(), error.to_string());
                    // A subscriber that has left needs no error.
                    let _ = slot.chunks.send(Chunk::Failed(copy));
                }
                return;
            }
            None => {
                for slot in &slots {
                    let _ = slot.chunks.send(Chunk::End);
                }
                return;
            }
        }
    }
}

impl Slot {
    /// True if it has taken all that was read and waits for more.
    fn is_starved(&self) -> bool {
        !self.room.is_closed() && self.room.available_permits() == WINDOW
    }

    /// True if one of `others` at this registry is starved.
    fn starves_one_of(&self, others: &[Self], registry: &RegistryProgress) -> bool {
        others.iter().any(|other| match &other.subscriber {
            Subscriber::Required(theirs) => {
                theirs.endpoint == registry.endpoint && other.is_starved()
            }
            Subscriber::BestEffort(_) => false,
        })
    }

    /// Sends a chunk to the subscriber. False if it has left, or leaves because it is behind.
    async fn send(&self, chunk: &Bytes, all: &[Self]) -> bool {
        let needed = permits(chunk);
        let room = match &self.subscriber {
            Subscriber::Required(registry) => tokio::select! {
                biased;
                room = self.room.acquire_many(needed) => room.ok(),
                () = registry.until_serial(|| self.starves_one_of(all, registry)) => {
                    self.is_behind.store(true, Ordering::Release);
                    None
                }
            },
            Subscriber::BestEffort(budget) => match self.room.try_acquire_many(needed) {
                Ok(room) => Some(room),
                Err(tokio::sync::TryAcquireError::Closed) => None,
                Err(tokio::sync::TryAcquireError::NoPermits) => {
                    let since = Instant::now();
                    let waited = timeout(budget.remaining(), self.room.acquire_many(needed)).await;
                    budget.charge(since);
                    match waited {
                        Ok(room) => room.ok(),
                        Err(_) => {
                            self.is_behind.store(true, Ordering::Release);
                            None
                        }
                    }
                }
            },
        };
        match room {
            Some(room) => {
                room.forget();
                self.chunks.send(Chunk::Bytes(chunk.clone())).is_ok()
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    /// A stream of so many chunks of a quarter of the window, which counts what was taken of it.
    fn chunks(count: usize) -> (ByteStream, Arc<Mutex<usize>>) {
        let taken = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&taken);
        let stream = stream::iter(0..count).map(move |number| {
            *counter.lock() += 1;
            Ok(Bytes::from(vec![number as u8; WINDOW / 4]))
        });
        (stream.boxed(), taken)
    }

    async fn length(stream: ByteStream) -> io::Result<usize> {
        let chunks: Vec<Bytes> = stream.try_collect().await?;
        Ok(chunks.iter().map(Bytes::len).sum())
    }

    fn best_effort(budget: Duration) -> Subscriber {
        Subscriber::BestEffort(Arc::new(StallBudget::new(budget)))
    }

    /// One whose registry acknowledges nothing.
    fn required(host: &str) -> Subscriber {
        let locations = Arc::default();
        let progress = RegistryProgress::new(host.parse().unwrap(), locations, || 0);
        Subscriber::Required(Arc::new(progress))
    }

    #[tokio::test]
    async fn every_subscriber_gets_every_byte_of_one_read() {
        let (stream, taken) = chunks(40);
        let required = vec![
            required("gcr.io"),
            required("eu.gcr.io"),
            best_effort(Duration::from_secs(60)),
        ];
        let shares = broadcast(stream, required)
            .into_iter()
            .map(|s| length(s.bytes));
        for whole in futures_util::future::join_all(shares).await {
            assert_eq!(whole.unwrap(), 10 * WINDOW);
        }
        assert_eq!(*taken.lock(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_required_subscriber_holds_at_most_a_window() {
        let (stream, taken) = chunks(40);
        let mut shares = broadcast(stream, vec![required("gcr.io"), required("eu.gcr.io")]);
        let slow = shares.pop().unwrap();
        let fast = tokio::spawn(length(shares.pop().unwrap().bytes));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        // A window, and the chunk that waits for room.
        assert_eq!(*taken.lock(), 5);
        drop(slow);
        assert_eq!(fast.await.unwrap().unwrap(), 10 * WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn lagging_best_effort_subscriber_is_dropped() {
        let (stream, _) = chunks(40);
        let budget = Duration::from_secs(1);
        let mut shares = broadcast(stream, vec![required("gcr.io"), best_effort(budget)]);
        let slow = shares.pop().unwrap();
        let since = Instant::now();
        assert_eq!(
            length(shares.pop().unwrap().bytes).await.unwrap(),
            10 * WINDOW
        );
        assert_eq!(since.elapsed().as_secs(), 1);
        assert!(slow.is_behind.load(Ordering::Acquire));
        let error = length(slow.bytes).await.unwrap_err();
        assert_eq!(error.to_string(), "it fell behind the others");
    }

    #[tokio::test(start_paused = true)]
    async fn second_upload_to_a_serial_registry_leaves_the_read() {
        let locations: Arc<BlobLocations> = Arc::default();
        let endpoint: Endpoint = "gcr.io".parse().unwrap();
        let both = [(); 2].map(|()| {
            let progress = RegistryProgress::new(endpoint.clone(), Arc::clone(&locations), || 0);
            Subscriber::Required(Arc::new(progress))
        });
        let (stream, _) = chunks(40);
        let mut shares = broadcast(stream, both.to_vec());
        let second = shares.pop().unwrap();
        let since = Instant::now();
        let first = shares.pop().unwrap();
        assert_eq!(length(first.bytes).await.unwrap(), 10 * WINDOW);
        assert_eq!(since.elapsed(), SERIAL_AFTER + TICK);
        assert!(second.is_behind.load(Ordering::Acquire));
        assert!(locations.is_serial(&endpoint));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_upload_to_a_registry_that_moves_keeps_the_read() {
        let start = Instant::now();
        let acknowledged = move || start.elapsed().as_secs();
        let both = [(); 2].map(|()| {
            let progress =
                RegistryProgress::new("gcr.io".parse().unwrap(), Arc::default(), acknowledged);
            Subscriber::Required(Arc::new(progress))
        });
        let (stream, _) = chunks(40);
        let mut shares = broadcast(stream, both.to_vec());
        let slow = shares.pop().unwrap();
        let fast = tokio::spawn(length(shares.pop().unwrap().bytes));
        sleep(Duration::from_secs(3600)).await;
        assert!(!slow.is_behind.load(Ordering::Acquire));
        assert_eq!(length(slow.bytes).await.unwrap(), 10 * WINDOW);
        assert_eq!(fast.await.unwrap().unwrap(), 10 * WINDOW);
    }

    #[tokio::test]
    async fn failed_read_fails_for_all_subscribers() {
        let broken = stream::iter([
            Ok(Bytes::from_static(b"x")),
            Err(io::Error::other("broken")),
        ]);
        for share in broadcast(
            broken.boxed(),
            vec![required("gcr.io"), required("eu.gcr.io")],
        ) {
            assert_eq!(length(share.bytes).await.unwrap_err().to_string(), "broken");
        }
    }
}
