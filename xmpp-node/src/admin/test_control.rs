//! A control that answers each request in a known way, and a status to look at, for tests only.

use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use xmpp_node_api::admin::{
    AdminError, Bridge, BridgeLimits, BridgeSecret, Decision, ErrorCode, Request, Response, Secret,
};
use xmpp_node_api::status::{
    Attachment, BridgeState, BridgeStatus, CertificateStatus, Leader, Ledger, MemberRole, NodeId,
    NodeRole, NodeStatus, PeerStatus, QueueStatus, Readiness,
};
use xmpp_node_api::time::Timestamp;

use super::Control;

/// Answers everything, keeps what it was asked.
#[derive(Default)]
pub(crate) struct TestControl {
    pub(crate) asked: Mutex<Vec<Request>>,
}

impl Control for TestControl {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AdminError>> {
        let answer = match &request {
            Request::Status {} => Ok(Response::Status(Box::new(status()))),
            Request::MayRestart { .. } => Ok(Response::Decision(Decision {
                allowed: false,
                reason: "xmpp2 is down".into(),
            })),
            Request::PutBridge { name, secret } | Request::RotateBridge { name, secret } => {
                let secret = secret
                    .clone()
                    .unwrap_or_else(|| Secret::new("kvgP1SRzWVabhiPVAb1".into()));
                Ok(Response::Bridge(bridge(name, Some(secret))))
            }
            Request::ListBridges { reveal } => {
                let secret = reveal.then(|| Secret::new("kvgP1SRzWVabhiPVAb1".into()));
                Ok(Response::Bridges(vec![
                    bridge("cb1", secret.clone()),
                    bridge("cb2", secret),
                ]))
            }
            Request::RemoveBridge { name } if name != "cb1" => Err(AdminError::new(
                ErrorCode::UnknownBridge,
                format!("no bridge is named {name}"),
            )),
            Request::TransferLeader { .. } => {
                Err(AdminError::not_leader(status().leader).with_fix("ask xmpp1"))
            }
            // Never answered.
            Request::Join { .. } => {
                self.asked
                    .lock()
                    .expect("no test panics with it")
                    .push(request);
                return futures::future::pending().boxed();
            }
            _ => Ok(Response::Done {}),
        };
        self.asked
            .lock()
            .expect("no test panics with it")
            .push(request);
        futures::future::ready(answer).boxed()
    }
}

fn bridge(name: &str, secret: Option<Secret>) -> Bridge {
    let secrets = vec![BridgeSecret {
        generation: 1,
        secret,
    }];
    Bridge {
        name: name.to_owned(),
        domain: "tptac9.com".to_owned(),
        secrets,
        limits: BridgeLimits::default(),
    }
}

/// Three nodes that are well, seen from the third.
pub(crate) fn status() -> NodeStatus {
    let since = Timestamp::from_unix_ms(1_502_609_278_000);
    let address = |host: u8| {
        format!("10.106.81.{host}:7222")
            .parse()
            .expect("an address")
    };
    let peer = |number: u64, host| PeerStatus {
        name: format!("xmpp{number}"),
        id: NodeId(number),
        address: address(host),
        role: MemberRole::Voter,
        leader: number == 1,
        reachable: true,
        since,
        caught_up: None,
    };
    let certificate = |file: &str, trust: bool| CertificateStatus {
        serial: "1f".to_owned(),
        not_after: Timestamp::from_unix_ms(1_600_000_000_000),
        certificate_file: format!("/etc/xmpp/{file}.cer"),
        key_file: format!("/etc/xmpp/{file}.key"),
        trust_bundle: trust.then(|| format!("/etc/xmpp/{file}.cer")),
    };
    NodeStatus {
        name: "xmpp3".to_owned(),
        id: NodeId(3),
        address: address(32),
        cluster_id: Some("c1".to_owned()),
        role: NodeRole::Follower,
        term: 4,
        leader: Some(Leader {
            id: NodeId(1),
            name: "xmpp1".to_owned(),
            address: Some(address(30)),
        }),
        applied: 120,
        committed: 121,
        digest: "00ff".to_owned(),
        configuration_digest: "ff00".to_owned(),
        votes_needed: 2,
        votes_seen: 3,
        last_state_change: since,
        ready: Readiness {
            ok: true,
            reason: String::new(),
        },
        draining: false,
        peers: vec![peer(1, 30), peer(2, 31)],
        bridges: vec![BridgeStatus {
            name: "cb1".to_owned(),
            jid: "cb1.tptac9.com".to_owned(),
            attached: Some(Attachment {
                node: "xmpp2".to_owned(),
                since,
            }),
            state: BridgeState::Attached,
            queue: QueueStatus {
                stanzas: 2,
                bytes: 300,
            },
            secret_generations: vec![1],
            unconfirmed: false,
            refusal: None,
        }],
        strangers: Vec::new(),
        ledger: Ledger {
            accepted: 10,
            delivered: 8,
            queued: 2,
            ..Ledger::default()
        },
        certificate: certificate("component", false),
        peer_certificate: certificate("abhiall", true),
        version: "0.1.0".to_owned(),
        uptime_seconds: 93_784,
    }
}
