//! A client by hand on the machine: what it sends, what must be done then.
//!
//! Length: one test a state of the stream, on one client by hand.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::framer::{Framer, Limits};
use crate::router::{Refusal, SessionId};
use crate::scram::{Credentials, MIN_ITERATIONS, Mechanism};
use crate::stream::Found;

const DOMAIN: &str = "example.test";
pub(super) const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.test' version='1.0'>";
const CHANNEL: &[u8] = b"exported";

/// One stream under test, with the users `juliet` (generation 3) and nobody else.
pub(super) struct Run {
    framer: Framer,
    machine: ClientStream,
    channel: bool,
}

impl Run {
    pub(super) fn new(channel: bool) -> Self {
        Self::offering(channel, false, &[])
    }

    /// One with these addresses in its certificate.
    pub(super) fn offering(channel: bool, plain: bool, certified: &[&str]) -> Self {
        let server = Server {
            domain: DOMAIN.to_owned(),
            resume_seconds: 30,
            max_stanza_bytes: 12_345,
            plain,
        };
        let bound = channel.then(|| CHANNEL.to_vec());
        let certified: Vec<_> = certified.iter().flat_map(|jid| Jid::parse(jid)).collect();
        Self {
            framer: Framer::new(Limits::default()),
            machine: ClientStream::new(server, [7; 32], bound, &certified),
            channel,
        }
    }

    /// A stream that is authenticated as juliet and opened again.
    fn authenticated() -> Self {
        let mut run = Self::new(false);
        run.send(HEADER);
        let out = run.login("SCRAM-SHA-256", "juliet", "secret");
        assert!(out.contains("<success "), "{out}");
        run.send(HEADER);
        run
    }

    /// One that has the resource `balcony`; five stanzas were taken before, as if by another stream.
    fn bound() -> Self {
        let mut run = Self::authenticated();
        run.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        run.input(bound(5, 0));
        assert!(run.machine.is_established());
        run
    }

    /// What must be done with these bytes: what is written stands as it is, everything else in brackets.
    pub(super) fn send(&mut self, text: &str) -> String {
        self.framer.buffer().extend_from_slice(text.as_bytes());
        let mut out = String::new();
        loop {
            let input = match self.framer.next_frame() {
                Ok(Some(frame)) => Input::Frame(frame),
                Ok(None) => return out,
                Err(error) => Input::Close(error.into()),
            };
            let over = matches!(input, Input::Close(_));
            out += &self.input(input);
            if over {
                return out;
            }
        }
    }

    fn input(&mut self, input: Input) -> String {
        let mut actions = Vec::new();
        self.machine.handle(input, &mut actions);
        let mut out = String::new();
        for action in actions {
            match action {
                Action::Write(text) => out += &text,
                Action::Restart => self.framer.reset(),
                Action::Lookup { user } => {
                    let known = user == "juliet";
                    let found = Found {
                        credentials: match known {
                            true => {
                                Credentials::derive("secret", &[[1; 16], [2; 16]], MIN_ITERATIONS)
                            }
                            false => Credentials::decoy(b"decoy", &user),
                        },
                        generation: known.then_some(3),
                    };
                    out += &self.input(Input::Credentials(Box::new(found)));
                }
                Action::Try { user, password } => {
                    let right = user == "juliet" && password.expose() == "secret";
                    out += &self.input(Input::Tried(right.then_some(3)));
                }
                Action::Submit { stanza, to, reject } => {
                    let text = stanza.to_routed();
                    let text = String::from_utf8_lossy(&text.bytes).into_owned();
                    out += &format!("[submit to '{to}' {reject:?} {text}]");
                }
                other => out += &format!("[{other:?}]"),
            }
        }
        out
    }

    /// A whole exchange by SCRAM, as a client does it.
    fn login(&mut self, mechanism: &str, user: &str, password: &str) -> String {
        let known = Mechanism::from_name(mechanism).expect("a mechanism");
        let header = if known.plus {
            "p=tls-exporter,,"
        } else {
            "n,,"
        };
        let bare = format!("n={user},r=client");
        let auth = format!(
            "<auth xmlns='{}' mechanism='{mechanism}'>{}</auth>",
            ns::SASL,
            BASE64_STANDARD.encode(format!("{header}{bare}"))
        );
        let out = self.send(&auth);
        let Some(challenge) = content(&out, "challenge") else {
            return out;
        };
        let channel = if self.channel && known.plus {
            CHANNEL
        } else {
            b""
        };
        let last = crate::scram::tests::respond(
            known.hash,
            password,
            &bare,
            &challenge,
            &[header.as_bytes(), channel].concat(),
        );
        self.send(&format!(
            "<response xmlns='{}'>{}</response>",
            ns::SASL,
            BASE64_STANDARD.encode(last)
        ))
    }
}

