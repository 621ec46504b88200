//! The fuzzer's way to [`xmpp_tests::fuzz::rxml`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xmpp_tests::fuzz::rxml(data));
