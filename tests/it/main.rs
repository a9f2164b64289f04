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
mod config;
mod connections;
mod docker_engine;
mod doctor;
mod errors;
mod faults;
mod github;
mod gitlab;
mod hostile;
mod image;
mod list;
mod mirror;
mod other_tools;
mod progress;
mod pull_secret;
mod push;
mod reuse;
mod secrets;
mod setup;
mod setup_action;
mod shipped_files;
mod slow_line;
mod standard_input;
mod support;
mod tidy;
mod unusual_images;
