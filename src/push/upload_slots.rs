//! Limits how many blobs of a run are uploaded at once, over all images.
//!
//! This also bounds the memory: an upload buffers a window of bytes for each destination, whatever
//! the number and size of the images.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::blobs::LARGE;
use super::line::{Line, LineShare};
use crate::ci::progress::Progress;

/// The upload slots of a run.
#[derive(Debug)]
pub struct UploadSlots {
    concurrency: Concurrency,
    large: Semaphore,
    all: Semaphore,
    line: Line,
}

/// A slot for one upload. Dropping it frees the slot.
pub(super) struct UploadSlot<'a> {
    _line: LineShare<'a>,
    _large: Option<SemaphorePermit<'a>>,
    _any: Option<SemaphorePermit<'a>>,
}

impl UploadSlots {
    /// Creates the slots for this concurrency. Fewer are free if `progress` shows that the
    /// bandwidth is too low for all of them.
    pub fn new(concurrency: Concurrency, progress: Progress) -> Self {
        Self {
            line: Line::new(progress),
            concurrency,
            large: Semaphore::new(concurrency.large),
            all: Semaphore::new(concurrency.all),
        }
    }

    /// Returns the number of slots for all blobs.
    pub(super) fn all(&self) -> usize {
        self.concurrency.all
    }

    /// Waits for a slot for a blob of `size` bytes.
    pub(super) async fn acquire(&self, size: u64) -> UploadSlot<'_> {
        // The semaphores are never closed, so `acquire` does not fail.
        let large = if size >= LARGE {
            self.large.acquire().await.ok()
        } else {
            None
        };
        let any = self.all.acquire().await.ok();
        UploadSlot {
            _line: self.line.share(size).await,
            _large: large,
            _any: any,
        }
    }
}

/// How many blobs are transferred at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// How many blobs of at least 1 MiB, whose transfer time depends on their size.
    pub large: usize,
    /// How many blobs in total. The transfer time of a small blob depends on the response time of
    /// the registry, not on the other transfers.
    pub all: usize,
}

impl Concurrency {
    /// Lowers the concurrency to what `files` open files allow: each transfer has its source, its
    /// connection and those of other destinations, and some other files are open.
    #[must_use]
    pub fn within(self, files: usize) -> Self {
        let most = (files.saturating_sub(24) / 4).max(1);
        Self {
            large: self.large.min(most),
            all: self.all.min(most),
        }
    }
}
