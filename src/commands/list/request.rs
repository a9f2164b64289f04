use crate::oci::reference::Endpoint;
use crate::oci::reference::Reference;

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
