//! Each rule of the CRD, with one that it takes and one that it refuses; and the examples.
//!
//! Patterns and bounds are part of the same schema; here a small reader of OpenAPI checks them. The API server has the last word.

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::*;

fn minimal() -> Value {
    let text = include_str!("../../../deploy/examples/minimal.yaml");
    serde_saphyr::from_str(text).expect("an example")
}

fn schema() -> Value {
    let crd = serde_json::to_value(XmppCluster::crd()).expect("plain data");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Everything wrong with a resource: bounds and patterns first, then rules.
fn faults(resource: &Value, old: Option<&Value>) -> Vec<String> {
    let mut faults = Vec::new();
    check(&schema(), resource, "", &mut faults);
    if !faults.is_empty() {
        return faults;
    }
    let read = |value: &Value| -> Result<XmppCluster, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    };
    let found = match (read(resource), old.map(read)) {
        (Err(error), _) | (_, Some(Err(error))) => return vec![error],
        (Ok(new), None) => new.validate_cel(),
        (Ok(new), Some(Ok(old))) => new.validate_cel_update(&old),
    };
    let found = found
        .err()
        .map(kube::core::cel::ValidationErrors::into_vec)
        .unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

/// The part of OpenAPI that our schema uses; an unknown keyword fails, so that none is silently left out.
fn check(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let number = |key: &str| schema[key].as_f64();
    let mut fault = |holds: bool, what: String| {
        if !holds {
            faults.push(format!("{at}: {what}"));
        }
    };
    let length = match value {
        Value::String(text) => Some(("Length", text.chars().count())),
        Value::Array(list) => Some(("Items", list.len())),
        Value::Object(map) => Some(("Properties", map.len())),
        _ => None,
    };
    for keyword in schema.as_object().expect("a schema is an object").keys() {
        match keyword.as_str() {
            "type" => {
                let fits = match schema["type"].as_str() {
                    Some("object") => value.is_object(),
                    Some("array") => value.is_array(),
                    Some("string") => value.is_string(),
                    Some("boolean") => value.is_boolean(),
                    Some("integer") => value.is_i64(),
                    _ => false,
                };
                fault(fits, format!("must be of type {}", schema["type"]));
            }
            "minimum" => fault(
                value.as_f64() >= number("minimum"),
                format!("must be at least {}", schema["minimum"]),
            ),
            "maximum" => fault(
                value.as_f64() <= number("maximum"),
                format!("must be at most {}", schema["maximum"]),
            ),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "maxProperties" => {
                let bound = schema[keyword].as_u64().expect("a number") as usize;
                if let Some((_, length)) = length.filter(|(kind, _)| keyword.ends_with(kind)) {
                    let fits = if keyword.starts_with("min") {
                        length >= bound
                    } else {
                        length <= bound
                    };
                    fault(fits, format!("{keyword} is {bound}"));
                }
            }
            "pattern" => {
                let pattern = regex::Regex::new(schema["pattern"].as_str().expect("text"))
                    .expect("a pattern");
                let fits = value.as_str().is_some_and(|text| pattern.is_match(text));
                fault(fits, format!("must match {}", schema["pattern"]));
            }
            "enum" => {
                let fits = schema["enum"]
                    .as_array()
                    .is_some_and(|list| list.contains(value));
                fault(fits, format!("must be one of {}", schema["enum"]));
            }
            "required" => {
                for key in schema["required"].as_array().into_iter().flatten() {
                    let there = key.as_str().is_some_and(|key| value.get(key).is_some());
                    fault(there, format!("{key} is required"));
                }
            }
            "x-kubernetes-list-map-keys" => {
                let keys: Vec<&Value> = value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|one| &one["name"])
                    .collect();
                let twice = keys
                    .iter()
                    .enumerate()
                    .find(|(at, key)| keys[..*at].contains(key));
                fault(twice.is_none(), format!("{twice:?} is there twice"));
            }
            "properties"
            | "items"
            | "additionalProperties"
            | "description"
            | "title"
            | "default"
            | "format"
            | "nullable"
            | "x-kubernetes-validations"
            | "x-kubernetes-list-type" => {}
            other => panic!("{at}: the keyword {other} is not checked"),
        }
    }
    if let Some(list) = value.as_array() {
        for (index, one) in list.iter().enumerate() {
            check(&schema["items"], one, &format!("{at}[{index}]"), faults);
        }
    }
    if let (Some(map), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for (key, one) in map {
            match known.get(key) {
                Some(schema) => check(schema, one, &format!("{at}.{key}"), faults),
                None if at.is_empty() => {}
                None => faults.push(format!("{at}.{key}: no such field")),
            }
        }
    }
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut resource = minimal();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = resource.pointer_mut(parent).expect("it is there");
        parent[key] = value.clone();
    }
    resource
}

