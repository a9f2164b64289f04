//! Code that the tests share.

pub mod cluster;
pub mod containerd;
pub mod curl;
pub mod docker_registry;
pub mod fake_engine;
pub mod gcloud;
pub mod gitlab;
pub mod google;
pub mod images;
pub mod run;
pub mod runner;
pub mod secret_leaks;
pub mod skopeo;
