//! Who is refused, by which side, and how often that is told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;
use xmpp_node::peer::{DialError, DownReason, LinkState, Refusal, Settings};

use crate::node::{PATIENCE, Plan, next, next_down};
use crate::pki::Authority;

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let authority = Authority::new();
    let plan = |id, name, cluster_id| Plan {
        cluster_id,
        ..Plan::new(&authority, id, name)
    };
    let one = plan(1, "xmpp-0", Some("c1")).start().await;
    let two = plan(2, "xmpp-1", Some("c2")).start().await;
    let mut events = one.peers.events();
    one.knows(&[&two]);
    let reason = next_down(&mut events).await.1;
    let text = "cluster id 'c1' is not this cluster ('c2')".to_owned();
    assert_eq!(reason, DownReason::Refused(text));
    assert!(!one.peers.connected(2));
    assert_eq!(two.peers.status(1), None);
}

#[tokio::test]
async fn a_dialling_node_with_another_name_in_its_certificate_is_refused() {
    let authority = Authority::new();
    let one = Plan {
        certified: "other",
        ..Plan::new(&authority, 1, "xmpp-0")
    }
    .start()
    .await;
    let two = Plan::new(&authority, 2, "xmpp-1").start().await;
    let refused = one
        .peers
        .dial_once(&two.address.to_string())
        .await
        .expect_err("refused");
    let text = "certificate is for node 'other', but the hello says 'xmpp-0'";
    assert!(
        matches!(&refused, DialError::RefusedByPeer(why) if why.contains(text)),
        "{refused}"
    );
}

#[tokio::test]
async fn an_accepting_node_with_another_name_in_its_certificate_is_refused() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let two = Plan {
        certified: "other",
        ..Plan::new(&authority, 2, "xmpp-1")
    }
    .start()
    .await;
    let mut events = two.peers.events();
    let refused = one
        .peers
        .dial_once(&two.address.to_string())
        .await
        .expect_err("refused");
    assert!(
        matches!(refused, DialError::Refused(Refusal::Role { .. })),
        "{refused}"
    );
    let reason = next_down(&mut events).await.1;
    assert!(matches!(reason, DownReason::Refused(_)), "{reason:?}");
}

#[tokio::test]
async fn another_node_at_a_members_address_is_refused() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let two = Plan::new(&authority, 2, "xmpp-1").start().await;
    let mut events = one.peers.events();
    for (id, name) in [(3, "xmpp-1"), (2, "xmpp-2")] {
        let member = (id, (name.to_owned(), two.address.to_string()));
        one.peers.set_members(BTreeMap::from([member]));
        let (event, reason) = next_down(&mut events).await;
        assert_eq!(event.peer, id);
        assert!(matches!(&reason, DownReason::Refused(why) if why.contains("not the wanted")));
    }
}

#[tokio::test]
async fn a_node_that_dials_itself_is_refused() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let refused = one
        .peers
        .dial_once(&one.address.to_string())
        .await
        .expect_err("refused");
    let text = Refusal::Myself.to_string();
    assert!(
        matches!(&refused, DialError::RefusedByPeer(why) if *why == text),
        "{refused}"
    );
}

#[tokio::test]
async fn a_node_of_another_authority_gets_no_further_than_tls() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let one = Plan::new(&ours, 1, "xmpp-0").start().await;
    let two = Plan::new(&theirs, 2, "xmpp-1").start().await;
    let refused = one
        .peers
        .dial_once(&two.address.to_string())
        .await
        .expect_err("refused");
    assert!(matches!(refused, DialError::Handshake(_)), "{refused}");
}

#[tokio::test]
async fn a_refusal_that_repeats_is_told_once_and_the_link_comes_up_when_it_ends() {
    let authority = Authority::new();
    let often = Duration::from_millis(5);
    let settings = Settings {
        refused_retry: often,
        ..Settings::default()
    };
    let one = Plan {
        settings,
        ..Plan::new(&authority, 1, "xmpp-0")
    }
    .start()
    .await;
    let two = Plan::new(&authority, 2, "xmpp-1").start().await;
    two.works.close_to_all(Some("not a member"));
    let mut events = one.peers.events();
    one.knows(&[&two]);
    let attempts = async {
        while two.works.admissions.load(Ordering::Relaxed) < 10 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, attempts).await.expect("keeps trying");
    two.works.close_to_all(None);
    let refused = LinkState::Down {
        reason: DownReason::Refused("not a member".into()),
    };
    assert_eq!(next(&mut events).await.state, refused);
    assert_eq!(
        next(&mut events).await.state,
        LinkState::Up { incarnation: 1 }
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_an_error_that_names_it() {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let failed = one
        .peers
        .dial_once("no port here")
        .await
        .expect_err("no address");
    assert_eq!(failed.to_string(), "cannot resolve 'no port here'");
}
