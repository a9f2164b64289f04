//! The bounds that hold when nothing is said.

use std::time::Duration;

use super::Concurrency;

/// Blobs in flight at once.
pub const CONCURRENCY: Concurrency = Concurrency { large: 8, all: 24 };
/// The registry that short tags go to.
pub const REGISTRY: &str = "gcr.io";
/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a body may stand still.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a registry may take to answer after the last byte of a blob: on an object store it may
/// copy a large one first.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long what failed for now is tried again: some times the minute that Google counts a
/// quota over.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// libdeflate's level for gzip: the fastest that sends no more than skopeo does (`docs/speed.md`).
pub const GZIP_LEVEL: u8 = 2;
/// zstd's own default.
pub const ZSTD_LEVEL: u8 = 3;
