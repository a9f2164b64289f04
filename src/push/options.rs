//! The options of a push, and the settings that the images of a run share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::compress::Compression;
use super::preflight::Preflight;
use super::selection::Attestations;
use super::tag_policy::ExistingTag;
use super::upload_slots::Concurrency;
use super::verify::Verify;
use super::{TagLog, UploadSlots, open_files};
use crate::ci::progress::Progress;
use crate::http::Network;
use crate::oci::platform::Platforms;

/// The options that a user sets for a push.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Which platforms of an index are pushed.
    pub platforms: Platforms,
    /// Whether BuildKit's attestations are pushed. `None` keeps them, unless exactly one platform
    /// is requested.
    pub attestations: Option<Attestations>,
    /// Whether the referrers of the image are pushed too.
    pub referrers: bool,
    /// Whether the push only reports what it would do.
    pub dry_run: bool,
    /// What to do with a tag that points at another digest.
    pub existing_tag: ExistingTag,
    /// How uncompressed layers are compressed.
    pub compression: Compression,
    /// Whether to reuse layers of the destination's earlier images that have the same diff IDs.
    pub layer_reuse: bool,
    /// How the pushed image is verified.
    pub verify: Verify,
    /// How many blobs are transferred at once.
    pub concurrency: Concurrency,
}

/// The settings that all images of a run share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the user asked for, without verification in a dry run.
    pub options: PushOptions,
    /// Limits how many blobs of all images of the run are transferred at once.
    pub slots: Arc<UploadSlots>,
    /// How long nothing may move before the best-effort destinations are given up.
    pub best_effort_timeout: Duration,
    /// The folder of the temporary files with compressed layers.
    pub temporary_directory: PathBuf,
    /// Counts the transferred bytes for the progress display.
    pub progress: Progress,
    /// The state of every tag of the run.
    pub tag_log: TagLog,
    /// Checks the write permission once per repository.
    pub preflight: Preflight,
}

impl Settings {
    /// Creates the settings of a run from its options.
    pub fn new(
        options: &PushOptions,
        network: &Network,
        temporary_directory: PathBuf,
        tag_log: TagLog,
    ) -> Self {
        let progress = Progress::default();
        let concurrency = open_files::bounded(options.concurrency);
        Self {
            options: PushOptions {
                verify: if options.dry_run {
                    Verify::Off
                } else {
                    options.verify
                },
                ..options.clone()
            },
            slots: Arc::new(UploadSlots::new(concurrency, progress.clone())),
            // A transfer that stands still is tried again before.
            best_effort_timeout: network.retry_timeout.max(network.stall_timeout),
            temporary_directory,
            progress,
            tag_log,
            preflight: Preflight::default(),
        }
    }
}
