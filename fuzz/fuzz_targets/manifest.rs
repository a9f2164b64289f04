//! Manifests and indexes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gcr_push::properties::manifest(data);
});
