//! The side-car between an unmodified component and the cluster in miniature.

use std::net::SocketAddr;
use std::time::Duration;

use callbridge::sidecar::{Sidecar, SidecarConfig, SidecarError};
use callbridge::{Bridge, Secret};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::component::Component;
use crate::support::{Cluster, Node, SECRET, config, in_time, message, until};

struct Running {
    address: SocketAddr,
    bridge: Bridge,
    shutdown: CancellationToken,
    task: JoinHandle<Result<u64, SidecarError>>,
}

async fn run(nodes: &[&Node], change: impl FnOnce(&mut SidecarConfig)) -> Running {
    let mut sidecar =
        SidecarConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), Secret::text(SECRET));
    change(&mut sidecar);
    let sidecar = Sidecar::bind(config(nodes), sidecar)
        .await
        .expect("listening");
    let address = sidecar.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let (tell, told) = oneshot::channel();
    let token = shutdown.clone();
    let started = move |bridge: &Bridge| tell.send(bridge.clone()).expect("awaited");
    let task = tokio::spawn(sidecar.run(token, started));
    let bridge = told.await.expect("started");
    bridge.registered().await.expect("registered");
    Running {
        address,
        bridge,
        shutdown,
        task,
    }
}

fn stanza(id: &str) -> String {
    format!("<message id='{id}' from='cb2.example.test' to='cb1.example.test'/>")
}

#[tokio::test]
async fn stanzas_pass_in_both_directions_and_a_stop_is_told() {
    let cluster = Cluster::echoing();
    let node = Node::start(&cluster).await;
    let running = run(&[&node], |_| ()).await;
    let mut component = in_time(Component::connect(running.address)).await;
    for number in 1..=200 {
        component
            .send(std::str::from_utf8(&message(number)).expect("text"))
            .await;
    }
    for number in 1..=200_u32 {
        assert_eq!(in_time(component.next_id()).await, number.to_string());
    }
    running.shutdown.cancel();
    assert_eq!(in_time(component.stream_error()).await, "system-shutdown");
    assert_eq!(
        in_time(running.task)
            .await
            .expect("no panic")
            .expect("stopped"),
        0
    );
    assert_eq!(cluster.lock().accepted.len(), 200);
    assert_eq!(cluster.lock().closed, 1);
}

#[tokio::test]
async fn a_stanza_is_acknowledged_to_the_cluster_only_when_a_ping_came_back() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let running = run(&[&node], |_| ()).await;
    let mut component = in_time(Component::connect(running.address)).await;
    component.answers = false;
    cluster.deliver(stanza("a"));
    cluster.deliver(stanza("b"));
    in_time(component.next_ping()).await;
    // By now every other acknowledgement would have been sent: they wait 50 ms at most, and this is asked for.
    let id = running.bridge.send(message(1)).await.expect("taken");
    in_time(running.bridge.accepted(id))
        .await
        .expect("accepted");
    assert_eq!(cluster.lock().confirmed, 0);
    component.answers = true;
    drop(component);
    let mut component = in_time(Component::connect(running.address)).await;
    in_time(component.next_ping()).await;
    in_time(until(|| cluster.lock().confirmed == 2)).await;
}

#[tokio::test]
async fn what_a_crashed_component_may_not_have_read_comes_first_at_its_next_connection() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let running = run(&[&node], |_| ()).await;
    let mut component = in_time(Component::connect(running.address)).await;
    cluster.deliver(stanza("a"));
    assert_eq!(in_time(component.next_id()).await, "a");
    in_time(component.next_ping()).await;
    in_time(until(|| cluster.lock().confirmed == 1)).await;
    component.answers = false;
    for id in ["b", "c"] {
        cluster.deliver(stanza(id));
        assert_eq!(in_time(component.next_id()).await, id);
    }
    drop(component);
    cluster.deliver(stanza("d"));
    let mut component = in_time(Component::connect(running.address)).await;
    for id in ["b", "c", "d"] {
        assert_eq!(in_time(component.next_id()).await, id);
    }
}

