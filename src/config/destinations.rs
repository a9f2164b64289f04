//! Where an image goes, as it was asked for.

use crate::oci::reference::{Endpoint, Parts, Reference, ReferenceError};
