//! Integration tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking, and say on stderr why they did nothing"
)]

mod architecture;
mod auth;
mod daemon;
mod doctor;
mod errors;
mod faults;
mod github;
mod gitlab;
mod hostile;
mod list;
mod mirror;
mod odd;
mod other_tools;
mod progress;
mod pull_secret;
mod push;
mod reuse;
mod secrets;
mod setup;
mod shipped;
mod slow_line;
mod source;
mod standard_input;
mod support;
mod tidy;
mod wire;
