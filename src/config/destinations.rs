//! Where an image goes, as it was asked for.
