//! Whether a blob that is being sent still gets on, and when its registry takes too long to finish it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::oci::blob::ByteStream;

/// How many times `stall_timeout` one body may stand still while others to the same registry do not:
/// on a line that is full, one connection may starve for long.
const STARVED: u32 = 10;

/// The longest time between two looks.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// After what time without an answer the log says that the registry is finishing a blob.
const QUIET: Duration = Duration::from_secs(10);

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct UploadLimits {
    /// How long a body may stand still.
    pub(super) stall: Duration,
    /// How long the registry may take to answer after the last byte.
    pub(super) finish: Duration,
}

/// Why an upload is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stall {
    /// Its body stood still for that long.
    #[error("nothing moved for {} s", .0.as_secs())]
    Body(Duration),
    /// Its answer did not come for that long.
    #[error("the registry did not answer within {} s (`finish_timeout`) after the last byte", .0.as_secs())]
    Answer(Duration),
}

impl From<Stall> for std::io::Error {
    fn from(stall: Stall) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, stall)
    }
}

/// How far the body of one upload is.
#[derive(Debug)]
pub(super) struct UploadProgress {
    size: u64,
    taken: AtomicU64,
    /// True while it is the body that is waited for, and not the registry.
    is_starved: AtomicBool,
}

impl UploadProgress {
    /// Of a body of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            taken: AtomicU64::new(0),
            is_starved: AtomicBool::new(false),
        }
    }

    /// The same body; what is taken of it is counted here and in `host`.
    pub(super) fn watch(
        self: &Arc<Self>,
        mut body: ByteStream,
        host: Arc<AtomicU64>,
    ) -> ByteStream {
        let progress = Arc::clone(self);
        stream::poll_fn(move |context| {
            // Set before the body is asked, so that a wake-up in between is not lost.
            progress.is_starved.store(true, Ordering::Relaxed);
            let waker = Waker::from(Arc::new(BodyWaker {
                progress: Arc::clone(&progress),
                waker: context.waker().clone(),
            }));
            let polled = body.poll_next_unpin(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                progress.is_starved.store(false, Ordering::Relaxed);
            }
            if let Poll::Ready(Some(Ok(piece))) = &polled {
                let length = piece.len() as u64;
                host.fetch_add(length, Ordering::Relaxed);
                progress.taken.fetch_add(length, Ordering::Relaxed);
            }
            polled
        })
        .boxed()
    }

    /// Ends when the upload is to be given up. `host` tells what its registry has taken of all
    /// bodies; `finishing` is called once where the registry takes long to answer.
    pub(super) async fn stalled(
        &self,
        host: impl Fn() -> Taken,
        limits: UploadLimits,
        finishing: impl FnOnce(),
    ) -> Stall {
        let tick = (limits.stall / 8).min(LONGEST_TICK);
        let mut finishing = Some(finishing);
        let (mut own, mut all) = (LastChange::new(), LastChange::new());
        loop {
            tokio::time::sleep(tick).await;
            let own_taken = self.taken.load(Ordering::Relaxed);
            let still = own.look(own_taken);
            if still.is_zero() {
                continue;
            }
            let taken = host();
            let host_still = all.look(taken.handed_over.saturating_sub(taken.unacknowledged));
            if own_taken >= self.size {
                if still >= limits.finish {
                    return Stall::Answer(limits.finish);
                }
                let quiet = QUIET.min(limits.stall);
                if still >= quiet
                    && (taken.unacknowledged == 0 || host_still >= quiet)
                    && let Some(finishing) = finishing.take()
                {
                    finishing();
                }
            } else if self.is_starved.load(Ordering::Relaxed) {
                own.forget();
            } else if still >= limits.stall
                && (host_still >= limits.stall || still >= limits.stall * STARVED)
            {
                return Stall::Body(limits.stall);
            }
        }
    }
}

/// Notices that a body can go on, even where a connection that is full does not ask it again.
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

/// What a registry has taken of all bodies that are sent to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// What its connections have been given.
    pub(super) handed_over: u64,
    /// What of that it has not acknowledged.
    pub(super) unacknowledged: u64,
}

/// Since when a counter stands where it stands.
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

    /// Takes a look; how long the counter has not changed.
    fn look(&mut self, value: u64) -> Duration {
        if self.value.replace(value) != Some(value) {
            self.at = Instant::now();
        }
        self.at.elapsed()
    }

    fn forget(&mut self) {
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

    /// When an upload is given up that takes a byte of its body every so many seconds, `pieces` in
    /// all, while its registry takes a byte of others every `others` seconds.
    async fn given_up(every: u64, pieces: u64, others: u64) -> (Stall, u64) {
        let host = Arc::new(AtomicU64::new(0));
        let progress = Arc::new(UploadProgress::new(SIZE));
        let bytes = stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).boxed();
        let mut body = progress.watch(bytes, Arc::clone(&host));
        tokio::spawn(async move {
            for _ in 0..pieces {
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
        let taken = || Taken {
            handed_over: host.load(Ordering::Relaxed),
            unacknowledged: 0,
        };
        let stall = progress.stalled(taken, LIMITS, || {}).await;
        (stall, start.elapsed().as_secs())
    }

    const NEVER: u64 = 1_000_000;

    /// A connection that is full does not ask its body again, however much there is to send.
    #[tokio::test(start_paused = true)]
    async fn ready_body_does_not_excuse_a_full_connection() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let progress = Arc::new(UploadProgress::new(SIZE));
        let bytes = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
        let mut body = progress.watch(bytes, Arc::default());
        let asked = tokio::time::timeout(Duration::from_millis(1), body.next()).await;
        assert!(asked.is_err());
        sender.send(Ok(Bytes::from_static(b"x"))).unwrap();
        let taken = || Taken {
            handed_over: 0,
            unacknowledged: 0,
        };
        let stall = progress.stalled(taken, LIMITS, || {}).await;
        assert_eq!(stall, Stall::Body(LIMITS.stall));
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_body_is_aborted() {
        let (stall, after) = given_up(50, 3, NEVER).await;
        assert_eq!(stall.to_string(), "nothing moved for 60 s");
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
