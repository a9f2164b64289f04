//! The environment, a line `NAME=VALUE` a variable.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gcr_push::properties::config(data);
});
