//! What is made once, what is renewed, and what is said of what a user gave.

use super::*;
use crate::build::tests::cluster;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

fn later(days: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_hours(24 * days)
}

/// What the API server would hold after these were created or applied.
fn store(secrets: &mut Secrets, written: Vec<Value>) {
    for object in written {
        let name = object["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        let data = object["data"].as_object().expect("data").iter();
        let data = data.map(|(key, value)| {
            let value = STANDARD
                .decode(value.as_str().expect("text"))
                .expect("base64");
            (key.clone(), value)
        });
        secrets.own.entry(name).or_default().extend(data);
    }
}

fn made(cluster: &Cluster) -> Secrets {
    let mut secrets = Secrets::default();
    let missing = missing(cluster, &secrets, now()).expect("made");
    store(&mut secrets, missing);
    let keyring = Keyring::load(cluster, &secrets).expect("loads");
    let renewed = keyring.renewed(cluster, &secrets, now()).expect("issued");
    store(&mut secrets, renewed);
    secrets
}

#[test]
fn what_is_good_is_not_written_again_and_what_is_due_is() {
    let cluster = cluster("full");
    let secrets = made(&cluster);
    let keyring = Keyring::load(&cluster, &secrets).expect("loads");
    assert!(
        missing(&cluster, &secrets, later(500))
            .expect("fine")
            .is_empty()
    );
    let names = |days: i64| -> Vec<String> {
        let written = keyring
            .renewed(&cluster, &secrets, later(days))
            .expect("issued");
        let name = |object: &Value| {
            object["metadata"]["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        };
        written.iter().map(name).collect()
    };
    assert!(names(0).is_empty() && names(18).is_empty());
    assert_eq!(names(21), ["xmpp-node-certificates"]);
    keyring.caller(now()).expect("the operator can connect");
}

#[test]
fn a_binding_that_changes_never_carries_the_secret() {
    let mut cluster = cluster("small");
    let secrets = made(&cluster);
    let before = secrets.own["xmpp-bridge-cb1"]["secret"].clone();
    assert_eq!(before.len(), 32);
    cluster.names.zone = "other.zone".to_owned();
    let keyring = Keyring::load(&cluster, &secrets).expect("loads");
    let renewed = keyring.renewed(&cluster, &secrets, now()).expect("issued");
    let binding = renewed
        .iter()
        .find(|object| object["metadata"]["name"] == "xmpp-bridge-cb1");
    let data = &binding.expect("it changed")["data"];
    assert!(data["secret"].is_null() && !data["srv"].is_null());
}

#[test]
fn a_damaged_authority_is_an_error_and_is_not_replaced() {
    let cluster = cluster("small");
    let mut secrets = made(&cluster);
    let ca = secrets.own.get_mut("xmpp-internal-ca").expect("made");
    ca.insert("ca.key".to_owned(), b"rubbish".to_vec());
    assert!(missing(&cluster, &secrets, now()).expect("fine").is_empty());
    let error = Keyring::load(&cluster, &secrets)
        .expect_err("damaged")
        .to_string();
    assert!(error.contains("xmpp-internal-ca"), "{error}");
}

#[test]
fn what_a_user_gave_is_judged_in_words() {
    let cluster = cluster("full");
    let mut secrets = made(&cluster);
    let fault =
        |secrets: &Secrets, at| certificate_fault(&cluster, secrets, at).map(|(reason, _)| reason);
    assert_eq!(fault(&secrets, now()), Some("SecretMissing"));
    let pair = Authority::create("a CA", now(), 30).expect("made");
    let authority = Authority::load(&pair).expect("loads");
    let mut give = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let issued = authority
            .issue_server(&names, &[], now(), 30)
            .expect("issued");
        let data = pair_data(&issued, "tls.crt", "tls.key");
        secrets.given.insert("calls-tls".to_owned(), Some(data));
        secrets.clone()
    };
    assert_eq!(
        fault(&give(&["other.test"]), now()),
        Some("CertificateWrongName")
    );
    let good = give(&["calls.example.test"]);
    assert_eq!(fault(&good, now()), None);
    assert_eq!(fault(&good, later(40)), Some("CertificateExpired"));
    assert_eq!(fault(&good, later(-10)), Some("CertificateNotYetValid"));
    let change = |key: &str, value: Option<&[u8]>| {
        let mut secrets = good.clone();
        let data = secrets.given.get_mut("calls-tls").expect("given");
        let data = data.as_mut().expect("given");
        match value {
            Some(value) => data.insert(key.to_owned(), value.to_vec()),
            None => data.remove(key),
        };
        certificate_fault(&cluster, &secrets, now()).expect("it is no good")
    };
    let (reason, message) = change("tls.key", None);
    assert_eq!(reason, "SecretIncomplete");
    for word in ["spec.tls.secretRef", "calls-tls", "tls.key"] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(
        change("tls.crt", Some(b"rubbish")).0,
        "CertificateUnreadable"
    );
    assert_eq!(change("tls.key", Some(b"rubbish")).0, "KeyUnreadable");
    let (reason, message) = change("tls.key", Some(pair.key.as_bytes()));
    assert_eq!(reason, "KeyMismatch");
    assert!(
        message.contains("tls.key") && !message.contains("PRIVATE"),
        "{message}"
    );
    let error = wanted_secret(&cluster, &good, "cb2").expect_err("not there");
    assert!(
        error.contains("cb2") && error.contains("legacy-bridge"),
        "{error}"
    );
}

#[test]
fn no_secret_is_printed() {
    let secrets = made(&cluster("small"));
    let secret = &secrets.own["xmpp-bridge-cb1"]["secret"];
    let text = format!("{secrets:?}");
    assert!(!text.contains(std::str::from_utf8(secret).expect("letters")));
    assert!(!text.contains("PRIVATE"));
}

#[test]
fn members_have_a_copy_of_the_last_good_certificate_of_a_user() {
    let cluster = cluster("full");
    let mut secrets = made(&cluster);
    let copied = |secrets: &mut Secrets, at| {
        let keyring = Keyring::load(&cluster, secrets).expect("loads");
        let written = keyring.renewed(&cluster, secrets, at).expect("issued");
        let is_copy = |object: &&Value| object["metadata"]["name"] == "xmpp-certificate";
        let copies = written.iter().filter(is_copy).count();
        store(secrets, written);
        copies == 1
    };
    assert!(!copied(&mut secrets, now()) && trust(&cluster, &secrets).is_none());
    let pair = Authority::create("a CA", now(), 30).expect("made");
    let authority = Authority::load(&pair).expect("loads");
    let names = ["calls.example.test".to_owned()];
    let issued = authority
        .issue_server(&names, &[], now(), 30)
        .expect("issued");
    let mut good = pair_data(&issued, "tls.crt", "tls.key");
    good.insert("ca.crt".to_owned(), pair.certificate.clone().into_bytes());
    good.insert("more".to_owned(), b"of the user's".to_vec());
    secrets
        .given
        .insert("calls-tls".to_owned(), Some(good.clone()));
    assert!(copied(&mut secrets, now()));
    assert!(!copied(&mut secrets, now()));
    good.remove("more");
    assert_eq!(secrets.own["xmpp-certificate"], good);
    assert_eq!(trust(&cluster, &secrets), Some(pair.certificate.as_str()));
    // Neither what is no good nor what is gone takes it away.
    for given in [None, Some(Data::from([("tls.crt".to_owned(), Vec::new())]))] {
        secrets.given.insert("calls-tls".to_owned(), given);
        assert!(!copied(&mut secrets, now()));
        assert_eq!(secrets.own["xmpp-certificate"], good);
        let (_, message) = certificate_fault(&cluster, &secrets, now()).expect("a fault");
        assert!(message.contains("members go on"), "{message}");
    }
    let ends = |days| certificate_ends(&cluster, &secrets, later(days));
    assert_eq!(ends(28), None, "there is nothing given that could end");
}
