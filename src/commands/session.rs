//! The session that every command starts with: sign-in, network and console.

use std::path::PathBuf;

use crate::auth::{AuthError, Credentials, SignIn};
use crate::ci::console::Console;
use crate::http::Network;

/// The settings that every command needs.
#[derive(Clone, Debug)]
pub struct Session {
    /// The configured credentials.
    pub sign_in: SignIn,
    /// Proxies, trusted roots, plain-HTTP hosts and time-outs, for every connection.
    pub network: Network,
    /// The log format, and the CI that reads the output.
    pub console: Console,
    /// The directory for temporary files.
    pub temporary_directory: PathBuf,
}

impl Session {
    /// The credentials of the run.
    ///
    /// # Errors
    ///
    /// If the configured credentials are invalid.
    pub async fn credentials(&self) -> Result<Credentials, AuthError> {
        Credentials::new(self.sign_in.clone(), &self.network).await
    }
}

/// The behaviour if a Google host has no credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingCredentials {
    /// The run fails.
    #[default]
    Fail,
    /// The image is checked, nothing is pushed, and the run succeeds.
    Skip,
}

/// The reason in the notice of a skipped run.
pub(super) const NO_CREDENTIAL: &str = "there is no credential, as in a pull request from a fork, \
                                        and `missing_credentials` is `skip`";
