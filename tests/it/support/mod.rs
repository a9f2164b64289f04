//! What the tests share.

pub mod images;
