#![no_main]

#[path = "../cipher.rs"]
mod entry;

/// The cipher is the crate's own business, so that it is compiled in here.
#[path = "../../src"]
mod source {
    pub(crate) mod cipher;
}

use source::cipher;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::seal_and_open(bytes));
