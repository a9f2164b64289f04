//! What the program does: one folder a command, each with its story, its error and its report.

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
