//!

pub mod challenge;
pub mod scope;
pub mod token;
