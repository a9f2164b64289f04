//! Authentication at a registry, by the token specification of the distribution project.

pub mod challenge;
pub mod scope;
pub mod token;
