//! Types of the OCI image and distribution specifications, without I/O.

pub mod blob;
pub mod config;
pub mod digest;
pub mod json;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod referrers;
