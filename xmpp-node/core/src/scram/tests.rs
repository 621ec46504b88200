//! The examples of the standards, then what must be refused.

use super::*;

/// A client as RFC 5802, 3 has it, for these tests.
struct Client {
    hash: Hash,
    password: &'static str,
    header: &'static str,
    channel: &'static [u8],
}

impl Client {
    const NONCE: &'static str = "rOprNGfwEbeRWgbNEkqO";

    fn first(&self) -> String {
        format!("{}n=user,r={}", self.header, Self::NONCE)
    }

    /// The final message, and what the server must answer.
    fn last(&self, challenge: &str) -> (String, String) {
        let channel = [self.header.as_bytes(), self.channel].concat();
        let bare = format!("n=user,r={}", Self::NONCE);
        let last = respond(self.hash, self.password, &bare, challenge, &channel);
        let (salt, iterations) = salt(challenge);
        let keys = Credentials::derive(self.password, &[salt; 2], iterations);
        let (without, _) = last.rsplit_once(",p=").expect("a proof");
        let auth = format!("{bare},{challenge},{without}");
        let signature = self.hash.hmac(&keys.of(self.hash).server, auth.as_bytes());
        (last, format!("v={}", BASE64_STANDARD.encode(signature)))
    }
}

/// Salt and iterations of a challenge.
fn salt(challenge: &str) -> ([u8; 16], u32) {
    let fields: Vec<&str> = challenge.split(',').collect();
    let salt = decode(&fields[1][2..]).expect("Base64");
    let iterations = fields[2][2..].parse().expect("a number");
    (salt.try_into().expect("16 bytes"), iterations)
}

/// The client-final-message, as RFC 5802, 3 has it; `bare` is the client-first-message-bare, `channel` what `c=` holds.
pub(crate) fn respond(
    hash: Hash,
    password: &str,
    bare: &str,
    challenge: &str,
    channel: &[u8],
) -> String {
    let (salt, iterations) = salt(challenge);
    let (nonce, _) = challenge.split_once(',').expect("fields");
    let without = format!("c={},{nonce}", BASE64_STANDARD.encode(channel));
    let auth = format!("{bare},{challenge},{without}");
    let salted = ring_salted(hash, password, &salt, iterations);
    let mut proof = hash.hmac(&salted, b"Client Key");
    let stored = hash.digest(&proof);
    for (byte, more) in proof.iter_mut().zip(hash.hmac(&stored, auth.as_bytes())) {
        *byte ^= more;
    }
    format!("{without},p={}", BASE64_STANDARD.encode(&proof))
}

fn ring_salted(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let iterations = std::num::NonZeroU32::new(iterations).expect("not 0");
    let (algorithm, length) = match hash {
        Hash::Sha1 => (ring::pbkdf2::PBKDF2_HMAC_SHA1, 20),
        Hash::Sha256 => (ring::pbkdf2::PBKDF2_HMAC_SHA256, 32),
    };
    let mut out = vec![0; length];
    ring::pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut out);
    out
}

fn credentials() -> Credentials {
    Credentials::derive("pencil", &[[7; 16], [9; 16]], MIN_ITERATIONS)
}

fn begin(
    mechanism: Mechanism,
    first: &str,
    channel: Option<&[u8]>,
) -> Result<(Exchange, String), ScramError> {
    let first = ClientFirst::parse(first.as_bytes())?;
    Exchange::begin(mechanism, first, &credentials(), true, channel, "server")
}

#[test]
fn rfc_7677_3_the_example_is_reproduced() {
    let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("well-formed");
    let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("Base64");
    let salt: [u8; 16] = salt.try_into().expect("16 bytes");
    let credentials = Credentials::derive("pencil", &[salt; 2], 4096);
    let mechanism = Mechanism::new(Hash::Sha256, false);
    let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let (exchange, challenge) =
        Exchange::begin(mechanism, first, &credentials, true, None, nonce).expect("well");
    assert_eq!(
        challenge,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(
        exchange.finish(last).as_deref(),
        Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    );
}

#[test]
fn every_mechanism_accepts_the_password_and_proves_the_server() {
    for mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::from_name(mechanism.name()), Some(mechanism));
        let client = Client {
            hash: mechanism.hash,
            password: "pencil",
            header: if mechanism.plus {
                "p=tls-exporter,,"
            } else {
                "n,,"
            },
            channel: if mechanism.plus { b"channel" } else { b"" },
        };
        let channel = mechanism.plus.then_some(&b"channel"[..]);
        let (exchange, challenge) = begin(mechanism, &client.first(), channel).expect("well");
        let (last, expected) = client.last(&challenge);
        assert_eq!(
            exchange.finish(last.as_bytes()),
            Ok(expected),
            "{mechanism:?}"
        );
    }
    assert_eq!(Mechanism::from_name("PLAIN"), None);
}

#[test]
fn a_wrong_password_and_a_name_that_does_not_exist_are_refused_alike() {
    let mechanism = Mechanism::new(Hash::Sha256, false);
    let client = |password| Client {
        hash: Hash::Sha256,
        password,
        header: "n,,",
        channel: b"",
    };
    let (exchange, challenge) = begin(mechanism, &client("wrong").first(), None).expect("well");
    let (last, _) = client("wrong").last(&challenge);
    assert_eq!(
        exchange.finish(last.as_bytes()),
        Err(ScramError::NotAuthorized)
    );
    // Even who knew keys that fit would not be taken for a user.
    let first = ClientFirst::parse(client("pencil").first().as_bytes()).expect("well");
    let (exchange, challenge) =
        Exchange::begin(mechanism, first, &credentials(), false, None, "server").expect("well");
    let (last, _) = client("pencil").last(&challenge);
    assert_eq!(
        exchange.finish(last.as_bytes()),
        Err(ScramError::NotAuthorized)
    );
}

