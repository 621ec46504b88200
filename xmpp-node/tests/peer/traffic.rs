//! What links carry: requests, one-way messages and streams.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::timeout;
use xmpp_node::peer::{LinkError, MAX_BODY_BYTES, MAX_REQUESTS, STREAM_WINDOW};

use crate::node::{
    ECHO, GATED, GATED_STREAM, Node, PANIC, PATIENCE, Plan, SHORT_STREAM, SIZED, STREAM,
};
use crate::pki::Authority;

async fn pair() -> (Node, Node) {
    let authority = Authority::new();
    let one = Plan::new(&authority, 1, "xmpp-0").start().await;
    let two = Plan::new(&authority, 2, "xmpp-1").start().await;
    one.knows(&[&two]);
    two.knows(&[&one]);
    (one, two)
}

#[tokio::test]
async fn requests_are_multiplexed_and_answered_in_any_order() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let late = {
        let link = link.clone();
        tokio::spawn(async move { link.request(GATED, Bytes::from("late"), PATIENCE).await })
    };
    for _ in 0..10 {
        join_all((0..100).map(async |n| {
            let parts = [Bytes::from(format!("{n}")), Bytes::from(vec![b'x'; n * 70])];
            let body = parts.concat();
            assert_eq!(
                link.request(ECHO, parts, PATIENCE)
                    .await
                    .expect("an answer"),
                body
            );
        }))
        .await;
    }
    assert!(!late.is_finished());
    two.works.gate.add_permits(1);
    let answer = timeout(PATIENCE, late)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(answer, Ok(Bytes::from("late")));
}

#[tokio::test]
async fn bodies_up_to_the_bound_pass_and_larger_ones_are_refused_at_both_ends() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let largest = Bytes::from(vec![7; MAX_BODY_BYTES]);
    assert_eq!(
        link.request(ECHO, largest.clone(), PATIENCE).await,
        Ok(largest)
    );
    let larger = Bytes::from(vec![7; MAX_BODY_BYTES + 1]);
    assert_eq!(
        link.request(ECHO, larger, PATIENCE).await,
        Err(LinkError::TooLarge)
    );
    let size = Bytes::from((MAX_BODY_BYTES + 1).to_string());
    assert_eq!(
        link.request(SIZED, size, PATIENCE).await,
        Err(LinkError::TooLarge)
    );
}

#[tokio::test]
async fn a_request_that_is_never_answered_times_out_and_one_that_panics_fails() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let soon = Duration::from_millis(20);
    assert_eq!(
        link.request(GATED, Bytes::new(), soon).await,
        Err(LinkError::Timeout)
    );
    assert_eq!(
        link.request(PANIC, Bytes::new(), PATIENCE).await,
        Err(LinkError::Failed)
    );
    assert_eq!(
        link.request(ECHO, Bytes::new(), PATIENCE).await,
        Ok(Bytes::new())
    );
}

#[tokio::test]
async fn a_peer_that_answers_too_many_requests_says_busy() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let requests = (0..=MAX_REQUESTS).map(|_| link.request(GATED, Bytes::new(), PATIENCE));
    let open = async {
        // Answered only after the peer looked at all of those before it.
        assert_eq!(
            link.request(ECHO, Bytes::new(), PATIENCE).await,
            Err(LinkError::Busy)
        );
        two.works.gate.add_permits(MAX_REQUESTS);
    };
    let (results, ()) = tokio::join!(join_all(requests), open);
    let busy = results
        .iter()
        .filter(|result| **result == Err(LinkError::Busy))
        .count();
    let answered = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!((answered, busy), (MAX_REQUESTS, 1));
}

#[tokio::test]
async fn ten_thousand_messages_keep_their_order() {
    let (one, mut two) = pair().await;
    let link = one.link(&two).await;
    tokio::spawn(async move {
        for n in 0..10_000u32 {
            let filling = Bytes::from(vec![0; n as usize % 3000]);
            let parts = [Bytes::copy_from_slice(&n.to_be_bytes()), filling];
            link.send(9, parts).await.expect("sent");
        }
    });
    for n in 0..10_000u32 {
        let message = timeout(PATIENCE, two.messages.recv())
            .await
            .expect("in time");
        let (kind, body) = message.expect("the node lives");
        assert_eq!(
            (kind, &body[..4], body.len()),
            (9, &n.to_be_bytes()[..], 4 + n as usize % 3000)
        );
    }
}

