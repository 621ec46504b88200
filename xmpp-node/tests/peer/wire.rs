//! The bytes on the wire, and peers that do not keep to them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::time::timeout;
use xmpp_node::peer::{
    DownReason, FRAME_COST_BYTES, LinkError, MAX_FRAME_BYTES, Settings, WRITE_BYTES,
};

use crate::node::{ECHO, Node, PATIENCE, Plan, next, next_down};
use crate::pki::Authority;
use crate::raw::{self, ANSWER, HELLO, PING, REFUSED, REQUEST, Raw};

#[tokio::test]
async fn a_peer_that_follows_the_documented_bytes_is_served() {
    let authority = Authority::new();
    let node = Plan::new(&authority, 1, "xmpp-0").start().await;
    let tls = authority.node("xmpp-1");
    let mut raw = Raw::dial(node.address, &tls, &raw::hello(Some("c1"), 2, "xmpp-1", 5)).await;
    assert_eq!(
        raw.read().await,
        (HELLO, 0, 0, raw::hello(None, 1, "xmpp-0", 1))
    );
    raw.write(REQUEST, ECHO, 77, b"body").await;
    assert_eq!(raw.read().await, (ANSWER, ECHO, 77, b"body".to_vec()));
    assert_eq!(raw.read().await.0, PING, "an idle connection is kept alive");
    assert_eq!(raw.read().await.0, PING, "again and again");
}

#[tokio::test]
async fn another_protocol_version_is_refused_by_name() {
    let authority = Authority::new();
    let node = Plan::new(&authority, 1, "xmpp-0").start().await;
    let mut raw = Raw::dial(node.address, &authority.node("xmpp-1"), &[0, 9, 1, 2, 3]).await;
    let (tag, _, _, text) = raw.read().await;
    let text = String::from_utf8(text).expect("UTF-8");
    let expected = "protocol version 9 is not supported here, this node speaks 1";
    assert_eq!((tag, text.as_str()), (REFUSED, expected));
    raw.read_to_end().await;
}

#[tokio::test]
async fn an_oversize_frame_closes_its_connection_and_nothing_else() {
    let authority = Authority::new();
    let node = Plan::new(&authority, 1, "xmpp-0").start().await;
    let other = Plan::new(&authority, 3, "xmpp-2").start().await;
    other.knows(&[&node]);
    let link = other.link(&node).await;
    let mut events = node.peers.events();

    let tls = authority.node("xmpp-1");
    let mut raw = Raw::dial(node.address, &tls, &raw::hello(None, 2, "xmpp-1", 1)).await;
    assert_eq!(raw.read().await.0, HELLO);
    let length = u32::try_from(MAX_FRAME_BYTES + 1).expect("fits");
    raw.write_bytes(&length.to_be_bytes()).await;
    raw.read_to_end().await;
    let (event, reason) = next_down(&mut events).await;
    assert_eq!((event.peer, reason), (2, DownReason::Closed));
    assert_eq!(
        link.request(ECHO, Bytes::from("a"), PATIENCE).await,
        Ok(Bytes::from("a"))
    );
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn an_oversize_hello_is_not_read() {
    let authority = Authority::new();
    let node = Plan::new(&authority, 1, "xmpp-0").start().await;
    let mut raw = Raw::dial(node.address, &authority.node("xmpp-1"), &[0; 2000]).await;
    raw.read_to_end().await;
}

/// A node with a small queue, linked to a peer that is played by hand.
async fn linked_to_raw(queue_bytes: usize) -> (Node, Raw) {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent_after = Duration::from_secs(3600);
    let settings = Settings {
        queue_bytes,
        silent_after,
        ..Settings::default()
    };
    let node = Plan {
        settings,
        ..Plan::new(&authority, 1, "xmpp-0")
    }
    .start()
    .await;
    let mut events = node.peers.events();
    let address = listener.local_addr().expect("bound").to_string();
    node.peers
        .set_members(BTreeMap::from([(2, ("xmpp-1".into(), address))]));
    let tls = authority.node("xmpp-1");
    let raw = Raw::accept(&listener, &tls, &raw::hello(None, 2, "xmpp-1", 1)).await;
    next(&mut events).await;
    (node, raw)
}

#[tokio::test]
async fn a_peer_that_does_not_read_makes_the_queue_full_and_not_the_memory() {
    let queue_bytes = 1024 * 1024;
    let (node, mut raw) = linked_to_raw(queue_bytes).await;
    let link = node.peers.link(2).expect("a member");
    let body = Bytes::from(vec![1; 10_000]);
    let mut sent = 0;
    // `send` waits for room; it is stuck when not even that ends.
    let soon = Duration::from_millis(200);
    while let Ok(result) = timeout(soon, link.send(9, body.clone())).await {
        result.expect("the link is up");
        sent += 1;
    }
    assert_eq!(link.try_send(9, body.clone()), Err(LinkError::Full));
    assert_eq!(
        link.request(ECHO, body.clone(), PATIENCE).await,
        Err(LinkError::Full)
    );
    let kernel = 16 * 1024 * 1024;
    let bound = queue_bytes + 3 * WRITE_BYTES + kernel;
    assert!(sent * body.len() <= bound, "{sent} messages were taken");

    // Everything that was taken arrives once the peer reads.
    let mut seen = 0;
    while seen < sent {
        seen += usize::from(raw.read().await.0 != PING);
    }
    link.request(ECHO, body, soon)
        .await
        .expect_err("nobody answers");
}

#[tokio::test]
async fn empty_frames_are_bounded_by_their_fixed_cost() {
    let (node, _raw) = linked_to_raw(100 * FRAME_COST_BYTES).await;
    let link = node.peers.link(2).expect("a member");
    // Without an await in between the link's task cannot take any.
    let taken = (0..1000)
        .take_while(|_| link.try_send(9, Bytes::new()).is_ok())
        .count();
    assert_eq!(taken, 100);
}
