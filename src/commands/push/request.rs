//! The request of `push`: the image, its destinations and the options.

use crate::ci::output::ResultFiles;
use crate::commands::pull_secret::request::PullSecretOptions;
use crate::commands::session::{MissingCredentials, Session};
use crate::image::location::ImageOrigin;
use crate::push::PushOptions;
use crate::push::targets::Destinations;

/// The input of `push`.
#[derive(Debug)]
pub struct PushRequest {
    /// Sign-in, network and console.
    pub session: Session,
    /// The image that is pushed.
    pub image: ImageOrigin,
    /// The destinations of the image.
    pub destinations: Destinations,
    /// The options of the push.
    pub options: PushOptions,
    /// The behaviour if there is no credential.
    pub missing_credentials: MissingCredentials,
    /// The pull secret. `None` if none is requested.
    pub pull_secret: Option<PullSecretOptions>,
    /// The files that the results are written to.
    pub files: ResultFiles,
}
