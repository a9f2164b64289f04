//! The commands, one folder for each, with its request, its error and its report; and what they
//! share.

pub mod doctor;
pub mod interrupt;
pub mod list;
pub mod mirror;
mod outputs;
pub mod pull_secret;
pub mod push;
pub mod session;
pub mod setup;
mod summary;
