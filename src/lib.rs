//! gcr-push: a built container image into Google's registries, from any CI, with no Docker daemon.
//!
//! Every folder is a room, and a room imports only rooms of a lower rank
//! (`tests/it/architecture.rs`). From `main` to the wire: `main` → [`commands::push`] → [`push`] →
//! [`registry::Registry`].
//!
//! | rank | room | what it has |
//! |---|---|---|
//! | 0 | [`diagnostics`] | exit codes, hints, the text of an error, what that text may never hold |
//! | 1 | [`oci`] | the specifications' documents and names; no I/O |
//! | 2 | [`ci`] | what terminals and CIs read and write; knows no command |
//! | 3 | [`http`] | the one way out: clients, proxies, TLS, bounds, rate limits, retries, pages |
//! | 4 | [`auth`] | credentials, and how Google exchanges them for tokens |
//! | 5 | [`registry`] | the distribution API of one host |
//! | 5 | [`google`] | Google's REST APIs |
//! | 5 | [`kubernetes`] | a cluster's Secrets and service accounts, and what it runs |
//! | 6 | [`image`] | where an image is read from, one file a transport |
//! | 7 | [`push`] | destinations, probe, upload, publish, verify |
//! | 8 | [`commands`] | what the program does, one folder a command |
//! | 9 | [`config`] | from text to a checked request |

pub mod auth;
pub mod ci;
pub mod commands;
pub mod config;
pub mod diagnostics;
mod error;
pub mod google;
pub mod http;
pub mod image;
pub mod kubernetes;
pub mod oci;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod push;
pub mod registry;

use std::io::Write;

use commands::interrupt;
use config::{Command, Request};
use diagnostics::Failure;
pub use error::Error;

/// Runs a command. `stdout` gets what was asked to be printed; everything else goes to the log.
///
/// # Errors
///
/// Everything that went wrong, or what had become of the tags when a signal or `timeout` ended it.
pub fn run(
    request: Request,
    mut stdout: impl Write + Send + 'static,
) -> Result<(), Failure<Error>> {
    let Request { command, timeout } = request;
    interrupt::run(timeout, async move |progress| {
        let (out, tag_log, state) = (&mut stdout, &progress.tag_log, &progress.state);
        match &command {
            Command::Push(asked) => failed(commands::push::run(asked, tag_log, out).await),
            Command::Mirror(asked) => failed(commands::mirror::run(asked, tag_log, out).await),
            Command::List(asked) => failed(commands::list::run(asked, state, out).await),
            Command::PullSecret(asked) => {
                failed(commands::pull_secret::run(asked, state, out).await)
            }
            Command::Setup(asked) => failed(commands::setup::run(asked, state, out).await),
            Command::Doctor(asked) => failed(commands::doctor::run(asked, state, out).await),
        }
    })
}

fn failed<E: diagnostics::Diagnostic>(done: Result<(), Failure<E>>) -> Result<(), Failure<Error>>
where
    Error: From<E>,
{
    done.map_err(|failure| failure.map(Error::from))
}
