//! A cursor for each local stream into its session's replicated queue.
//!
//! There is no second queue: what a stream writes is copied from the queue to the write buffer under the router's lock, at
//! most [`FILL_BYTES`] at a time, many stanzas a write. A full socket, a replay or a snapshot install therefore loses
//! nothing: the cursor is where it was.

use std::fmt::Write as _;

use bytes::BytesMut;
use xmpp_core::ns;
use xmpp_core::router::{Item, Router, Session};
use xmpp_core::stanza::Kind;

/// Bytes gathered for one write.
pub const FILL_BYTES: usize = 64 * 1024;

/// Appends the stanzas after `cursor` to `out`, until it holds [`FILL_BYTES`]. Returns the position of the last one.
///
/// A message or presence gets a `<stanza-id/>` (XEP-0359) that a receiver can tell repeats by, and if it waited for a stream,
/// a `<delay/>` (XEP-0203). An IQ gets neither, since it has exactly one child (RFC 6120, 8.2.3).
pub fn fill(
    router: &Router,
    session: &Session,
    cursor: u64,
    out: &mut BytesMut,
    scratch: &mut String,
) -> u64 {
    let mut position = cursor;
    for item in session.queue.after(cursor) {
        if out.len() >= FILL_BYTES {
            break;
        }
        position += 1;
        scratch.clear();
        if item.stanza.kind != Kind::Iq {
            insert(router, item, position <= session.carried, scratch);
        }
        item.stanza.write_delivery(out, scratch.as_bytes());
    }
    position
}

fn insert(router: &Router, item: &Item, carried: bool, text: &mut String) {
    let (cluster, domain) = (router.cluster(), router.domain());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "<stanza-id xmlns='{}' id='{cluster}-{}-{}' by='{domain}'/>",
        ns::STANZA_ID,
        item.index,
        item.offset
    );
    if carried && item.original {
        let stamp =
            jiff::Timestamp::from_millisecond(i64::try_from(item.stamp).unwrap_or(i64::MAX))
                .unwrap_or_default();
        let _ = write!(
            text,
            "<delay xmlns='{}' from='{domain}' stamp='{stamp:.3}'/>",
            ns::DELAY
        );
    }
}
