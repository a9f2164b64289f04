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

use std::time::Duration;

use crate::commands::doctor::DoctorRequest;
use crate::commands::list::ListRequest;
use crate::commands::mirror::MirrorRequest;
use crate::commands::pull_secret::request::PullSecretRequest;
use crate::commands::push::PushRequest;
use crate::commands::setup::SetupRequest;

pub use command::{CommandName, UnknownCommand};
pub use console::console;
pub use fault::ConfigError;
pub use parse::request;
pub use paths::{Disk, FileSystem};
pub use variables::{VARIABLES, Variable, VariableGroup};

/// What the process is asked to do, complete and free of contradictions: nothing is left to parse,
/// and nothing below reads the environment.
#[derive(Debug)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// How long the whole run may take. `None` if there is no limit.
    pub timeout: Option<Duration>,
}

/// A command and all that it needs.
#[derive(Debug)]
pub enum Command {
    /// Push one image.
    Push(Box<PushRequest>),
    /// Push many images, by a file.
    Mirror(Box<MirrorRequest>),
    /// List a project's images or an image's tags.
    List(Box<ListRequest>),
    /// Write the pull secret.
    PullSecret(Box<PullSecretRequest>),
    /// Set up the Google side.
    Setup(Box<SetupRequest>),
    /// Check all that can be checked before a push.
    Doctor(Box<DoctorRequest>),
}