/// The decoded text of an element that was written.
fn content(out: &str, name: &str) -> Option<String> {
    let (_, rest) = out.split_once(&format!("<{name} "))?;
    let (text, _) = rest.split_once('>')?.1.split_once('<')?;
    String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()
}

fn bound(taken: u64, counted: u64) -> Input {
    Input::Bound {
        session: SessionId(0xab),
        name: Jid::parse("juliet@example.test/balcony").expect("an address"),
        taken,
        counted,
    }
}

#[test]
fn rfc_6120_6_and_7_a_client_comes_in_and_talks() {
    let mut run = Run::new(true);
    let out = run.send(&format!(
        "<?xml version='1.0'?>{}",
        HEADER.replace(" to=", " from='juliet@example.test' to=")
    ));
    let first_id = out.split(" id='").nth(1).expect("an id")[..32].to_owned();
    assert!(out.contains(" to='juliet@example.test' "), "{out}");
    let mechanisms = "<mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>";
    assert!(out.contains(mechanisms), "{out}");
    let out = run.login("SCRAM-SHA-256-PLUS", "Juliet", "secret");
    assert!(
        out.starts_with("[Judged { user: \"juliet\", mechanism: \"SCRAM-SHA-256-PLUS\", proved: true }]<success "),
        "{out}"
    );
    assert!(content(&out, "success").expect("data").starts_with("v="));
    let out = run.send(&HEADER.replace("version=", "xml:lang='de' version="));
    assert!(!out.contains(&first_id), "{out}");
    for offer in [
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
        "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>",
        "<sm xmlns='urn:xmpp:sm:3'/>",
        "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>12345</max-bytes></limits>",
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:xmppcluster:node' ver='",
    ] {
        assert!(out.contains(offer), "{offer} in {out}");
    }
    let out = run.send("<iq type='set' id='a&amp;b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><x><resource>no</resource></x><resource>balcony</resource></bind></iq>");
    assert_eq!(
        out,
        "[BindResource { user: \"juliet\", generation: 3, resource: \"balcony\" }]"
    );
    assert_eq!(
        run.input(bound(0, 0)),
        "<iq type='result' id='a&amp;b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@example.test/balcony</jid></bind></iq>"
    );
    let out = run.send("<message to='romeo@example.test'><body>O</body></message>");
    assert_eq!(
        out,
        "[submit to 'example.test' None <message from='juliet@example.test/balcony' to='romeo@example.test' xml:lang='de'><body>O</body></message>]"
    );
    assert_eq!(
        run.send("</stream:stream>"),
        "</stream:stream>[Finish { closed_by_peer: true }]"
    );
}

#[test]
fn every_mechanism_works_and_those_with_binding_only_where_offered() {
    for mechanism in Mechanism::ALL {
        for channel in [true, false] {
            let mut run = Run::new(channel);
            let offer = run.send(HEADER);
            let name = mechanism.name();
            let offered = offer.contains(&format!("<mechanism>{name}</mechanism>"));
            assert_eq!(offered, channel || !mechanism.plus, "{name}");
            let out = run.login(name, "juliet", "secret");
            let expected = if offered {
                "<success "
            } else {
                "<invalid-mechanism/>"
            };
            assert!(out.contains(expected), "{name}: {out}");
        }
    }
}

#[test]
fn rfc_6120_6_4_4_a_wrong_password_may_be_tried_again_but_not_for_ever() {
    let mut run = Run::new(false);
    run.send(HEADER);
    for attempt in 1..=MAX_FAILURES {
        let (user, password) = if attempt % 2 == 0 {
            ("nobody", "secret")
        } else {
            ("juliet", "wrong")
        };
        let out = run.login("SCRAM-SHA-1", user, password);
        let judged = format!(
            "[Judged {{ user: \"{user}\", mechanism: \"SCRAM-SHA-1\", proved: false }}]<failure "
        );
        assert!(out.starts_with(&judged), "{out}");
        assert!(out.contains("<not-authorized/></failure>"), "{out}");
        assert_eq!(
            out.contains("<policy-violation "),
            attempt == MAX_FAILURES,
            "{out}"
        );
    }
    assert_eq!(run.machine.error(), Some(StreamCondition::PolicyViolation));
}

#[test]
fn a_user_who_does_not_exist_is_challenged_like_any_other() {
    let challenge = |user: &str| {
        let mut run = Run::new(false);
        run.send(HEADER);
        let first = BASE64_STANDARD.encode(format!("n,,n={user},r=client"));
        let out = run.send(&format!(
            "<auth xmlns='{}' mechanism='SCRAM-SHA-256'>{first}</auth>",
            ns::SASL
        ));
        let text = content(&out, "challenge").expect("a challenge");
        let fields: Vec<String> = text.split(',').map(str::to_owned).collect();
        (fields[1].clone(), fields[1].len())
    };
    assert_eq!(challenge("nobody"), challenge("nobody"));
    assert_eq!(challenge("nobody").1, challenge("juliet").1);
}

