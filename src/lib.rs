//! gcr-push: a built container image into Google's registries, from any CI, with no Docker daemon.

pub mod auth;
pub mod cli;
pub mod config;
pub mod digest;
pub mod error;
pub mod manifest;
pub mod network;
pub mod pull_secret;
pub mod reference;
pub mod secret;
pub mod source;
