//! Reads tar files in place.

pub mod header;
pub mod index;
