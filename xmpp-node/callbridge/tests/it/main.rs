//! The bridge from outside: against a cluster in miniature, a DNS server, and a component of its own.

#![allow(unreachable_pub, reason = "a test program has no outside")]

mod support;

mod discovery;

mod bridge;

mod sidecar;
