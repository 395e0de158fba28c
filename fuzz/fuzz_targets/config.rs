//! Fuzzes [`ringseal_properties::config`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringseal_properties::config(data));
