//! The request of `list`: the paths and images to list, and the options.

use crate::ci::output::ResultFiles;
use crate::commands::session::Session;
use crate::oci::reference::{Endpoint, Reference};

/// The input of `list`.
#[derive(Debug)]
pub struct ListRequest {
    /// Sign-in, network and console.
    pub session: Session,
    /// The targets that are listed.
    pub listings: Vec<ListTarget>,
    /// What is listed of each target.
    pub options: ListOptions,
    /// The format of the output.
    pub format: ListFormat,
    /// The files that the results are written to.
    pub files: ResultFiles,
}

/// What is listed of a target.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions {
    /// True if everything below a path is listed too.
    pub recursive: bool,
    /// True if images are read to determine their platforms.
    pub platforms: bool,
}

/// A target of `list`.
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
    /// The registry of the target.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Images { endpoint, .. } => endpoint,
            Self::Tags(reference) => &reference.endpoint,
        }
    }

    /// The path of the target in its registry.
    pub fn path(&self) -> &str {
        match self {
            Self::Images { path, .. } => path,
            Self::Tags(reference) => &reference.repository,
        }
    }
}

/// The output format of `list`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// A table for people.
    #[default]
    Table,
    /// A JSON array.
    Json,
}
