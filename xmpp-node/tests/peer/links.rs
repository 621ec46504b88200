//! Links come and go: deaths, farewells, reconnection, membership.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use xmpp_node::peer::{Direction, DownReason, Hello, LinkError, LinkState, Settings};

use crate::node::{ECHO, GATED, KEPT_ADDRESS, Node, PATIENCE, Plan, STREAM, next, next_down};
use crate::pki::Authority;
use crate::raw::{self, Raw};

async fn both_up(node: &Node, other: &Node) {
    let both = async {
        let mut events = node.peers.events();
        while node
            .peers
            .status(other.id)
            .is_none_or(|it| it.incoming.and(it.outgoing).is_none())
        {
            events.recv().await.expect("an event");
        }
    };
    timeout(PATIENCE, both).await.expect("in time");
}

#[tokio::test]
async fn a_killed_peer_is_seen_in_both_directions_and_fails_what_was_under_way() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let two = Plan::new(&authority, 2, "xmpp-1").start_mortal().await;
    one.knows(&[&two]);
    two.knows(&[&one]);
    both_up(&one, &two).await;
    assert!(one.peers.connected(2));

    let link = one.link(&two).await;
    let (_items, mut answers) = link.stream(STREAM).expect("a stream");
    let mut events = one.peers.events();
    let request = link.request(GATED, Bytes::new(), PATIENCE);
    let killing = async {
        link.request(ECHO, Bytes::new(), PATIENCE)
            .await
            .expect("the request before is there too");
        two.kill().await;
    };
    let (result, ()) = tokio::join!(request, killing);
    assert_eq!(result, Err(LinkError::Closed));
    assert_eq!(answers.recv().await, None);

    let mut directions = Vec::new();
    for _ in 0..2 {
        let (event, reason) = next_down(&mut events).await;
        assert_eq!(
            (event.peer, &*event.name, reason),
            (2, "xmpp-1", DownReason::Closed)
        );
        directions.push(event.direction);
    }
    directions.sort_by_key(|direction| *direction == Direction::Incoming);
    assert_eq!(directions, [Direction::Outgoing, Direction::Incoming]);
    assert!(!one.peers.connected(2));
    assert_eq!(link.try_send(9, Bytes::new()), Err(LinkError::Down));
}

#[tokio::test]
async fn a_peer_that_says_bye_is_not_lost() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let mut two = Plan::new(&authority, 2, "xmpp-1").start().await;
    one.knows(&[&two]);
    two.knows(&[&one]);
    both_up(&one, &two).await;
    both_up(&two, &one).await;

    let (mut events, mut others) = (one.peers.events(), two.peers.events());
    let link = one.link(&two).await;
    for n in 0..1000u32 {
        link.send(9, Bytes::copy_from_slice(&n.to_be_bytes()))
            .await
            .expect("sent");
    }
    one.peers.shutdown().await;
    for n in 0..1000u32 {
        let message = timeout(PATIENCE, two.messages.recv())
            .await
            .expect("in time");
        assert_eq!(
            message.expect("queued before the bye").1,
            n.to_be_bytes()[..]
        );
    }
    for _ in 0..2 {
        assert_eq!(next_down(&mut events).await.1, DownReason::Bye);
        assert_eq!(next_down(&mut others).await.1, DownReason::Bye);
    }
}

#[tokio::test]
async fn an_attempt_that_hangs_gives_way_when_the_peer_is_back() {
    let authority = Authority::new();
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = hanging.local_addr().expect("bound").to_string();
    let one = Plan {
        settings: Settings {
            handshake_timeout: PATIENCE * 100,
            ..Settings::default()
        },
        ..Plan::new(&authority, 1, "xmpp-0")
    };
    let one = one.start().await;
    one.peers
        .set_members(BTreeMap::from([(2, ("xmpp-1".to_owned(), address))]));
    // Where the peer was before somebody takes connections and says nothing.
    let (_silent, _) = timeout(PATIENCE, hanging.accept())
        .await
        .expect("in time")
        .expect("it dials");
    let two = Plan::new(&authority, 2, "xmpp-1").start().await;
    let forwarding = tokio::spawn({
        let address = two.address;
        async move {
            let (mut near, _) = hanging.accept().await.expect("it dials again");
            let mut far = TcpStream::connect(address).await.expect("it listens");
            tokio::io::copy_bidirectional(&mut near, &mut far).await
        }
    });
    two.knows(&[&one]);
    both_up(&one, &two).await;
    forwarding.abort();
}

#[tokio::test]
async fn a_link_reconnects_when_its_peer_comes_back_and_sees_the_new_incarnation() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let plan = Plan {
        address: KEPT_ADDRESS,
        ..Plan::new(&authority, 2, "xmpp-1")
    };
    let two = plan.start_mortal().await;
    one.knows(&[&two]);
    let link = one.link(&two).await;
    let mut events = one.peers.events();
    let address = two.address;
    two.kill().await;
    assert_eq!(next_down(&mut events).await.1, DownReason::Closed);

    let two = Plan {
        incarnation: 2,
        address,
        ..Plan::new(&authority, 2, "xmpp-1")
    }
    .start()
    .await;
    link.wake();
    assert_eq!(
        next(&mut events).await.state,
        LinkState::Up { incarnation: 2 }
    );
    assert_eq!(
        link.request(ECHO, Bytes::from("a"), PATIENCE).await,
        Ok(Bytes::from("a"))
    );

    two.peers.shutdown().await;
    assert_eq!(next_down(&mut events).await.1, DownReason::Bye);
}

