/// What is done where a Google host has no credential at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingCredentials {
    /// The run fails.
    #[default]
    Fail,
    /// The image is checked, nothing is pushed, and the run succeeds.
    Skip,
}
