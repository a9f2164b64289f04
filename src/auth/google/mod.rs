//! The credentials of Google: keys, users, federated identities, impersonation and the metadata
//! server.

pub mod disabled_api;
pub mod federation;
pub mod impersonation;
pub mod key;
pub mod metadata;
pub mod quota;
pub mod signer;
pub mod user;
