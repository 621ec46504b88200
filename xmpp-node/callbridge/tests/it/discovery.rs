//! Discovery against a real DNS server on loopback: order, addresses, refusals, change, failure.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::support::dns::Dns;
use crate::support::{Cluster, DOMAIN, Node, SECRET, in_time, registered, start};
use callbridge::discovery::{Discovery, DiscoveryError};
use callbridge::status::Server;
use callbridge::{Bridge, Config, Secret, Security, Servers, State};

const OWNER: &str = "_xmpp-component._tcp.example.test.";

fn config(dns: &Dns) -> Config {
    let mut config = Config::new("cb1", DOMAIN, Secret::text(SECRET), Security::LoopbackOnly);
    config.dns = Some(dns.address);
    config
}

fn found(servers: &[Server]) -> Vec<String> {
    servers
        .iter()
        .map(|server| format!("{} {}", server.target.host, server.address))
        .collect()
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

#[tokio::test]
async fn targets_come_by_priority_each_with_all_its_addresses() {
    let dns = Dns::start().await;
    dns.srv(OWNER, 20, 5223, "n2.example.test.").await;
    dns.srv(OWNER, 10, 7000, "n1.example.test.").await;
    dns.a("n1.example.test.", ip(1)).await;
    dns.a("n1.example.test.", ip(11)).await;
    dns.aaaa("n1.example.test.", Ipv6Addr::LOCALHOST).await;
    dns.a("n2.example.test.", ip(2)).await;
    let servers = in_time(Discovery::new(&config(&dns)).resolve())
        .await
        .expect("found");
    let mut found = found(&servers);
    assert_eq!(found.len(), 4);
    found[..3].sort();
    assert_eq!(
        found,
        [
            "n1.example.test 127.0.0.11:7000",
            "n1.example.test 127.0.0.1:7000",
            "n1.example.test [::1]:7000",
            "n2.example.test 127.0.0.2:5223",
        ]
    );
}

#[tokio::test]
async fn another_owner_name_may_be_given() {
    let dns = Dns::start().await;
    dns.srv(
        "_xmpp-component._tcp.svc.example.test.",
        0,
        5223,
        "n1.example.test.",
    )
    .await;
    dns.a("n1.example.test.", ip(1)).await;
    let mut config = config(&dns);
    config.servers = Servers::Srv {
        owner: Some("_xmpp-component._tcp.svc.example.test".to_owned()),
    };
    let servers = in_time(Discovery::new(&config).resolve())
        .await
        .expect("found");
    assert_eq!(found(&servers), ["n1.example.test 127.0.0.1:5223"]);
}

#[tokio::test]
async fn a_root_target_means_that_there_is_no_service() {
    let dns = Dns::start().await;
    dns.srv(OWNER, 0, 0, ".").await;
    let error = in_time(Discovery::new(&config(&dns)).resolve())
        .await
        .expect_err("no service");
    assert!(matches!(error, DiscoveryError::NoService { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_name_is_reported_in_the_words_of_the_original() {
    let dns = Dns::start().await;
    let error = in_time(Discovery::new(&config(&dns)).resolve())
        .await
        .expect_err("no records");
    let text = error.to_string();
    assert!(
        text.starts_with("No DNS A or AAAA records for _xmpp-component._tcp.example.test"),
        "{text}"
    );
    let (bridge, _receiver) = Bridge::start(config(&dns)).expect("a good configuration");
    let mut status = bridge.status();
    let waiting = in_time(status.wait_for(|status| status.state == State::WaitingToRetry)).await;
    let line = waiting
        .expect("a status")
        .line(std::time::SystemTime::now());
    assert!(
        line.starts_with("failed to connect to example.test due to DNS error ("),
        "{line}"
    );
}

#[tokio::test]
async fn a_target_without_address_is_passed_over_and_named_when_it_is_the_only_one() {
    let dns = Dns::start().await;
    dns.srv(OWNER, 0, 5223, "gone.example.test.").await;
    let mut discovery = Discovery::new(&config(&dns));
    let error = in_time(discovery.resolve()).await.expect_err("no address");
    assert_eq!(
        error.to_string(),
        "No DNS A or AAAA records for gone.example.test"
    );
    dns.srv(OWNER, 1, 5223, "n2.example.test.").await;
    dns.a("n2.example.test.", ip(2)).await;
    let servers = in_time(discovery.resolve()).await.expect("found");
    assert_eq!(found(&servers), ["n2.example.test 127.0.0.2:5223"]);
}

#[tokio::test]
async fn every_round_asks_again_and_a_denial_is_believed_but_a_failure_is_not() {
    let mut dns = Dns::start().await;
    dns.srv(OWNER, 0, 5223, "n1.example.test.").await;
    dns.a("n1.example.test.", ip(1)).await;
    let mut discovery = Discovery::new(&config(&dns));
    assert_eq!(in_time(discovery.resolve()).await.expect("found").len(), 1);
    dns.a("n1.example.test.", ip(9)).await;
    assert_eq!(in_time(discovery.resolve()).await.expect("found").len(), 2);
    dns.remove_srv(OWNER).await;
    in_time(discovery.resolve()).await.expect_err("denied");
    dns.srv(OWNER, 0, 5223, "n1.example.test.").await;
    in_time(discovery.resolve()).await.expect("found");
    dns.stop().await;
    assert_eq!(
        in_time(discovery.resolve())
            .await
            .expect("the former answer")
            .len(),
        2
    );
    let patience = std::time::Duration::from_millis(1);
    assert_eq!(
        in_time(discovery.resolve_within(patience))
            .await
            .expect("the former answer")
            .len(),
        2
    );
}

#[tokio::test]
async fn equal_targets_are_drawn_anew_in_each_round() {
    let dns = Dns::start().await;
    for last in 1..=3 {
        let host = format!("n{last}.example.test.");
        dns.srv(OWNER, 0, 5223, &host).await;
        dns.a(&host, ip(last)).await;
    }
    let mut discovery = Discovery::new(&config(&dns));
    let mut firsts = std::collections::HashSet::new();
    while firsts.len() < 3 {
        let servers = in_time(discovery.resolve()).await.expect("found");
        assert_eq!(servers.len(), 3);
        firsts.insert(servers[0].address);
    }
}

#[tokio::test]
async fn a_given_list_is_used_without_asking_for_srv() {
    let dns = Dns::start().await;
    dns.a("n1.example.test.", ip(1)).await;
    let mut config = config(&dns);
    let hosts = ["n1.example.test:7000", "127.0.0.2:5223"];
    config.servers = Servers::List(
        hosts
            .iter()
            .map(|host| host.parse().expect("a host"))
            .collect(),
    );
    let servers = in_time(Discovery::new(&config).resolve())
        .await
        .expect("found");
    assert_eq!(
        found(&servers),
        ["n1.example.test 127.0.0.1:7000", "127.0.0.2 127.0.0.2:5223"]
    );
}

#[tokio::test]
async fn a_bridge_moves_to_the_other_target_of_its_records() {
    let (dns, cluster) = (Dns::start().await, Cluster::new());
    let mut nodes = [Node::start(&cluster).await, Node::start(&cluster).await];
    for (index, node) in nodes.iter().enumerate() {
        let host = format!("n{index}.example.test.");
        dns.srv(OWNER, 0, node.address.port(), &host).await;
        dns.a(&host, ip(1)).await;
    }
    let (_bridge, _receiver, mut events) = start(config(&dns));
    let (first, _) = in_time(registered(&mut events)).await;
    for node in &mut nodes {
        if node.address.port() == first {
            node.kill();
        }
    }
    let (second, resumed) = in_time(registered(&mut events)).await;
    assert!(second != first && resumed);
}

#[tokio::test]
async fn an_address_that_does_not_answer_does_not_hold_up_the_next() {
    let (dns, cluster) = (Dns::start().await, Cluster::new());
    let node = Node::start(&cluster).await;
    // A full backlog swallows connection attempts as a dead machine does.
    let deaf = Deaf::start(node.address.port()).await;
    dns.srv(OWNER, 0, node.address.port(), "n0.example.test.")
        .await;
    dns.srv(OWNER, 1, node.address.port(), "n1.example.test.")
        .await;
    dns.a("n0.example.test.", ip(2)).await;
    dns.a("n1.example.test.", ip(1)).await;
    let (bridge, _receiver, mut events) = start(config(&dns));
    let (port, _) = in_time(registered(&mut events)).await;
    assert_eq!(port, node.address.port());
    let server = bridge.status().borrow().server.clone().expect("a server");
    assert_eq!(server.target.host, "n1.example.test");
    drop(deaf);
}

/// A listener whose backlog is full.
struct Deaf {
    _listener: tokio::net::TcpListener,
    _waiting: Vec<tokio::net::TcpStream>,
}

impl Deaf {
    async fn start(port: u16) -> Self {
        let address = SocketAddr::from((ip(2), port));
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(address).expect("the port");
        let listener = socket.listen(1).expect("listening");
        let mut waiting = Vec::new();
        let patience = std::time::Duration::from_millis(300);
        while let Ok(stream) =
            tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await
        {
            waiting.push(stream.expect("connected"));
        }
        Self {
            _listener: listener,
            _waiting: waiting,
        }
    }
}
