//! From text to a checked request: the only place that knows variables, and the last that parses.

pub mod adc;
mod advice;
mod apply;
pub mod cli;
mod command;
pub mod console;
mod credentials;
mod daemon;
mod damage;
pub mod defaults;
mod destinations;
mod document;
pub(crate) mod fault;
mod forges;
pub mod github_event;
pub mod help;
mod image;
mod kubernetes;
pub mod kubernetes_names;
mod logins;
mod mirror;
mod network;
mod parse;
mod paths;
pub mod pull_secret;
pub mod setup;
mod targets;
#[cfg(test)]
mod tests;
pub(crate) mod values;
pub mod variables;
pub mod workload_identity;

use crate::ImageOrigin;
use crate::ci::console::Console;
use crate::commands::pull_secret::request::PullSecretRequest;
use crate::commands::setup::request::SetupRequest;
use crate::destinations::Destinations;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::SignIn;
use crate::ci::Ci;
use crate::commands::list::request::ListFormat;
use crate::commands::list::request::ListTarget;
use crate::commands::mirror::MirrorRequest;
use crate::commands::session::MissingCredentials;
use crate::http::Network;
use crate::oci::platform::Platforms;
use crate::oci::reference::Endpoint;
use crate::push::compress::Compression;
use crate::push::selection::Attestations;
use crate::push::tag_policy::ExistingTag;
use crate::push::upload_slots::Concurrency;
use crate::push::verify::Verify;

pub use command::{Command, UnknownCommand};
pub use console::console;
pub use fault::ConfigError;
pub use parse::request;
pub use paths::{Disk, FileSystem};
pub use variables::{VARIABLES, Variable, VariableGroup};

/// What the process was asked to do, complete and free of contradictions: nothing is left to
/// parse, and nothing below reads the environment.
#[derive(Debug)]
pub struct Request {
    /// The command word.
    pub command: Command,
    /// The source, where the command reads one.
    pub image: Option<ImageOrigin>,
    /// Where the image goes.
    pub destinations: Destinations,
    /// What `mirror` brings; none for the other commands.
    pub mirror: Option<MirrorRequest>,
    /// All that may be signed in with.
    pub sign_in: SignIn,
    /// What is done where a Google host has no credential at all.
    pub missing_credentials: MissingCredentials,
    /// Proxies, trusted roots, plain-HTTP hosts and time-outs, for every connection.
    pub network: Network,
    /// How long the whole run may take; none is as long as it needs.
    pub timeout: Option<Duration>,
    /// Which platforms of an index are pushed.
    pub platforms: Platforms,
    /// What is done to BuildKit's attestations, where it is said.
    pub attestations: Option<Attestations>,
    /// Whether what refers to the image goes along with it.
    pub referrers: bool,
    /// Whether it is only told what would be done.
    pub dry_run: bool,
    /// What is done to a tag that is there with another digest.
    pub existing_tag: ExistingTag,
    /// How uncompressed layers are compressed.
    pub compression: Compression,
    /// Whether layers are taken over by their diff IDs from the destination's earlier images.
    pub layer_reuse: bool,
    /// How the result is checked.
    pub verify: Verify,
    /// What `list` shows; empty for the other commands.
    pub listings: Vec<ListTarget>,
    /// Whether `list` shows all that is below as well.
    pub list_recursive: bool,
    /// Whether `list` reads what it takes to show the platforms of every image.
    pub list_platforms: bool,
    /// What `list` prints.
    pub list_format: ListFormat,
    /// The pull secret, when one is asked for.
    pub pull_secret: Option<PullSecretRequest>,
    /// The Google side, where the command is `setup`.
    pub setup: Option<SetupRequest>,
    /// Blobs in flight at once.
    pub concurrency: Concurrency,
    /// Where the report goes as JSON.
    pub report_file: Option<PathBuf>,
    /// Where the digest of the first destination goes.
    pub digest_file: Option<PathBuf>,
    /// Where the results go as `NAME=value` lines, for GitLab's dotenv reports.
    pub dotenv_file: Option<PathBuf>,
    /// GitHub's file for the step's outputs.
    pub github_output: Option<PathBuf>,
    /// Cloud Build's file for the step's results.
    pub builder_output: Option<PathBuf>,
    /// In the container of a GitHub action, what its runner calls the temporary directory that it
    /// shares with us.
    pub temporary_directory_on_host: Option<PathBuf>,
    /// Where what has to be spooled is spooled.
    pub temporary_directory: PathBuf,
    /// How the process talks, and to whom.
    pub console: Console,
    /// The CI that runs us, as far as it changes what may be printed where.
    pub ci: Option<Ci>,
}
