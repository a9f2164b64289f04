//!

pub mod header;
pub mod index;
