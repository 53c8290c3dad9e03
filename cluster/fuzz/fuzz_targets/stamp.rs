#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_cluster::fuzz::open("stamp", data));
