//! What every command starts with: how it signs in, connects and talks.

use std::path::PathBuf;

use crate::auth::{AuthError, Credentials, SignIn};
use crate::ci::console::Console;
use crate::http::Network;

/// What every command needs to know.
#[derive(Clone, Debug)]
pub struct Session {
    /// Everything that may be signed in with.
    pub sign_in: SignIn,
    /// Proxies, trusted roots, plain-HTTP hosts and time-outs, for every connection.
    pub network: Network,
    /// How the process talks, and to whom.
    pub console: Console,
    /// Where what has to be spooled is spooled.
    pub temporary_directory: PathBuf,
}

impl Session {
    /// The credentials of the run.
    ///
    /// # Errors
    ///
    /// When what was given makes no credential.
    pub async fn credentials(&self) -> Result<Credentials, AuthError> {
        Credentials::new(self.sign_in.clone(), &self.network).await
    }
}

/// What happens if a Google host has no credential at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingCredentials {
    /// The run fails.
    #[default]
    Fail,
    /// The image is checked, nothing is pushed, and the run succeeds.
    Skip,
}

/// Why nothing was done, in the words of a notice.
pub(super) const NO_CREDENTIAL: &str = "there is no credential here, as in a pull request of a fork, \
                                        and `missing_credentials` is `skip`";
