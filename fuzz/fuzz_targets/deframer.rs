//! Fuzzes [`ringseal_properties::deframer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringseal_properties::deframer(data));
