//! Fuzzes [`ringseal_properties::dialer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringseal_properties::dialer(data));
