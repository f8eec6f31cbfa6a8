#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackbus_c::fuzzing::c_arguments(data));
