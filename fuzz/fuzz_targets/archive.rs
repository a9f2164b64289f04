//! Archives of any kind, compressed or not.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gcr_push::properties::archive(data);
});
