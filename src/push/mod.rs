//! Pushes one image to its destinations: blobs, then manifests, then indexes, then tags.
//!
//! A push is one way for every source: probe the destinations, prepare the image, upload each blob as
//! soon as it is ready, publish the manifests, verify ([`PushJob::run`]).
//!
//! A manifest is put only after all blobs and child manifests that it names are at the destination.
//! An interrupted run therefore leaves no tag on an incomplete image.

pub mod blob_locations;
mod blobs;
pub mod broadcast;
pub mod compress;
pub mod destination;
mod error;
mod job;
mod line;
pub mod manifest_builder;
mod notes;
pub mod open_files;
mod options;
pub mod preflight;
pub mod prepare;
pub mod probe;
pub mod publish;
pub mod referrers_tag;
pub mod result;
mod reuse;
pub mod selection;
pub mod tag_log;
pub mod tag_policy;
pub mod targets;
pub mod upload;
pub mod upload_slots;
pub mod verify;

pub use blob_locations::BlobLocations;
pub use destination::Destination;
pub use error::PushError;
pub use job::{PushJob, PushOutcome};
pub use options::{PushOptions, Settings};
pub use result::{Pushed, PushedTag};
pub use selection::{is_unfiltered, predict_index, resulting_digest};
pub use tag_log::{TagLog, TagState};
pub use upload_slots::UploadSlots;
