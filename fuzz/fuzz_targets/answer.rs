#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackbus::fuzzing::answer(data));
