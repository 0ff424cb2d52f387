#![no_main]

#[path = "../../../meshctl/src/client.rs"]
#[allow(dead_code, reason = "the context only needs its addresses")]
mod client;
#[path = "../../../meshctl/src/context.rs"]
#[allow(dead_code, reason = "what is read is not used")]
mod context;

// meshctl is no library; its own tests run this on mutated samples too.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = context::Context::parse(text, std::path::Path::new("context.yaml"));
});
