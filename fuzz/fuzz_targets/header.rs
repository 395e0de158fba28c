//! Fuzzes [`ringseal_properties::header`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringseal_properties::header(data));
