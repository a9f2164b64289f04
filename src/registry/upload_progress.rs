//! Detects whether an upload makes progress, and whether the registry takes too long to answer
//! after its last byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::oci::blob::ByteStream;

/// How many times `stall_timeout` one body may make no progress while others to the same registry
/// do. On a saturated line one connection may starve for long.
const STARVATION_FACTOR: u32 = 10;

/// The maximum interval between two checks.
const MAX_TICK: Duration = Duration::from_secs(1);

/// After this time without a response the log says that the registry is finishing a blob.
const FINISHING_AFTER: Duration = Duration::from_secs(10);

/// The time limits of an upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct UploadLimits {
    /// How long a body may make no progress.
    pub(super) stall: Duration,
    /// How long the registry may take to answer after the last byte.
    pub(super) finish: Duration,
}

/// Why an upload is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stall {
    /// The body made no progress for that long.
    #[error("no data was transferred for {} s", .0.as_secs())]
    Body(Duration),
    /// There was no response for that long.
    #[error("the registry did not answer within {} s (`finish_timeout`) after the last byte", .0.as_secs())]
    Answer(Duration),
}

impl From<Stall> for std::io::Error {
    fn from(stall: Stall) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, stall)
    }
}

/// The progress of the body of one upload.
#[derive(Debug)]
pub(super) struct UploadProgress {
    size: u64,
    taken: AtomicU64,
    /// True while the upload waits for the body and not for the registry.
    is_starved: AtomicBool,
}

impl UploadProgress {
    /// Creates the progress of a body of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            taken: AtomicU64::new(0),
            is_starved: AtomicBool::new(false),
        }
    }

    /// Wraps the body, so that bytes that are read from it are counted here and in `host`.
    pub(super) fn watch(
        self: &Arc<Self>,
        mut body: ByteStream,
        host: Arc<AtomicU64>,
    ) -> ByteStream {
        let progress = Arc::clone(self);
        stream::poll_fn(move |context| {
            // Set before the body is polled, so that a wake-up in between is not lost.
            progress.is_starved.store(true, Ordering::Relaxed);
            let waker = Waker::from(Arc::new(BodyWaker {
                progress: Arc::clone(&progress),
                waker: context.waker().clone(),
            }));
            let polled = body.poll_next_unpin(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                progress.is_starved.store(false, Ordering::Relaxed);
            }
            if let Poll::Ready(Some(Ok(chunk))) = &polled {
                let length = chunk.len() as u64;
                host.fetch_add(length, Ordering::Relaxed);
                progress.taken.fetch_add(length, Ordering::Relaxed);
            }
            polled
        })
        .boxed()
    }

    /// Resolves when the upload must be given up. `host` returns the progress of all uploads to the
    /// registry. `finishing` is called once if the registry takes long to answer.
    pub(super) async fn stalled(
        &self,
        host: impl Fn() -> HostProgress,
        limits: UploadLimits,
        finishing: impl FnOnce(),
    ) -> Stall {
        let tick = (limits.stall / 8).min(MAX_TICK);
        let mut finishing = Some(finishing);
        let (mut own, mut all) = (LastChange::new(), LastChange::new());
        loop {
            tokio::time::sleep(tick).await;
            let own_taken = self.taken.load(Ordering::Relaxed);
            let still = own.observe(own_taken);
            if still.is_zero() {
                continue;
            }
            let taken = host();
            let host_still = all.observe(taken.handed_over.saturating_sub(taken.unacknowledged));
            if own_taken >= self.size {
                if still >= limits.finish {
                    return Stall::Answer(limits.finish);
                }
                let quiet = FINISHING_AFTER.min(limits.stall);
                if still >= quiet
                    && (taken.unacknowledged == 0 || host_still >= quiet)
                    && let Some(finishing) = finishing.take()
                {
                    finishing();
                }
            } else if self.is_starved.load(Ordering::Relaxed) {
                own.restart();
            } else if still >= limits.stall
                && (host_still >= limits.stall || still >= limits.stall * STARVATION_FACTOR)
            {
                return Stall::Body(limits.stall);
            }
        }
    }
}

