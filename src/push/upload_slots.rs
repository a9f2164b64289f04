//! Whose turn it is to move: what bounds the blobs that are in flight, whichever images they are of.
//!
//! With it goes the memory of a run. A blob in flight holds a window of its bytes for each of its
//! destinations, so that neither the number of images nor their size counts.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::blobs::LARGE;
use super::line::{Line, LineShare};
use crate::ci::progress::Progress;

/// The turns of a run.
#[derive(Debug)]
pub struct UploadSlots {
    concurrency: Concurrency,
    large: Semaphore,
    all: Semaphore,
    line: Line,
}

/// A turn, until it is dropped.
pub(super) struct UploadSlot<'a> {
    _line: LineShare<'a>,
    _large: Option<SemaphorePermit<'a>>,
    _any: Option<SemaphorePermit<'a>>,
}

impl UploadSlots {
    /// As many as may be in flight at once, and fewer where `progress` shows that the line carries
    /// fewer.
    pub fn new(concurrency: Concurrency, progress: Progress) -> Self {
        Self {
            line: Line::new(progress),
            concurrency,
            large: Semaphore::new(concurrency.large),
            all: Semaphore::new(concurrency.all),
        }
    }

    /// How many there are.
    pub(super) fn all(&self) -> usize {
        self.concurrency.all
    }

    /// How many there are of large blobs.
    pub(super) fn large(&self) -> usize {
        self.concurrency.large
    }

    /// Waits for the turn of a blob of `size` bytes.
    pub(super) async fn acquire(&self, size: u64) -> UploadSlot<'_> {
        // A semaphore that is never closed always gives.
        let large = match size >= LARGE {
            true => self.large.acquire().await.ok(),
            false => None,
        };
        let any = self.all.acquire().await.ok();
        UploadSlot {
            _line: self.line.share(size).await,
            _large: large,
            _any: any,
        }
    }
}

/// How many blobs are in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Of those that take as long as their bytes take.
    pub large: usize,
    /// Of all together. A small blob takes as long as the registry needs to answer, whatever else
    /// is under way.
    pub all: usize,
}

impl Concurrency {
    /// What fits where this process may open `files` files: a blob in flight has its source, its
    /// connection and those of other destinations, and some are open beside.
    #[must_use]
    pub fn within(self, files: usize) -> Self {
        let most = (files.saturating_sub(24) / 4).max(1);
        Self {
            large: self.large.min(most),
            all: self.all.min(most),
        }
    }
}
