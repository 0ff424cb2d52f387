#![no_main]

#[path = "../entries.rs"]
#[allow(dead_code, reason = "each target has one of the entries")]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::dns_request(bytes));