/// Records that the body has data again, even if a saturated connection does not poll it.
struct BodyWaker {
    progress: Arc<UploadProgress>,
    waker: Waker,
}

impl Wake for BodyWaker {
    fn wake(self: Arc<Self>) {
        self.progress.is_starved.store(false, Ordering::Relaxed);
        self.waker.wake_by_ref();
    }
}

/// The progress of all uploads to a registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostProgress {
    /// The bytes that were passed to its connections.
    pub(super) handed_over: u64,
    /// The bytes of those that it has not acknowledged.
    pub(super) unacknowledged: u64,
}

/// The last change of a counter.
struct LastChange {
    value: Option<u64>,
    at: Instant,
}

impl LastChange {
    fn new() -> Self {
        Self {
            value: None,
            at: Instant::now(),
        }
    }

    /// Reads the counter, and returns how long it has not changed.
    fn observe(&mut self, value: u64) -> Duration {
        if self.value.replace(value) != Some(value) {
            self.at = Instant::now();
        }
        self.at.elapsed()
    }

    fn restart(&mut self) {
        self.at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const LIMITS: UploadLimits = UploadLimits {
        stall: Duration::from_secs(60),
        finish: Duration::from_secs(600),
    };

    const SIZE: u64 = 10;

    /// Returns when an upload is given up that sends a byte every `every` seconds, `bytes` in all,
    /// while other uploads to the registry send a byte every `others` seconds.
    async fn given_up(every: u64, bytes: u64, others: u64) -> (Stall, u64) {
        let host = Arc::new(AtomicU64::new(0));
        let progress = Arc::new(UploadProgress::new(SIZE));
        let content = stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).boxed();
        let mut body = progress.watch(content, Arc::clone(&host));
        tokio::spawn(async move {
            for _ in 0..bytes {
                body.next().await;
                tokio::time::sleep(Duration::from_secs(every)).await;
            }
            std::future::pending::<()>().await;
        });
        let counter = Arc::clone(&host);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(others)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        let taken = || HostProgress {
            handed_over: host.load(Ordering::Relaxed),
            unacknowledged: 0,
        };
        let stall = progress.stalled(taken, LIMITS, || {}).await;
        (stall, start.elapsed().as_secs())
    }

    const NEVER: u64 = 1_000_000;

    /// A saturated connection does not poll its body again, even if the body has data.
    #[tokio::test(start_paused = true)]
    async fn ready_body_does_not_excuse_a_full_connection() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let progress = Arc::new(UploadProgress::new(SIZE));
        let bytes = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
        let mut body = progress.watch(bytes, Arc::default());
        let asked = tokio::time::timeout(Duration::from_millis(1), body.next()).await;
        assert!(asked.is_err());
        sender.send(Ok(Bytes::from_static(b"x"))).unwrap();
        let taken = || HostProgress {
            handed_over: 0,
            unacknowledged: 0,
        };
        let stall = progress.stalled(taken, LIMITS, || {}).await;
        assert_eq!(stall, Stall::Body(LIMITS.stall));
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_body_is_aborted() {
        let (stall, after) = given_up(50, 3, NEVER).await;
        assert_eq!(stall.to_string(), "no data was transferred for 60 s");
        assert!((160..165).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_body_gets_ten_times_as_long_while_others_move() {
        let (stall, after) = given_up(50, 3, 30).await;
        assert_eq!(stall, Stall::Body(LIMITS.stall));
        assert!((700..705).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn registry_has_ten_minutes_after_the_last_byte() {
        let (stall, after) = given_up(1, SIZE, NEVER).await;
        assert_eq!(
            stall.to_string(),
            "the registry did not answer within 600 s (`finish_timeout`) after the last byte"
        );
        assert!((609..615).contains(&after), "{after}");
    }
}
