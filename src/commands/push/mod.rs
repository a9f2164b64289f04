//!

pub mod json;
pub mod report;
pub mod results;
pub mod table;
