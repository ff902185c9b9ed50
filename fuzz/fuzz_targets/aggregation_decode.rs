#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let bytes_held = |run: &mut dyn FnMut()| allocation_counter::measure(run).bytes_max;
    kinesis_blocking::fuzzing::aggregation_decode(input, bytes_held);
});
