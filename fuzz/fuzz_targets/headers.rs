//! Headers of a registry: challenges, links, ranges, waits.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gcr_push::registry::properties::headers(data);
});
