//! The rights of the chart are those that the program asks for: none more, none less.

use std::collections::BTreeSet;

use super::*;

type Granted = BTreeSet<(String, String, String)>;

/// What a Role of the template grants. Rules are plain YAML there; lines of the template language are left out.
fn granted(role: usize) -> Granted {
    let text = include_str!("../../../charts/xmpp-operator/templates/rbac.yaml");
    let plain: Vec<&str> = text.lines().filter(|line| !line.contains("{{")).collect();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&plain.join("\n")).expect("YAML");
    let roles: Vec<&Value> = documents
        .iter()
        .filter(|one| one["kind"] == "Role")
        .collect();
    let mut granted = Granted::new();
    let list = |value: &Value| -> Vec<String> {
        let list = value.as_array().expect("a list").iter();
        list.map(|one| one.as_str().expect("text").to_owned())
            .collect()
    };
    for rule in roles[role]["rules"].as_array().expect("rules") {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                for verb in list(&rule["verbs"]) {
                    assert_ne!(verb, "*");
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    granted
}

fn asked(rights: &[Right]) -> Granted {
    let one = |(group, resource, verbs): &Right| {
        let verbs = verbs.iter().map(|verb| {
            (
                (*group).to_owned(),
                (*resource).to_owned(),
                (*verb).to_owned(),
            )
        });
        verbs.collect::<Vec<_>>()
    };
    rights.iter().flat_map(one).collect()
}

#[test]
fn the_chart_grants_what_the_program_asks_for_and_no_more() {
    assert_eq!(granted(0), asked(RIGHTS));
    assert_eq!(granted(1), asked(OWN_RIGHTS));
}

#[test]
fn the_crd_of_the_chart_is_the_one_of_the_program() {
    let text = include_str!("../../../charts/xmpp-operator/files/crd.yaml");
    let made = crate::crd_yaml().expect("it can be written");
    assert_eq!(text, made, "`make fix` writes it anew");
}