#[test]
fn rfc_6120_6_5_faults_of_sasl_have_their_conditions() {
    let auth = |mechanism: &str, text: &str| {
        format!(
            "<auth xmlns='{}' mechanism='{mechanism}'>{text}</auth>",
            ns::SASL
        )
    };
    let encoded = |text: &str| auth("SCRAM-SHA-256", &BASE64_STANDARD.encode(text));
    for (sent, condition) in [
        (auth("PLAIN", "AGEAYg=="), "invalid-mechanism"),
        (auth("SCRAM-SHA-256", "*"), "incorrect-encoding"),
        (encoded("n,,"), "malformed-request"),
        (
            encoded("n,a=romeo@example.test,n=juliet,r=x"),
            "invalid-authzid",
        ),
        (encoded("n,,n=ju liet,r=x"), "not-authorized"),
        (encoded("p=tls-exporter,,n=juliet,r=x"), "not-authorized"),
        (
            format!("<response xmlns='{}'/>", ns::SASL),
            "malformed-request",
        ),
    ] {
        let mut run = Run::new(false);
        run.send(HEADER);
        let out = run.send(&sent);
        let expected = format!("<failure xmlns='{}'><{condition}/></failure>", ns::SASL);
        assert_eq!(out, expected, "{sent}");
        let own = run.login("SCRAM-SHA-256", "juliet", "secret");
        assert!(own.contains("<success "), "{own}");
    }
    let mut run = Run::new(false);
    run.send(HEADER);
    assert_eq!(
        run.send(&auth("SCRAM-SHA-1", "")),
        format!("<challenge xmlns='{}'></challenge>", ns::SASL)
    );
    assert!(
        run.send(&format!("<abort xmlns='{}'/>", ns::SASL))
            .contains("<aborted/>")
    );
}

#[test]
fn p10_nothing_but_its_turn_is_taken_before_a_resource_is_bound() {
    for stanza in [
        "<message/>",
        "<presence/>",
        "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    ] {
        let mut early = Run::new(false);
        early.send(HEADER);
        for mut run in [early, Run::authenticated()] {
            let out = run.send(stanza);
            assert!(out.contains("<stream:error><not-authorized "), "{out}");
            assert!(!out.contains("submit"), "{out}");
        }
    }
}

#[test]
fn p23_who_opens_again_as_somebody_else_is_refused() {
    let mut run = Run::new(false);
    run.send(HEADER);
    run.login("SCRAM-SHA-256", "juliet", "secret");
    let out = run.send(&HEADER.replace(" to=", " from='romeo@example.test' to="));
    assert!(out.contains("<stream:error><invalid-from "), "{out}");
}

