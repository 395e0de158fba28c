//! Fuzzes [`ringseal_properties::acceptor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringseal_properties::acceptor(data));
