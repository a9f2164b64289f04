//! Text on its way to a log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        gcr_push::properties::text(text);
    }
});
