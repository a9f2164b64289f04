//! Default values of variables.

use crate::push::upload_slots::Concurrency;

/// The number of concurrent blob uploads: of large blobs, and of all.
pub const CONCURRENCY: Concurrency = Concurrency { large: 8, all: 24 };
/// The registry for tags without a registry.
pub const REGISTRY: &str = "gcr.io";
/// The level of libdeflate for gzip: the fastest whose output is no larger than skopeo's
/// (`docs/speed.md`).
pub const GZIP_LEVEL: u8 = 2;
/// The level for zstd, which is zstd's own default.
pub const ZSTD_LEVEL: u8 = 3;
