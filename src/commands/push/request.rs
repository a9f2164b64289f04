use crate::ci::output::ResultFiles;
use crate::commands::pull_secret::request::PullSecretOptions;
use crate::commands::session::{MissingCredentials, Session};
use crate::image::location::ImageOrigin;
use crate::push::PushOptions;
use crate::push::destinations::Destinations;

/// What `push` is asked to do.
#[derive(Debug)]
pub struct PushRequest {
    /// How it signs in, connects and talks.
    pub session: Session,
    /// The image.
    pub image: ImageOrigin,
    /// Where it goes.
    pub destinations: Destinations,
    /// How it is pushed.
    pub options: PushOptions,
    /// What happens if there is no credential.
    pub missing_credentials: MissingCredentials,
    /// The pull secret. `None` if none is asked for.
    pub pull_secret: Option<PullSecretOptions>,
    /// Where the results go.
    pub files: ResultFiles,
}
