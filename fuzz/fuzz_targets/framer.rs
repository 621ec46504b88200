//! The fuzzer's way to [`xmpp_tests::fuzz::framer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xmpp_tests::fuzz::framer(data));
