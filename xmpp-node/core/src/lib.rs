//! XMPP protocol and decisions: framer, stanza, stream machines, and the replicated router.
//!
//! Deliberately knows no async runtime, clock, socket, file or randomness: time, bytes and random numbers are arguments.
