#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kinesis_blocking::fuzzing::profile_file(input));