#[test]
fn p24_a_bind_that_fails_may_be_tried_again_but_not_for_ever() {
    let mut run = Run::authenticated();
    let ask = |resource: &str| {
        format!(
            "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        )
    };
    let out = run.send(&ask("a&#x9;b"));
    assert!(
        out.contains("type='error' id='1'><error type='modify'><bad-request "),
        "{out}"
    );
    for attempt in 2..=MAX_BINDS {
        run.send(&ask("r"));
        let refusal = if attempt % 2 == 0 {
            Refusal::Conflict
        } else {
            Refusal::TooManyResources
        };
        let out = run.input(Input::Refused(refusal));
        let condition = if attempt % 2 == 0 {
            "conflict"
        } else {
            "resource-constraint"
        };
        assert!(
            out.contains(&format!(
                "><{condition} xmlns='{}'/></error></iq>",
                ns::STANZA_ERRORS
            )),
            "{out}"
        );
        assert_eq!(
            out.contains("<policy-violation "),
            attempt == MAX_BINDS,
            "{out}"
        );
    }
}

#[test]
fn p25_a_client_speaks_for_itself_alone() {
    for own in [
        "juliet@example.test",
        "juliet@example.test/balcony",
        "JULIET@example.test",
    ] {
        let out = Run::bound().send(&format!("<presence from='{own}'/>"));
        assert_eq!(
            out,
            "[submit to 'example.test' None <presence from='juliet@example.test/balcony'></presence>]"
        );
    }
    for other in [
        "romeo@example.test",
        "juliet@example.test/garden",
        "example.test",
        "@",
    ] {
        let out = Run::bound().send(&format!("<presence from='{other}'/>"));
        assert!(
            out.contains("<stream:error><invalid-from "),
            "{other}: {out}"
        );
    }
}

#[test]
fn rfc_6120_10_3_what_has_no_address_is_for_the_own_user() {
    let out = Run::bound().send("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert!(
        out.contains("<iq from='juliet@example.test/balcony' to='juliet@example.test' "),
        "{out}"
    );
    let out = Run::bound().send("<message to='@'/>");
    assert!(
        out.starts_with("[submit to '' Some(JidMalformed) "),
        "{out}"
    );
}

#[test]
fn xep_0198_a_client_counts_from_its_enable_on() {
    let mut run = Run::bound();
    run.send("<presence/>");
    assert_eq!(
        run.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        "[Enable]"
    );
    run.send("<message to='a@b'/><r xmlns='urn:xmpp:sm:3'/>");
    assert!(
        !run.machine.owes_answer(),
        "the answer comes with the decision"
    );
    // Six were taken when it was applied, one since.
    assert_eq!(
        run.input(Input::Enabled {
            taken: 7,
            counted: 6
        }),
        "<enabled xmlns='urn:xmpp:sm:3' id='000000000000000000000000000000ab' resume='true' max='30'/><a xmlns='urn:xmpp:sm:3' h='1'/>"
    );
    assert_eq!(
        run.send("<a xmlns='urn:xmpp:sm:3' h='4'/>"),
        "[Acknowledged(4)]"
    );
    run.send("<message to='a@b'/><r xmlns='urn:xmpp:sm:3'/>");
    assert!(run.machine.owes_answer());
    assert_eq!(
        run.input(Input::Taken(8)),
        "<a xmlns='urn:xmpp:sm:3' h='2'/>"
    );
    let out = run.send("<enable xmlns='urn:xmpp:sm:3'/>");
    assert!(out.contains("<policy-violation "), "{out}");
    let mut run = Run::bound();
    run.send("<enable xmlns='urn:xmpp:sm:3'/>");
    let out = run.input(Input::Enabled {
        taken: 5,
        counted: 5,
    });
    assert_eq!(
        out, "<enabled xmlns='urn:xmpp:sm:3'/>",
        "no resumption that was not asked for"
    );
}

#[test]
fn xep_0198_a_session_is_resumed_or_a_resource_bound_instead() {
    let mut run = Run::authenticated();
    let out = run.send("<enable xmlns='urn:xmpp:sm:3'/>");
    assert!(
        out.starts_with("<failed xmlns='urn:xmpp:sm:3'><unexpected-request "),
        "{out}"
    );
    let out = run.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>");
    assert!(out.contains("<item-not-found "), "{out}");
    let resume = format!(
        "<resume xmlns='urn:xmpp:sm:3' previd='{}' h='9'/>",
        SessionId(0xab).previd()
    );
    let asked = "[Resume { name: \"juliet@example.test\", generation: 3, session: session 00000000.., h: 9 }]";
    assert_eq!(run.send(&resume), asked);
    assert!(
        run.input(Input::Refused(Refusal::ItemNotFound))
            .contains("<item-not-found ")
    );
    assert_eq!(run.send(&resume), asked);
    let previd = SessionId(0xab).previd();
    assert_eq!(
        run.input(bound(8, 6)),
        format!("<resumed xmlns='urn:xmpp:sm:3' previd='{previd}' h='2'/>")
    );
    run.send("<message to='a@b'/><r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(
        run.input(Input::Taken(9)),
        "<a xmlns='urn:xmpp:sm:3' h='3'/>"
    );
    let mut run = Run::authenticated();
    run.send(&resume);
    let out = run.input(Input::Refused(Refusal::HandledTooHigh { h: 9, sent: 2 }));
    assert!(
        out.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='9' send-count='2'/>"),
        "{out}"
    );
}

#[test]
fn answers_to_our_pings_are_told_from_stanzas_until_the_client_counts() {
    let pong = "<iq type='result' id='xc-barrier-7' to='example.test'/>";
    let mut run = Run::bound();
    assert_eq!(run.send(pong), "[PingAnswered(7)]");
    assert_eq!(
        run.send(&pong.replace("result", "error")),
        "[PingAnswered(7)]"
    );
    assert!(
        run.send(&pong.replace("'example.test'", "'romeo@example.test'"))
            .starts_with("[submit ")
    );
    run.send("<enable xmlns='urn:xmpp:sm:3'/>");
    assert!(
        run.send(pong).starts_with("[submit "),
        "XEP-0198 counts every stanza"
    );
}

#[test]
fn stream_ids_and_nonces_never_repeat_and_follow_from_the_secret() {
    let mut entropy = Entropy {
        entropy: [1; 32],
        drawn: 0,
    };
    let drawn: std::collections::BTreeSet<String> = (0..1000).map(|_| entropy.draw()).collect();
    assert_eq!(drawn.len(), 1000);
    let mut other = Entropy {
        entropy: [2; 32],
        drawn: 0,
    };
    assert!(!drawn.contains(&other.draw()));
}
