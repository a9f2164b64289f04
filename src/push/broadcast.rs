//! One read of a blob for several destinations, in memory that does not grow with it.
//!
//! The read is as fast as the slowest subscriber. Two subscribers can block each other: a registry that
//! reads one upload at a time takes nothing of the second upload before the first one ends, and the
//! first waits for the read, which waits for the second. The second then leaves the read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};

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

/// An upload to a registry that gets the bytes of a shared read.
pub(super) struct Subscriber {
    endpoint: Endpoint,
    locations: Arc<BlobLocations>,
    /// Returns the bytes that the registry has acknowledged.
    acknowledged: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Subscriber {
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
                    "{} accepts one upload at a time: sending each blob to its repositories \
                     separately",
                    self.endpoint
                );
                return;
            }
        }
    }
}

/// What one subscriber gets of a shared read.
pub(super) struct Subscription {
    pub(super) bytes: ByteStream,
    pub(super) left: LeftSignal,
}

/// Is set once the subscriber has left the read, whose stream then ends in an error.
pub(super) struct LeftSignal(watch::Receiver<bool>);

impl LeftSignal {
    pub(super) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once the subscriber has left the read.
    pub(super) async fn wait(&mut self) {
        if self.0.wait_for(|has_left| *has_left).await.is_err() {
            // The read has ended with it.
            std::future::pending().await
        }
    }
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
    has_left: watch::Sender<bool>,
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
    let (has_left, left) = watch::channel(false);
    let subscription = Subscription {
        bytes: chunk_stream(receiver, CloseOnDrop(Arc::clone(&room))),
        left: LeftSignal(left),
    };
    let slot = Slot {
        subscriber,
        room,
        chunks,
        has_left,
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

fn chunk_stream(chunks: mpsc::UnboundedReceiver<Chunk>, room: CloseOnDrop) -> ByteStream {
    stream::unfold(Some((chunks, room)), |state| async move {
        let (mut chunks, room) = state?;
        match chunks.recv().await {
            Some(Chunk::Bytes(chunk)) => {
                room.0.add_permits(permits(&chunk) as usize);
                Some((Ok(chunk), Some((chunks, room))))
            }
            Some(Chunk::End) => None,
            Some(Chunk::Failed(error)) => Some((Err(error), None)),
            None => {
                let error = io::Error::other("the shared read has ended");
                Some((Err(error), None))
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
    fn starves_one_of(&self, others: &[Self]) -> bool {
        let endpoint = &self.subscriber.endpoint;
        let mut there = others
            .iter()
            .filter(|other| other.subscriber.endpoint == *endpoint);
        there.any(Self::is_starved)
    }

    /// Sends a chunk to the subscriber. False if it has left, or leaves because its registry reads
    /// another upload of this read first.
    async fn send(&self, chunk: &Bytes, all: &[Self]) -> bool {
        let needed = permits(chunk);
        tokio::select! {
            biased;
            room = self.room.acquire_many(needed) => match room {
                Ok(room) => {
                    room.forget();
                    self.chunks.send(Chunk::Bytes(chunk.clone())).is_ok()
                }
                Err(_) => false,
            },
            () = self.subscriber.until_serial(|| self.starves_one_of(all)) => {
                self.has_left.send_replace(true);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;
    use parking_lot::Mutex;

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

    /// One whose registry acknowledges nothing.
    fn subscriber(host: &str) -> Subscriber {
        Subscriber::new(host.parse().unwrap(), Arc::default(), || 0)
    }

    #[tokio::test]
    async fn every_subscriber_gets_every_byte_of_one_read() {
        let (stream, taken) = chunks(40);
        let subscribers = ["gcr.io", "eu.gcr.io", "eu.gcr.io"].map(subscriber);
        let shares = broadcast(stream, subscribers.into())
            .into_iter()
            .map(|s| length(s.bytes));
        for whole in futures_util::future::join_all(shares).await {
            assert_eq!(whole.unwrap(), 10 * WINDOW);
        }
        assert_eq!(*taken.lock(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_subscriber_holds_at_most_a_window() {
        let (stream, taken) = chunks(40);
        let mut shares = broadcast(stream, vec![subscriber("gcr.io"), subscriber("eu.gcr.io")]);
        let slow = shares.pop().unwrap();
        let fast = tokio::spawn(length(shares.pop().unwrap().bytes));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        // A window, and the chunk that waits for room.
        assert_eq!(*taken.lock(), 5);
        drop(slow);
        assert_eq!(fast.await.unwrap().unwrap(), 10 * WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn second_upload_to_a_serial_registry_leaves_the_read() {
        let locations: Arc<BlobLocations> = Arc::default();
        let endpoint: Endpoint = "gcr.io".parse().unwrap();
        let both =
            [(); 2].map(|()| Subscriber::new(endpoint.clone(), Arc::clone(&locations), || 0));
        let (stream, _) = chunks(40);
        let mut shares = broadcast(stream, both.into());
        let second = shares.pop().unwrap();
        let since = Instant::now();
        let first = shares.pop().unwrap();
        assert_eq!(length(first.bytes).await.unwrap(), 10 * WINDOW);
        assert_eq!(since.elapsed(), SERIAL_AFTER + TICK);
        assert!(second.left.is_set());
        assert!(locations.is_serial(&endpoint));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_upload_to_a_registry_that_moves_keeps_the_read() {
        let start = Instant::now();
        let acknowledged = move || start.elapsed().as_secs();
        let both = [(); 2]
            .map(|()| Subscriber::new("gcr.io".parse().unwrap(), Arc::default(), acknowledged));
        let (stream, _) = chunks(40);
        let mut shares = broadcast(stream, both.into());
        let slow = shares.pop().unwrap();
        let fast = tokio::spawn(length(shares.pop().unwrap().bytes));
        sleep(Duration::from_secs(3600)).await;
        assert!(!slow.left.is_set());
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
            vec![subscriber("gcr.io"), subscriber("eu.gcr.io")],
        ) {
            assert_eq!(length(share.bytes).await.unwrap_err().to_string(), "broken");
        }
    }
}
