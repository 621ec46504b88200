//! XMPP protocol and decisions: framer, stanza, stream machines, and the replicated router.
//!
//! Deliberately knows no async runtime, clock, socket, file or randomness: time, bytes and random
//! numbers are arguments.
//!
//! Modules in reading order:
//!
//! | Module | Is |
//! |---|---|
//! | [`ns`] | names of XML namespaces |
//! | [`jid`] | addresses (RFC 7622) |
//! | [`error`] | conditions of streams and stanzas (RFC 6120) |
//! | [`text`] | characters, references and escaping of XML |
//! | `tag` | start tags, attribute by attribute |
//! | `check` | the strict check of an element, tag by tag |
//! | [`framer`] | bytes to frames, under limits, strictly checked |
//! | [`stanza`] | a stanza's start tag, its rewriting, its error reply |
//! | [`handshake`] | the digest of a component (XEP-0114) |
//! | [`scram`] | how a client proves that it knows its password (RFC 5802) |
//! | [`srv`] | order of the targets of a service (RFC 2782) |
//! | [`stream`] | one state machine a kind of stream |
//! | [`router`] | the replicated state machine |

pub mod ns;

pub mod jid;

pub mod error;

pub mod text;

mod tag;

mod check;

pub mod framer;

pub mod stanza;

pub mod handshake;

pub mod scram;

pub mod srv;

pub mod stream;

pub mod router;