#[test]
fn rfc_5802_9_a_decoy_is_stable_plausible_and_differs_by_name_and_secret() {
    let decoy = |secret: &[u8], name| Credentials::decoy(secret, name);
    let one = decoy(b"secret", "eve");
    assert_eq!(one, decoy(b"secret", "eve"));
    for other in [decoy(b"secret", "bob"), decoy(b"other", "eve")] {
        assert_ne!(one.of(Hash::Sha256).salt, other.of(Hash::Sha256).salt);
    }
    assert_ne!(one.of(Hash::Sha1).salt, one.of(Hash::Sha256).salt);
    let real = credentials();
    for hash in [Hash::Sha1, Hash::Sha256] {
        let (one, real) = (one.of(hash), real.of(hash));
        assert_eq!(one.salt.len(), real.salt.len());
        assert_eq!(one.stored.len(), real.stored.len());
        assert_eq!(one.iterations, DEFAULT_ITERATIONS);
    }
}

#[test]
fn rfc_5802_6_channel_bindings_that_do_not_match_are_refused() {
    let plus = Mechanism::new(Hash::Sha256, true);
    let plain = Mechanism::new(Hash::Sha256, false);
    let channel = Some(&b"channel"[..]);
    for (mechanism, header, channel, good) in [
        (plus, "p=tls-exporter,,", channel, true),
        (plus, "p=tls-unique,,", channel, false),
        (plus, "p=tls-exporter,,", None, false),
        (plus, "n,,", channel, false),
        (plus, "y,,", channel, false),
        (plain, "n,,", channel, true),
        (plain, "n,,", None, true),
        (plain, "y,,", None, true),
        // Somebody hid our offer from the client.
        (plain, "y,,", channel, false),
        (plain, "p=tls-exporter,,", channel, false),
    ] {
        let begun = begin(mechanism, &format!("{header}n=user,r=abc"), channel);
        assert_eq!(begun.is_ok(), good, "{} {header}", mechanism.name());
    }
    let client = Client {
        hash: Hash::Sha256,
        password: "pencil",
        header: "p=tls-exporter,,",
        channel: b"somebody in between",
    };
    let (exchange, challenge) = begin(plus, &client.first(), channel).expect("well");
    let (last, _) = client.last(&challenge);
    assert_eq!(exchange.finish(last.as_bytes()), Err(ScramError::Binding));
}

#[test]
fn names_are_unescaped_and_what_is_no_message_is_refused() {
    let parsed = ClientFirst::parse(b"n,a=you,n=a=2Cb=3Dc,r=x,ext=1").expect("well-formed");
    assert_eq!(parsed.name, "a,b=c");
    assert_eq!(parsed.authzid.as_deref(), Some("you"));
    for message in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=",
        "n,,n=u",
        "n,,n=u,r=",
        "n,,r=x,n=u",
        "x,,n=u,r=x",
        "n,b=c,n=u,r=x",
        "n,,m=1,n=u,r=x",
        "n,,n=u=,r=x",
        "n,,n=u=2c,r=x",
        "n,,n=u,r=a b",
        "n,,n=u\0,r=x",
        "p,,n=u,r=x",
    ] {
        assert_eq!(
            ClientFirst::parse(message.as_bytes()),
            Err(ScramError::Malformed),
            "{message}"
        );
    }
    assert!(ClientFirst::parse(&[0xff; 8]).is_err());
    assert!(
        ClientFirst::parse(format!("n,,n={},r=x", "u".repeat(MAX_MESSAGE)).as_bytes()).is_err()
    );
    for last in [
        "",
        "c=biws",
        "c=biws,r=x",
        "c=biws,p=AA==",
        "c=!,r=x,p=AA==",
        "r=x,c=biws,p=AA==",
        "c=biws,r=x,p=*",
    ] {
        let (exchange, _) =
            begin(Mechanism::new(Hash::Sha1, false), "n,,n=u,r=x", None).expect("well");
        assert_eq!(
            exchange.finish(last.as_bytes()),
            Err(ScramError::Malformed),
            "{last}"
        );
    }
}

#[test]
fn credentials_survive_their_encoding_and_are_not_shown() {
    let credentials = credentials();
    let bytes = credentials.encode();
    assert_eq!(Credentials::decode(&bytes).as_ref(), Some(&credentials));
    assert_eq!(Credentials::decode(&bytes[..bytes.len() - 1]), None);
    assert_eq!(Credentials::decode(&[&[9], &bytes[1..]].concat()), None);
    assert_eq!(Credentials::decode(&[]), None);
    assert_eq!(
        format!("{:?}", credentials.of(Hash::Sha1)),
        "keys of 4096 iterations"
    );
}

#[test]
fn too_few_iterations_are_raised_to_the_least() {
    let weak = Credentials::derive("pencil", &[[7; 16], [9; 16]], 1);
    assert_eq!(weak, credentials());
}
