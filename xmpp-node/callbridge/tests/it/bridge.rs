//! The bridge against a cluster in miniature: registration, acceptance, loss of servers, refusals, stop.

use std::time::Duration;

use crate::support::{
    self, Cluster, Conduct, Node, config, event, in_time, message, pki, registered, start, until,
};
use callbridge::{Event, Failure, Secret, Security, State, TrySendError, Window};
use xmpp_core::error::StreamCondition;

fn ids(count: u32) -> Vec<String> {
    (1..=count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn over_tls_stanzas_are_accepted_and_come_back_in_order() {
    let (cluster, ca) = (Cluster::echoing(), pki::Ca::new());
    let node = Node::start_with(&cluster, Some(ca.acceptor(support::DOMAIN))).await;
    let mut config = config(&[&node]);
    config.security = Security::Tls { ca: ca.path() };
    let (bridge, mut receiver, _events) = start(config);
    let mut last = None;
    for number in 1..=300 {
        last = Some(bridge.send(message(number)).await.expect("taken"));
    }
    in_time(bridge.accepted(last.expect("a number")))
        .await
        .expect("accepted");
    assert_eq!(cluster.lock().accepted, ids(300));
    for number in 1..=300_u32 {
        let incoming = in_time(receiver.recv()).await.expect("a stanza");
        assert_eq!(incoming.id().as_deref(), Some(number.to_string().as_str()));
        assert_eq!(incoming.bytes(), &message(number));
    }
    let status = bridge.status().borrow().clone();
    assert_eq!(
        (status.state, status.secure, status.managed),
        (State::Registered, true, true)
    );
    assert_eq!(in_time(bridge.stop()).await, 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_ca_is_refused() {
    for (name, own) in [("n1.example.test", true), (support::DOMAIN, false)] {
        let (cluster, ca, other) = (Cluster::new(), pki::Ca::new(), pki::Ca::new());
        let issuer = if own { &ca } else { &other };
        let node = Node::start_with(&cluster, Some(issuer.acceptor(name))).await;
        let mut config = config(&[&node]);
        config.security = Security::Tls { ca: ca.path() };
        let (_bridge, _receiver, mut events) = start(config);
        let reason = event(&mut events, |event| match event {
            Event::Failed { failure, .. } => Some(failure.reason()),
            _ => None,
        });
        assert_eq!(in_time(reason).await, "TLS error");
        assert_eq!(cluster.lock().sessions_made, 0);
    }
}

#[tokio::test]
async fn when_servers_are_killed_under_load_nothing_is_lost_or_doubled() {
    let cluster = Cluster::echoing();
    let mut nodes = [
        Node::start(&cluster).await,
        Node::start(&cluster).await,
        Node::start(&cluster).await,
    ];
    let (bridge, mut receiver, mut events) = start(config(&[&nodes[0], &nodes[1], &nodes[2]]));
    let total = 6000;
    let sender = bridge.clone();
    let sending = tokio::spawn(async move {
        for number in 1..=total {
            sender.send(message(number)).await.expect("taken");
        }
    });
    let (mut port, _) = in_time(registered(&mut events)).await;
    let mut received = Vec::new();
    while received.len() < total as usize {
        let incoming = in_time(receiver.recv()).await.expect("a stanza");
        received.push(incoming.id().expect("an id").into_owned());
        if received.len() % 500 == 0 && received.len() < total as usize {
            let node = nodes
                .iter_mut()
                .find(|node| node.address.port() == port)
                .expect("a node");
            node.kill();
            let (next, resumed) = in_time(registered(&mut events)).await;
            assert_ne!(next, port, "the first retry goes to another server");
            assert!(resumed);
            node.restart().await;
            port = next;
        }
    }
    sending.await.expect("all sent");
    assert_eq!(received, ids(total));
    assert_eq!(in_time(bridge.stop()).await, 0);
    assert_eq!(cluster.lock().accepted, ids(total));
    assert_eq!(bridge.counters().resumed, 11);
}

#[tokio::test]
async fn asked_to_reconnect_a_bridge_goes_home_with_its_session() {
    let cluster = Cluster::echoing();
    let mut home = Node::start(&cluster).await;
    let away = Node::start(&cluster).await;
    let (bridge, mut receiver, mut events) = start(config(&[&home, &away]));
    assert_eq!(
        in_time(registered(&mut events)).await,
        (home.address.port(), false)
    );
    home.kill();
    let elsewhere = (away.address.port(), true);
    assert_eq!(in_time(registered(&mut events)).await, elsewhere);
    home.restart().await;
    for number in 1..=200 {
        bridge.send(message(number)).await.expect("taken");
        if number == 100 {
            bridge.reconnect();
            let back = (home.address.port(), true);
            assert_eq!(in_time(registered(&mut events)).await, back);
        }
    }
    for number in 1..=200_u32 {
        let incoming = in_time(receiver.recv()).await.expect("a stanza");
        assert_eq!(incoming.id().as_deref(), Some(number.to_string().as_str()));
    }
    assert_eq!(in_time(bridge.stop()).await, 0);
    assert_eq!(cluster.lock().accepted, ids(200));
    assert_eq!(bridge.counters().failures, 1, "leaving is no failure");
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_another_one_resumes() {
    let cluster = Cluster::echoing();
    let nodes = [Node::start(&cluster).await, Node::start(&cluster).await];
    let mut config = config(&[&nodes[0], &nodes[1]]);
    config.timing.ask_when_idle = Duration::from_millis(50);
    config.timing.silence = Duration::from_millis(150);
    let (bridge, mut receiver, mut events) = start(config);
    let (first, _) = in_time(registered(&mut events)).await;
    let frozen = nodes
        .iter()
        .find(|node| node.address.port() == first)
        .expect("a node");
    frozen.conduct.send_replace(Conduct::Frozen);
    let id = bridge.send(message(1)).await.expect("taken");
    let failure = event(&mut events, |event| match event {
        Event::Lost { failure, .. } => Some(failure.clone()),
        _ => None,
    });
    assert!(matches!(in_time(failure).await, Failure::Silent));
    let (second, resumed) = in_time(registered(&mut events)).await;
    assert!(second != first && resumed);
    in_time(bridge.accepted(id)).await.expect("accepted");
    assert_eq!(
        in_time(receiver.recv()).await.expect("a stanza").bytes(),
        &message(1)
    );
    assert_eq!(cluster.lock().accepted, ids(1));
}

#[tokio::test]
async fn a_server_that_refuses_is_followed_by_the_next_in_the_same_round() {
    let cluster = Cluster::new();
    let nodes = [Node::start(&cluster).await, Node::start(&cluster).await];
    nodes[0]
        .conduct
        .send_replace(Conduct::Refuse(StreamCondition::SystemShutdown));
    let mut config = config(&[&nodes[0], &nodes[1]]);
    config.timing.retry_first = Duration::from_secs(600);
    config.timing.retry_longest = Duration::from_secs(600);
    let (bridge, _receiver, mut events) = start(config);
    let (port, _) = in_time(registered(&mut events)).await;
    assert_eq!(port, nodes[1].address.port());
    let failure = bridge
        .status()
        .borrow()
        .last_failure
        .clone()
        .expect("a failure");
    assert_eq!(failure.failure.reason(), "server shutdown");
}

#[tokio::test]
async fn a_wrong_secret_is_named_and_a_corrected_file_is_found() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "wrong\n").expect("written");
    let mut config = config(&[&node]);
    config.secret = Secret::File(file.path().to_owned());
    let (bridge, _receiver, _events) = start(config);
    let mut status = bridge.status();
    let waiting = in_time(status.wait_for(|status| status.state == State::WaitingToRetry)).await;
    let line = waiting
        .expect("a status")
        .line(std::time::SystemTime::now());
    assert!(
        line.starts_with("failed to connect to 127.0.0.1 due to authentication failure ("),
        "{line}"
    );
    std::fs::write(file.path(), format!("{}\n", support::SECRET)).expect("written");
    in_time(bridge.registered()).await.expect("registered");
}

#[tokio::test]
async fn a_forgotten_session_is_replaced_and_only_the_rest_is_sent_again() {
    for remembers in [true, false] {
        let cluster = Cluster::new();
        cluster.lock().remembers_counts = remembers;
        let mut nodes = [Node::start(&cluster).await, Node::start(&cluster).await];
        let mut config = config(&[&nodes[0], &nodes[1]]);
        // Nothing is asked for, so that nothing is known to be accepted when the server dies.
        config.timing.ask_every = u32::MAX;
        config.timing.ask_after = Duration::from_secs(600);
        let (bridge, _receiver, mut events) = start(config);
        in_time(registered(&mut events)).await;
        for number in 1..=10 {
            bridge.send(message(number)).await.expect("taken");
        }
        in_time(until(|| cluster.lock().accepted.len() == 10)).await;
        cluster.forget();
        nodes[0].kill();
        let again = event(&mut events, |event| match event {
            Event::ResumptionFailed {
                sent_again,
                count_known,
            } => Some((*sent_again, *count_known)),
            _ => None,
        });
        let expected = if remembers { (0, true) } else { (10, false) };
        assert_eq!(in_time(again).await, expected);
        bridge.send(message(11)).await.expect("taken");
        assert_eq!(in_time(bridge.stop()).await, 0);
        let accepted = cluster.lock().accepted.clone();
        let all = if remembers {
            ids(11)
        } else {
            [ids(10), ids(11)].concat()
        };
        assert_eq!(accepted, all);
    }
}

#[tokio::test]
async fn a_stanza_that_ends_every_stream_is_given_up_and_the_others_arrive() {
    let cluster = Cluster::new();
    cluster.lock().poison = Some("3".to_owned());
    let nodes = [Node::start(&cluster).await, Node::start(&cluster).await];
    let (bridge, _receiver, mut events) = start(config(&[&nodes[0], &nodes[1]]));
    for number in 1..=5 {
        bridge.send(message(number)).await.expect("taken");
    }
    let given_up = event(&mut events, |event| match event {
        Event::GivenUp { stanza, .. } => Some(stanza.clone()),
        _ => None,
    });
    assert_eq!(in_time(given_up).await, message(3));
    assert_eq!(in_time(bridge.stop()).await, 0);
    assert_eq!(cluster.lock().accepted, ["1", "2", "4", "5"]);
    assert_eq!(bridge.counters().given_up, 1);
}

#[tokio::test]
async fn a_stop_closes_the_stream_after_everything_was_accepted() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let (bridge, mut receiver, _events) = start(config(&[&node]));
    for number in 1..=100 {
        bridge.send(message(number)).await.expect("taken");
    }
    assert_eq!(in_time(bridge.stop()).await, 0);
    assert_eq!(cluster.lock().accepted, ids(100));
    assert_eq!(cluster.lock().closed, 1);
    assert_eq!(bridge.send(message(101)).await, Err(TrySendError::Stopped));
    assert!(receiver.recv().await.is_none());
    assert_eq!(bridge.status().borrow().state, State::Stopped);
}

#[tokio::test]
async fn a_stop_without_any_server_ends_in_its_time_and_tells_what_is_left() {
    let cluster = Cluster::new();
    let mut node = Node::start(&cluster).await;
    node.kill();
    let mut config = config(&[&node]);
    config.timing.stop = Duration::from_millis(100);
    let (bridge, _receiver, _events) = start(config);
    let id = bridge.send(message(1)).await.expect("taken");
    assert_eq!(in_time(bridge.stop()).await, 1);
    in_time(bridge.accepted(id)).await.expect_err("stopped");
}

#[tokio::test]
async fn a_server_without_acknowledgements_is_used_plainly() {
    let cluster = Cluster::echoing();
    let node = Node::start(&cluster).await;
    node.conduct.send_replace(Conduct::Plain);
    let (bridge, mut receiver, _events) = start(config(&[&node]));
    let id = bridge.send(message(1)).await.expect("taken");
    in_time(bridge.accepted(id)).await.expect("written");
    assert_eq!(
        in_time(receiver.recv()).await.expect("a stanza").bytes(),
        &message(1)
    );
    assert!(!bridge.status().borrow().managed);
}

#[tokio::test]
async fn a_full_window_holds_the_sender_until_the_server_accepts() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let mut config = config(&[&node]);
    config.window = Window {
        stanzas: 4,
        bytes: 1_000_000,
    };
    let (bridge, _receiver, mut events) = start(config);
    in_time(registered(&mut events)).await;
    node.conduct.send_replace(Conduct::Frozen);
    for number in 1..=4 {
        bridge.try_send(message(number)).expect("room");
    }
    assert_eq!(
        bridge.try_send(message(5)),
        Err(TrySendError::Full(message(5)))
    );
    node.conduct.send_replace(Conduct::Normal);
    in_time(bridge.send(message(5))).await.expect("taken");
}

#[tokio::test]
async fn an_application_that_does_not_take_loses_nothing_and_keeps_its_stream() {
    let cluster = Cluster::echoing();
    let node = Node::start(&cluster).await;
    let mut config = config(&[&node]);
    config.inbox = 4;
    config.timing.ask_when_idle = Duration::from_millis(50);
    config.timing.silence = Duration::from_millis(150);
    let (bridge, mut receiver, mut events) = start(config);
    in_time(registered(&mut events)).await;
    // Fewer than the window holds: acknowledgements behind what is not taken are not read.
    let total = 1000;
    let sender = bridge.clone();
    tokio::spawn(async move {
        for number in 1..=total {
            sender.send(message(number)).await.expect("taken");
        }
    });
    in_time(until(|| cluster.lock().accepted.len() == total as usize)).await;
    let before = bridge.counters().received;
    assert!(before < 600, "reading stopped at {before}");
    for number in 1..=total {
        assert_eq!(
            in_time(receiver.recv()).await.expect("a stanza").bytes(),
            &message(number)
        );
    }
    assert_eq!(bridge.counters().streams, 1);
}

#[tokio::test]
async fn taken_stanzas_are_acknowledged_without_being_asked() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let (_bridge, mut receiver, mut events) = start(config(&[&node]));
    in_time(registered(&mut events)).await;
    cluster.deliver("<message id='7'/>");
    in_time(receiver.recv()).await.expect("a stanza");
    in_time(until(|| cluster.lock().confirmed == 1)).await;
}
