use crate::ci::output::ResultFiles;
use crate::commands::session::Session;
use crate::oci::reference::{Endpoint, Reference};

/// What `list` is asked to do.
#[derive(Debug)]
pub struct ListRequest {
    /// How it signs in, connects and talks.
    pub session: Session,
    /// What is listed.
    pub listings: Vec<ListTarget>,
    /// How much of it.
    pub options: ListOptions,
    /// What is printed.
    pub format: ListFormat,
    /// Where the results go.
    pub files: ResultFiles,
}

/// How much is listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions {
    /// All that is below as well.
    pub recursive: bool,
    /// The platforms of every image, where it takes reading the image to know them.
    pub platforms: bool,
}

/// One thing that `list` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListTarget {
    /// The images below `path`: a project on `gcr.io`, project and repository on `pkg.dev` or the
    /// project alone, and elsewhere any path or none.
    Images {
        /// The registry.
        endpoint: Endpoint,
        /// The path.
        path: String,
    },
    /// The tags of one image.
    Tags(Reference),
}

impl ListTarget {
    /// The registry that is asked.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Images { endpoint, .. } => endpoint,
            Self::Tags(reference) => &reference.endpoint,
        }
    }

    /// What is listed there.
    pub fn path(&self) -> &str {
        match self {
            Self::Images { path, .. } => path,
            Self::Tags(reference) => &reference.repository,
        }
    }
}

/// What `list` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// A table for people.
    #[default]
    Table,
    /// A JSON array.
    Json,
}
