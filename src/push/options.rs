//! How an image is pushed: what a user asked for, and what the images of a run share.

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
use crate::oci::platform::Platforms;

/// How an image is pushed, as a user asks for it.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Which platforms of an index are pushed.
    pub platforms: Platforms,
    /// What happens to BuildKit's attestations. `None` keeps them, but for an image of one platform
    /// that was asked for by name.
    pub attestations: Option<Attestations>,
    /// Whether the image's referrers are pushed with it.
    pub referrers: bool,
    /// Whether it is only found out what would be done.
    pub dry_run: bool,
    /// What happens to a tag that points at another digest.
    pub existing_tag: ExistingTag,
    /// How uncompressed layers are compressed.
    pub compression: Compression,
    /// Whether layers of the destination's earlier images are reused by their diff IDs.
    pub layer_reuse: bool,
    /// How the result is checked.
    pub verify: Verify,
    /// Blobs in flight at once.
    pub concurrency: Concurrency,
}

/// How the images of a run are pushed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As in [`PushOptions`].
    pub platforms: Platforms,
    /// As in [`PushOptions`].
    pub attestations: Option<Attestations>,
    /// As in [`PushOptions`].
    pub referrers: bool,
    /// As in [`PushOptions`].
    pub dry_run: bool,
    /// As in [`PushOptions`].
    pub existing_tag: ExistingTag,
    /// As in [`PushOptions`].
    pub compression: Compression,
    /// As in [`PushOptions`].
    pub layer_reuse: bool,
    /// As in [`PushOptions`]; off in a dry run.
    pub verify: Verify,
    /// Blobs in flight at once, of all images of a run together.
    pub slots: Arc<UploadSlots>,
    /// How long a best-effort destination may stand still once the required ones are done.
    pub best_effort_timeout: Duration,
    /// Where compressed layers are spooled.
    pub temporary_directory: PathBuf,
    /// Counts the bytes for a progress display.
    pub progress: Progress,
    /// What has become of every tag.
    pub tag_log: TagLog,
    /// The repositories that were asked already whether they may be written to.
    pub preflight: Preflight,
}

impl Settings {
    /// The settings of a run with these options.
    pub fn new(
        options: &PushOptions,
        best_effort_timeout: Duration,
        temporary_directory: PathBuf,
        tag_log: TagLog,
    ) -> Self {
        let progress = Progress::default();
        let concurrency = open_files::bounded(options.concurrency);
        Self {
            platforms: options.platforms.clone(),
            attestations: options.attestations,
            referrers: options.referrers,
            dry_run: options.dry_run,
            existing_tag: options.existing_tag,
            compression: options.compression,
            layer_reuse: options.layer_reuse,
            verify: if options.dry_run {
                Verify::Off
            } else {
                options.verify
            },
            slots: Arc::new(UploadSlots::new(concurrency, progress.clone())),
            best_effort_timeout,
            temporary_directory,
            progress,
            tag_log,
            preflight: Preflight::default(),
        }
    }
}
