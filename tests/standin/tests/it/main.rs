//! The stand-in, driven by raw HTTP and by clients that we did not write.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say why they skip"
)]

mod clients;
mod cloud;
mod deleting;
mod faults;
mod federation;
mod http_client;
mod images;
mod listing;
mod oauth;
mod permissions;
mod plain_registry;
mod proxy;
mod pulling;
mod pushing;
mod refusals;
mod signing_in;
mod upstream;
