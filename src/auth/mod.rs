//! Signing in: which credential an endpoint is shown, and where it comes from.

pub mod docker_config;
pub mod google;