#[test]
fn every_example_is_valid() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).expect("the examples") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        for document in serde_saphyr::from_multiple::<Value>(&text).expect("YAML") {
            if document["kind"] == "XmppCluster" {
                assert_eq!(faults(&document, None), [""; 0], "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_full_example_has_every_field() {
    let text = include_str!("../../../deploy/examples/full.yaml");
    let full: Value = serde_saphyr::from_str(text).expect("YAML");
    for field in schema()["properties"]["spec"]["properties"]
        .as_object()
        .expect("fields")
        .keys()
    {
        assert!(
            full["spec"].get(field).is_some(),
            "deploy/examples/full.yaml lacks {field}"
        );
    }
}

/// What must be refused, and a word of the message that says why.
#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let bridges = |count: usize| -> Value {
        (0..count)
            .map(|at| json!({ "name": format!("cb{at}") }))
            .collect()
    };
    let table: Vec<(&str, Value, &str)> = vec![
        ("/spec/replicas", json!(2), "1, 3, 5 or 7"),
        ("/spec/replicas", json!(4), "1, 3, 5 or 7"),
        ("/spec/replicas", json!(0), "at least 1"),
        ("/spec/replicas", json!(9), "at most 7"),
        ("/spec/replicas", json!("3"), "of type"),
        ("/spec/domain", json!(""), ".spec.domain"),
        ("/spec/domain", json!("Example.test"), "must match"),
        ("/spec/domain", json!("example..test"), "must match"),
        ("/spec/domain", json!("-example.test"), "must match"),
        ("/spec/domain", json!("192.0.2.1"), "not an IP address"),
        (
            "/spec/domain",
            json!(format!("{}.test", "a".repeat(200))),
            "maxLength",
        ),
        ("/spec/domain", Value::Null, "of type"),
        (
            "/spec/bridges",
            json!([{ "name": "cb1" }, { "name": "cb1" }]),
            "twice",
        ),
        ("/spec/bridges", json!([{ "name": "CB1" }]), "must match"),
        ("/spec/bridges", json!([{ "name": "cb.1" }]), "must match"),
        ("/spec/bridges", json!([{ "name": "" }]), "minLength"),
        ("/spec/bridges", json!([{}]), "required"),
        ("/spec/bridges", bridges(257), "maxItems"),
        (
            "/spec/bridges",
            json!([{ "name": "cb1", "secretRef": {} }]),
            "required",
        ),
        (
            "/spec/bridges",
            json!([{ "name": "cb1", "secret": "s" }]),
            "no such field",
        ),
        ("/spec/storage", json!({ "size": "big" }), "must match"),
        ("/spec/storage", json!({ "size": "1Mi" }), "at least 64Mi"),
        (
            "/spec/storage",
            json!({ "whenDeleted": "Keep" }),
            "must be one of",
        ),
        ("/spec/tls", json!({}), "exactly one"),
        (
            "/spec/tls",
            json!({ "generated": {}, "secretRef": { "name": "a" } }),
            "exactly one",
        ),
        (
            "/spec/tls",
            json!({ "secretRef": { "name": "A b" } }),
            "must match",
        ),
        (
            "/spec/expose",
            json!({ "type": "ingress" }),
            "must be one of",
        ),
        ("/spec/expose", json!({}), "required"),
        ("/spec/image", json!(""), "minLength"),
        (
            "/spec/imagePullPolicy",
            json!("Sometimes"),
            "must be one of",
        ),
        (
            "/spec/resources",
            json!({ "limits": { "memory": "much" } }),
            "must match",
        ),
        ("/spec/limits", json!({ "maxStanzaBytes": 100 }), "at least"),
        (
            "/spec/limits",
            json!({ "sessionQueueBytes": 65536 }),
            "at least twice",
        ),
        ("/spec/paused", json!("yes"), "of type"),
        ("/spec/size", json!(3), "no such field"),
        ("/metadata/name", json!("a".repeat(41)), "40"),
        ("/metadata/name", json!("a.b"), "must not contain"),
    ];
    for (pointer, value, reason) in table {
        let found = faults(&with(&[(pointer, value.clone())]), None);
        assert!(
            found.iter().any(|fault| fault.contains(reason)),
            "{pointer} {value}: {found:?}"
        );
    }
}

