//! The fuzzer's way to [`xmpp_tests::fuzz::peer_frames`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xmpp_tests::fuzz::peer_frames(data));
