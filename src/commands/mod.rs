//!

pub mod doctor;
pub mod interrupt;
pub mod list;
pub mod mirror;
pub mod pull_secret;
pub mod push;
pub mod session;
pub mod setup;
pub mod unsent;