#[test]
fn what_works_is_taken() {
    for (pointer, value) in [
        ("/spec/replicas", json!(1)),
        ("/spec/replicas", json!(7)),
        ("/spec/domain", json!("localhost")),
        ("/spec/bridges", json!([])),
        ("/spec/tls", json!({ "generated": {} })),
        ("/spec/expose", json!({ "type": "none" })),
        ("/spec/storage", json!({ "size": "1.5Gi" })),
        ("/metadata/name", json!("a".repeat(40))),
    ] {
        assert_eq!(
            faults(&with(&[(pointer, value.clone())]), None),
            [""; 0],
            "{pointer} {value}"
        );
    }
}

#[test]
fn what_is_for_life_stays() {
    let old = with(&[(
        "/spec/storage",
        json!({ "size": "2Gi", "storageClassName": "fast" }),
    )]);
    let grown = with(&[(
        "/spec/storage",
        json!({ "size": "3Gi", "storageClassName": "fast" }),
    )]);
    assert_eq!(faults(&grown, Some(&old)), [""; 0]);
    for (pointer, value, reason) in [
        ("/spec/domain", json!("other.test"), "immutable"),
        (
            "/spec/storage",
            json!({ "size": "1Gi", "storageClassName": "fast" }),
            "must not shrink",
        ),
        (
            "/spec/storage",
            json!({ "size": "2Gi", "storageClassName": "slow" }),
            "immutable",
        ),
        ("/spec/storage", json!({ "size": "2Gi" }), "immutable"),
    ] {
        let mut new = old.clone();
        *new.pointer_mut(pointer).expect("it is there") = value.clone();
        let found = faults(&new, Some(&old));
        assert!(
            found.iter().any(|fault| fault.contains(reason)),
            "{pointer} {value}: {found:?}"
        );
    }
}

/// The API server estimates the cost of rules by the bounds, and refuses a CRD where one is missing.
#[test]
fn everything_in_the_spec_is_bounded() {
    fn unbounded(schema: &Value, at: &str, found: &mut Vec<String>) {
        let bound = match schema["type"].as_str() {
            Some("string") if schema["enum"].is_array() => None,
            Some("string") => Some("maxLength"),
            Some("array") => Some("maxItems"),
            Some("integer") => Some("maximum"),
            Some("object") if schema["additionalProperties"].is_object() => Some("maxProperties"),
            _ => None,
        };
        if let Some(bound) = bound.filter(|bound| schema[*bound].is_null()) {
            found.push(format!("{at} has no {bound}"));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            unbounded(inner, &format!("{at}.{name}"), found);
        }
        if schema["items"].is_object() {
            unbounded(&schema["items"], &format!("{at}[]"), found);
        }
    }
    let mut found = Vec::new();
    unbounded(&schema()["properties"]["spec"], "spec", &mut found);
    assert_eq!(found, [""; 0]);
}
