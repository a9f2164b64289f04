//! The bounds that hold when nothing is said.

use crate::push::upload_slots::Concurrency;

/// Blobs in flight at once.
pub const CONCURRENCY: Concurrency = Concurrency { large: 8, all: 24 };
/// The registry that short tags go to.
pub const REGISTRY: &str = "gcr.io";
/// libdeflate's level for gzip: the fastest that sends no more than skopeo does (`docs/speed.md`).
pub const GZIP_LEVEL: u8 = 2;
/// zstd's own default.
pub const ZSTD_LEVEL: u8 = 3;
