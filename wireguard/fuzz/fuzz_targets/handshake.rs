#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the inside is more than the entry needs"
)]

#[path = "../handshake.rs"]
mod entry;
#[path = "../inside.rs"]
mod inside;

use inside::*;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::tamper(bytes));