#[tokio::test]
async fn a_peer_that_dials_us_is_dialled_back_at_once() {
    let authority = Authority::new();
    let hour = Duration::from_secs(3600);
    let slow = Settings {
        retry_first: hour,
        retry_most: hour,
        ..Settings::default()
    };
    let closed = TcpListener::bind(KEPT_ADDRESS).await.expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let one = Plan {
        settings: slow,
        ..Plan::new(&authority, 1, "xmpp-0")
    }
    .start()
    .await;
    let member = (2, ("xmpp-1".to_owned(), address.to_string()));
    one.peers.set_members(BTreeMap::from([member]));

    let two = Plan {
        address,
        ..Plan::new(&authority, 2, "xmpp-1")
    }
    .start()
    .await;
    two.knows(&[&one]);
    both_up(&one, &two).await;
}

#[tokio::test]
async fn a_removed_member_gets_a_bye_and_a_moved_one_is_found_at_its_new_address() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let two = Plan::new(&authority, 2, "xmpp-1").start().await;
    one.knows(&[&two, &one]);
    assert!(
        one.peers.link(1).is_none(),
        "a node needs no link to itself"
    );
    one.link(&two).await;
    let (mut events, mut others) = (one.peers.events(), two.peers.events());

    let moved = Plan {
        incarnation: 2,
        ..Plan::new(&authority, 2, "xmpp-1")
    }
    .start()
    .await;
    two.peers.shutdown().await;
    assert_eq!(next_down(&mut events).await.1, DownReason::Bye);
    assert_eq!(next_down(&mut others).await.1, DownReason::Bye);
    one.knows(&[&moved]);
    assert_eq!(
        next(&mut events).await.state,
        LinkState::Up { incarnation: 2 }
    );

    let mut others = moved.peers.events();
    one.knows(&[]);
    assert_eq!(next_down(&mut events).await.1, DownReason::Bye);
    assert_eq!(next_down(&mut others).await.1, DownReason::Bye);
    assert!(one.peers.link(2).is_none());
}

#[tokio::test]
async fn a_joining_node_dials_an_address_and_its_last_handle_ends_the_link() {
    let authority = Authority::new();
    let member = Plan {
        cluster_id: Some("c1"),
        ..Plan::new(&authority, 1, "xmpp-0")
    }
    .start()
    .await;
    let joiner = Plan::new(&authority, 2, "xmpp-1").start().await;
    let mut events = member.peers.events();
    let address = member.address.to_string();
    let (hello, link) = joiner.peers.dial_once(&address).await.expect("a link");
    let cluster_id = Some("c1".to_owned());
    assert_eq!(
        *hello,
        Hello {
            cluster_id,
            node_id: 1,
            name: "xmpp-0".into(),
            incarnation: 1
        }
    );
    assert_eq!(
        link.request(ECHO, Bytes::from("a"), PATIENCE).await,
        Ok(Bytes::from("a"))
    );

    joiner.peers.set_cluster_id("c1");
    assert_eq!(
        link.request(ECHO, Bytes::from("b"), PATIENCE).await,
        Ok(Bytes::from("b"))
    );
    assert_eq!(
        next(&mut events).await.state,
        LinkState::Up { incarnation: 1 }
    );
    drop(link);
    assert_eq!(next_down(&mut events).await.1, DownReason::Bye);
}

#[tokio::test]
async fn a_link_made_before_the_cluster_id_was_known_is_made_again() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let two = Plan::new(&authority, 2, "xmpp-1").start().await;
    one.knows(&[&two]);
    let link = one.link(&two).await;
    let mut events = one.peers.events();
    two.peers.set_cluster_id("c1");
    assert_eq!(next_down(&mut events).await.1, DownReason::Bye);
    assert_eq!(
        next(&mut events).await.state,
        LinkState::Up { incarnation: 1 }
    );
    assert_eq!(
        link.hello().expect("connected").cluster_id.as_deref(),
        Some("c1")
    );
    one.peers.set_cluster_id("c1");
    assert_eq!(
        link.request(ECHO, Bytes::from("a"), PATIENCE).await,
        Ok(Bytes::from("a"))
    );
    assert!(
        events.try_recv().is_err(),
        "the peer had the same id already"
    );
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let settings = Settings {
        silent_after: Duration::from_millis(200),
        ..Settings::default()
    };
    let one = Plan {
        settings,
        ..Plan::new(&authority, 1, "xmpp-0")
    }
    .start()
    .await;
    let address = listener.local_addr().expect("bound").to_string();
    let mut events = one.peers.events();
    one.peers
        .set_members(BTreeMap::from([(2, ("xmpp-1".into(), address))]));
    let tls = authority.node("xmpp-1");
    let _raw = Raw::accept(&listener, &tls, &raw::hello(None, 2, "xmpp-1", 1)).await;
    assert_eq!(next_down(&mut events).await.1, DownReason::Silent);
    let age = one.peers.last_heard(2).expect("heard once");
    assert!(age >= Duration::from_millis(200), "{age:?}");
}

#[tokio::test]
async fn an_idle_pair_stays_connected_and_keeps_hearing_each_other() {
    let authority = Authority::new();
    let ping_after = Duration::from_millis(20);
    let silent_after = Duration::from_millis(500);
    let settings = Settings {
        ping_after,
        silent_after,
        ..Settings::default()
    };
    let plan = |id, name| Plan {
        settings: settings.clone(),
        ..Plan::new(&authority, id, name)
    };
    let (one, two) = (
        plan(1, "xmpp-0").start().await,
        plan(2, "xmpp-1").start().await,
    );
    one.knows(&[&two]);
    let link = one.link(&two).await;
    let mut events = one.peers.events();
    let quiet = timeout(3 * silent_after, events.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // A test that was paused itself looks before the pings of that time were read.
    let heard = async {
        let recent = |age: Option<Duration>| age.expect("heard") < silent_after;
        while !(recent(link.last_heard()) && recent(two.peers.last_heard(1))) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, heard).await.expect("in time");
}