#[tokio::test]
async fn the_component_does_not_notice_the_death_of_a_node() {
    let cluster = Cluster::echoing();
    let mut nodes = [Node::start(&cluster).await, Node::start(&cluster).await];
    let running = run(&[&nodes[0], &nodes[1]], |_| ()).await;
    let mut component = in_time(Component::connect(running.address)).await;
    for number in 1..=300 {
        component
            .send(std::str::from_utf8(&message(number)).expect("text"))
            .await;
        match number {
            100 => nodes[0].kill(),
            200 => {
                nodes[0].restart().await;
                nodes[1].kill();
            }
            _ => (),
        }
        assert_eq!(in_time(component.next_id()).await, number.to_string());
    }
    let expected: Vec<String> = (1..=300).map(|number| number.to_string()).collect();
    assert_eq!(cluster.lock().accepted, expected);
}

#[tokio::test]
async fn a_component_that_answers_no_ping_is_believed_after_a_while_and_reported() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let running = run(&[&node], |sidecar| {
        sidecar.patience = Duration::from_millis(100)
    })
    .await;
    let mut component = in_time(Component::connect(running.address)).await;
    component.answers = false;
    cluster.deliver(stanza("a"));
    in_time(component.next_id()).await;
    let mut status = running.bridge.status();
    in_time(status.wait_for(|status| status.unconfirmed))
        .await
        .expect("reported");
    in_time(until(|| cluster.lock().confirmed == 1)).await;
    cluster.deliver(stanza("b"));
    in_time(until(|| cluster.lock().confirmed == 2)).await;
}

#[tokio::test]
async fn without_a_component_stanzas_are_answered_after_a_while() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let running = run(&[&node], |sidecar| {
        sidecar.absence = Duration::from_millis(50)
    })
    .await;
    cluster.deliver(stanza("a"));
    cluster.deliver("<message id='e' type='error' from='cb2.example.test' to='cb1.example.test'/>");
    in_time(until(|| cluster.lock().confirmed == 2)).await;
    in_time(until(|| cluster.lock().accepted == ["a"])).await;
    let mut component = in_time(Component::connect(running.address)).await;
    cluster.deliver(stanza("b"));
    assert_eq!(in_time(component.next_id()).await, "b");
}

#[tokio::test]
async fn a_component_with_a_wrong_secret_name_or_sender_is_told_why() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let running = run(&[&node], |_| ()).await;
    let connect = |to, secret| Component::connect_as(running.address, to, secret);
    let mut component = in_time(connect("cb1.example.test", "wrong")).await;
    assert_eq!(in_time(component.stream_error()).await, "not-authorized");
    let mut component = in_time(connect("cb2.example.test", SECRET)).await;
    assert_eq!(in_time(component.stream_error()).await, "host-unknown");
    for (sent, condition) in [
        (
            "<message from='cb2.example.test' to='cb3.example.test'/>",
            "invalid-from",
        ),
        ("<message to='cb3.example.test'/>", "improper-addressing"),
        ("<message from='cb1.example.test'/>", "improper-addressing"),
        (
            "<a xmlns='urn:xmpp:sm:3' h='7'/>",
            "unsupported-stanza-type",
        ),
        ("<message></iq>", "not-well-formed"),
    ] {
        let mut component = in_time(Component::connect(running.address)).await;
        component.send(sent).await;
        assert_eq!(in_time(component.stream_error()).await, condition, "{sent}");
    }
    assert_eq!(
        running.bridge.counters().streams,
        1,
        "our own stream is not touched by it"
    );
}

#[tokio::test]
async fn a_second_component_is_refused_and_the_first_stays() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let running = run(&[&node], |_| ()).await;
    let mut first = in_time(Component::connect(running.address)).await;
    let mut second = in_time(Component::connect_as(running.address, "cb1", SECRET)).await;
    assert_eq!(in_time(second.stream_error()).await, "conflict");
    cluster.deliver(stanza("a"));
    assert_eq!(in_time(first.next_id()).await, "a");
}

#[tokio::test]
async fn the_side_car_listens_on_loopback_only() {
    let cluster = Cluster::new();
    let node = Node::start(&cluster).await;
    let sidecar = SidecarConfig::new(SocketAddr::from(([0, 0, 0, 0], 0)), Secret::text(SECRET));
    let error = Sidecar::bind(config(&[&node]), sidecar)
        .await
        .expect_err("refused");
    assert!(
        error.to_string().contains("not a loopback address"),
        "{error}"
    );
}