#[tokio::test]
async fn answers_of_a_stream_come_in_the_order_of_its_items() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let (mut items, mut answers) = link.stream(STREAM).expect("a stream");
    let sending = async {
        for n in 0..5000u32 {
            items
                .send(Bytes::copy_from_slice(&n.to_be_bytes()))
                .await
                .expect("sent");
        }
        drop(items);
    };
    let receiving = async {
        for n in 0..5000u32 {
            assert_eq!(
                answers.recv().await.expect("an answer"),
                n.to_be_bytes()[..]
            );
        }
        assert_eq!(
            answers.recv().await,
            None,
            "all items are answered, then the stream ends"
        );
    };
    timeout(PATIENCE, async { tokio::join!(sending, receiving) })
        .await
        .expect("in time");
}

#[tokio::test]
async fn a_stream_that_the_peer_ends_leaves_the_connection_and_may_be_opened_again() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let mut events = one.peers.events();
    for round in 0..50u32 {
        let (mut items, mut answers) = link.stream(SHORT_STREAM).expect("a stream");
        let body = Bytes::copy_from_slice(&round.to_be_bytes());
        items.send(body.clone()).await.expect("sent");
        // These may or may not find the stream still open; none of them may reach the next one.
        let _ = items.send(Bytes::from("late")).await;
        let _ = items.send(Bytes::from("later")).await;
        assert_eq!(timeout(PATIENCE, answers.recv()).await, Ok(Some(body)));
        assert_eq!(timeout(PATIENCE, answers.recv()).await, Ok(None));
        assert_eq!(items.send(Bytes::new()).await, Err(LinkError::Closed));
    }
    let (mut items, mut answers) = link.stream(0xff).expect("a stream");
    items.send(Bytes::new()).await.expect("sent");
    let ended = timeout(PATIENCE, answers.recv()).await;
    assert_eq!(ended, Ok(None), "a kind that the service does not know");
    assert!(events.try_recv().is_err(), "the link never went down");
}

#[tokio::test]
async fn opening_a_stream_ends_the_earlier_one_of_its_kind() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let (mut old_items, mut old_answers) = link.stream(STREAM).expect("a stream");
    old_items.send(Bytes::from("old")).await.expect("sent");
    assert_eq!(
        timeout(PATIENCE, old_answers.recv()).await,
        Ok(Some(Bytes::from("old")))
    );
    let (mut items, mut answers) = link.stream(STREAM).expect("a stream");
    items.send(Bytes::from("new")).await.expect("sent");
    assert_eq!(
        timeout(PATIENCE, answers.recv()).await,
        Ok(Some(Bytes::from("new")))
    );
    assert_eq!(timeout(PATIENCE, old_answers.recv()).await, Ok(None));
    assert_eq!(old_items.send(Bytes::new()).await, Err(LinkError::Closed));
}

#[tokio::test]
async fn a_stream_waits_when_its_window_is_full_and_a_slow_service_loses_nothing() {
    let (one, two) = pair().await;
    let link = one.link(&two).await;
    let (mut items, mut answers) = link.stream(GATED_STREAM).expect("a stream");
    for n in 0..STREAM_WINDOW {
        items.send(Bytes::from(n.to_string())).await.expect("sent");
    }
    let soon = Duration::from_millis(20);
    assert!(
        timeout(soon, items.send(Bytes::new())).await.is_err(),
        "the window is full"
    );
    two.works.gate.add_permits(STREAM_WINDOW);
    for n in 0..STREAM_WINDOW {
        let answer = timeout(PATIENCE, answers.recv()).await.expect("in time");
        assert_eq!(answer.expect("an answer"), n.to_string());
    }
    items
        .send(Bytes::new())
        .await
        .expect("the window has room again");
}
