//! Parses the command line and the environment into a checked [`Request`].
//!
//! No other module reads environment variables.

mod adc;
mod advice;
mod apply;
pub mod cli;
mod command;
mod console;
mod credentials;
mod daemon;
mod damage;
pub mod defaults;
mod document;
mod environment;
mod errors;
mod forges;
mod github_event;
pub mod help;
mod image;
mod input;
mod kubernetes;
mod kubernetes_names;
mod list;
mod logins;
mod mirror;
mod network;
mod paths;
mod pull_secret;
mod push;
mod request;
mod setup;
mod targets;
mod values;
mod variables;
mod workload_identity;

use std::time::Duration;

use crate::commands::doctor::DoctorRequest;
use crate::commands::list::ListRequest;
use crate::commands::mirror::MirrorRequest;
use crate::commands::pull_secret::request::PullSecretRequest;
use crate::commands::push::PushRequest;
use crate::commands::setup::SetupRequest;

pub use cli::CommandLine;
pub use command::{CommandName, UnknownCommand};
pub use console::{console, wants_usage};
pub use errors::ConfigError;
pub use paths::{Disk, FileSystem};
pub use request::request;
pub use variables::{Form, VARIABLES, Variable, VariableGroup};

/// The request of a run, complete and without contradictions. Nothing is left to parse, and no
/// other module reads the environment.
#[derive(Debug)]
pub struct Request {
    /// The command, with its own request.
    pub command: Command,
    /// The time limit for the whole run. `None` if there is no limit.
    pub timeout: Option<Duration>,
}

/// A command with its request.
#[derive(Debug)]
pub enum Command {
    /// Push one image.
    Push(Box<PushRequest>),
    /// Copy the images that a mirror file lists.
    Mirror(Box<MirrorRequest>),
    /// List a project's images or an image's tags.
    List(Box<ListRequest>),
    /// Write or apply the pull secret.
    PullSecret(Box<PullSecretRequest>),
    /// Set up APIs, repositories, accounts and roles in Google Cloud.
    Setup(Box<SetupRequest>),
    /// Run every check that is possible before a push.
    Doctor(Box<DoctorRequest>),
}
