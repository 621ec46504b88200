//! Objects as they were read and approved: `golden/*.yaml`. `UPDATE_GOLDEN=1` writes them anew, to be read again.

use std::path::PathBuf;

use super::*;
use crate::cluster::Settings;
use crate::crd::ClientsSpec;
use crate::crd::XmppCluster;
use crate::dns::tests::outside;

/// The cluster of an example: `small` is the minimal one, `full` has every field.
pub(crate) fn cluster(which: &str) -> Cluster {
    let text = match which {
        "small" => include_str!("../../../deploy/examples/minimal.yaml"),
        "exposed" => include_str!("../../../deploy/examples/exposed.yaml"),
        "full" => include_str!("../../../deploy/examples/full.yaml"),
        other => panic!("no example {other}"),
    };
    let mut resource: XmppCluster = serde_saphyr::from_str(text).expect("an example");
    resource.metadata.namespace = Some("calls".to_owned());
    resource.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    resource.metadata.generation = Some(1);
    let settings = Settings {
        image: "xmpp-node:0.1.0".to_owned(),
        zone: "cluster.local".to_owned(),
        namespace: "xmpp-operator".to_owned(),
    };
    Cluster::new(&resource, &settings)
}

fn built(which: &str) -> Vec<Value> {
    let cluster = cluster(which);
    let facts = Facts {
        replicas: cluster.spec.replicas,
        claim_size: None,
        trust: Some("a certificate\n".to_owned()),
    };
    objects(&cluster, &facts).expect("they can be written")
}

#[test]
fn objects_are_as_they_were_approved() {
    for which in ["small", "exposed", "full"] {
        let mut text = String::new();
        for object in built(which) {
            text += "---\n";
            text += &serde_saphyr::to_string(&object).expect("plain data");
        }
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("src/build/golden/{which}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("the source is ours");
        }
        let approved = std::fs::read_to_string(&path).expect("approved once");
        assert_eq!(
            text, approved,
            "{which}: UPDATE_GOLDEN=1 writes it anew; then read the difference"
        );
    }
}

#[test]
fn every_configuration_is_one_that_a_node_takes() {
    for which in ["small", "full"] {
        let cluster = cluster(which);
        let map = config::config_map(&cluster).expect("written");
        let files = map["data"].as_object().expect("files");
        assert_eq!(files.len(), 7);
        for (file, text) in files {
            let text = text.as_str().expect("text");
            let config: xmpp_node_api::config::Config =
                toml::from_str(text).expect("its own format");
            assert_eq!(config.faults(), [], "{file}");
            assert_eq!(format!("{}.toml", config.node.name), *file);
        }
    }
}

#[test]
fn pods_meet_the_restricted_profile() {
    for which in ["small", "full"] {
        let objects = built(which);
        let set = objects
            .iter()
            .find(|object| object["kind"] == "StatefulSet")
            .expect("one");
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(pod["automountServiceAccountToken"], false);
        for container in pod["containers"].as_array().expect("containers") {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        }
        for volume in pod["volumes"].as_array().expect("volumes") {
            let kinds: Vec<&String> = volume.as_object().expect("an object").keys().collect();
            assert!(
                kinds
                    .iter()
                    .all(|kind| ["name", "configMap", "secret"].contains(&kind.as_str()))
            );
        }
    }
}

#[test]
fn a_grown_volume_does_not_touch_the_claim_template() {
    let cluster = cluster("full");
    let facts = Facts {
        replicas: 5,
        claim_size: Some("1Gi".to_owned()),
        trust: None,
    };
    let objects = objects(&cluster, &facts).expect("written");
    let set = objects.last().expect("the StatefulSet is last");
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["resources"]["requests"]["storage"], "1Gi");
}

#[test]
fn zone_lines_are_what_a_zone_takes() {
    assert_eq!(
        zone_lines(&cluster("small"), &[]),
        [
            "_xmpp-component._tcp.example.test. 60 IN CNAME _xmpp-component._tcp.xmpp.calls.svc.cluster.local."
        ]
    );
    let outside = [
        outside("xmpp-0", "192.0.2.7", &[30123]),
        outside("xmpp-1", "lb.example.net", &[5223]),
    ];
    assert_eq!(
        zone_lines(&cluster("exposed"), &outside),
        [
            "xmpp-0.example.test. 60 IN A 192.0.2.7",
            "_xmpp-component._tcp.example.test. 60 IN SRV 10 10 30123 xmpp-0.example.test.",
            "_xmpp-component._tcp.example.test. 60 IN SRV 10 10 5223 lb.example.net.",
        ]
    );
}

#[test]
fn clients_have_their_own_lines_where_they_are_served() {
    let mut inside = cluster("small");
    inside.spec.clients = Some(ClientsSpec { enabled: true });
    assert_eq!(
        zone_lines(&inside, &[])[1..],
        [
            "_xmpp-client._tcp.example.test. 60 IN CNAME _xmpp-client._tcp.xmpp.calls.svc.cluster.local.",
            "_xmpps-client._tcp.example.test. 60 IN CNAME _xmpps-client._tcp.xmpp.calls.svc.cluster.local.",
        ]
    );
    let mut exposed = cluster("exposed");
    exposed.spec.clients = Some(ClientsSpec { enabled: true });
    assert_eq!(
        zone_lines(
            &exposed,
            &[outside("xmpp-0", "2001:db8::7", &[30123, 30124, 30125])]
        ),
        [
            "xmpp-0.example.test. 60 IN AAAA 2001:db8::7",
            "_xmpp-component._tcp.example.test. 60 IN SRV 10 10 30123 xmpp-0.example.test.",
            "_xmpp-client._tcp.example.test. 60 IN SRV 10 10 30124 xmpp-0.example.test.",
            "_xmpps-client._tcp.example.test. 60 IN SRV 10 10 30125 xmpp-0.example.test.",
        ]
    );
}
