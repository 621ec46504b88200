//! Runs the transcripts in `testdata/component/`: what goes in, and what must be done then.
//!
//! | Line | Means |
//! |---|---|
//! | `# ...` | a comment; the first of a stream tells what it shows |
//! | `> ...` | bytes from the peer |
//! | `! ...` | another input: `verified 1`, `unverified`, `bound 7 0`, `refused conflict`, `taken 3`, `answer now`, `close system-shutdown` |
//! | `< ...` | written to the peer |
//! | `= ...` | what else must be done |
//!
//! A line `---` begins another stream. `XMPP_REWRITE=1 cargo test -p xmpp-core transcripts` writes the lines `<` and `=` anew.

use std::fs;
use std::path::Path;

use super::*;
use crate::framer::{Framer, Limits};
use crate::router::Refusal;

/// One stream under test.
struct Run {
    framer: Framer,
    machine: ComponentStream,
}

impl Run {
    fn new() -> Self {
        let server = Server {
            domain: "example.test".to_owned(),
            resume_seconds: 30,
            max_stanza_bytes: 262_144,
            plain: false,
        };
        Self {
            framer: Framer::new(Limits::default()),
            machine: ComponentStream::new(server, "stream-1".to_owned()),
        }
    }

    /// Takes one line of input; returns the lines that must follow it.
    fn line(&mut self, line: &str) -> Vec<String> {
        let mut actions = Vec::new();
        if let Some(bytes) = line.strip_prefix("> ") {
            self.framer.buffer().extend_from_slice(bytes.as_bytes());
            while !self.machine.is_closed() {
                match self.framer.next_frame() {
                    Ok(Some(frame)) => self.machine.handle(Input::Frame(frame), &mut actions),
                    Ok(None) => break,
                    Err(error) => self
                        .machine
                        .handle(Input::Close(error.into()), &mut actions),
                }
            }
        } else if let Some(event) = line.strip_prefix("! ") {
            self.machine.handle(input(event), &mut actions);
        }
        actions.iter().map(shown).collect()
    }
}

fn input(text: &str) -> Input {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |at: usize| -> u64 {
        let word: &str = words.get(at).copied().unwrap_or_default();
        word.parse()
            .unwrap_or_else(|_| panic!("no number in {text}"))
    };
    match words[0] {
        "verified" => Input::Verified(u32::try_from(number(1)).ok()),
        "unverified" => Input::Verified(None),
        "bound" => Input::Bound {
            session: SessionId(u128::from(number(1))),
            name: Jid::parse("cb1.example.test").expect("an address"),
            taken: number(2),
            counted: 0,
        },
        "refused" => Input::Refused(match words[1] {
            "not-authorized" => Refusal::NotAuthorized,
            "conflict" => Refusal::Conflict,
            "item-not-found" => Refusal::ItemNotFound,
            "too-high" => Refusal::HandledTooHigh {
                h: u32::try_from(number(2)).expect("32 bits"),
                sent: u32::try_from(number(3)).expect("32 bits"),
            },
            other => panic!("unknown refusal {other}"),
        }),
        "taken" => Input::Taken(number(1)),
        "answer" => Input::AnswerNow,
        "close" => {
            let condition = StreamCondition::ALL
                .iter()
                .find(|condition| condition.as_str() == words[1]);
            Input::Close(StreamError::new(*condition.expect("a condition")))
        }
        other => panic!("unknown input {other}"),
    }
}

fn shown(action: &Action) -> String {
    match action {
        Action::Write(text) => format!("< {text}"),
        Action::Verify { domain, presented } => format!("= verify {domain} {presented}"),
        Action::Bind {
            domain,
            generation,
            managed,
        } => {
            let how = if *managed { "managed" } else { "plain" };
            format!("= bind {domain} secret {generation} {how}")
        }
        Action::Resume {
            name,
            generation,
            session,
            h,
        } => format!(
            "= resume {name} secret {generation} session {:x} h {h}",
            session.0
        ),
        Action::Submit { stanza, to, reject } => {
            let reject = reject.map_or(String::new(), |condition| format!(" reject {condition}"));
            let routed = stanza.to_routed();
            let text = String::from_utf8_lossy(&routed.bytes);
            format!("= submit to '{to}'{reject} {text}")
        }
        Action::Lookup { .. }
        | Action::Try { .. }
        | Action::Judged { .. }
        | Action::Restart
        | Action::BindResource { .. }
        | Action::Enable => format!("= not for a component: {action:?}"),
        Action::PingAnswered(number) => format!("= ping {number} answered"),
        Action::Acknowledged(h) => format!("= acknowledged {h}"),
        Action::Finish {
            closed_by_peer: true,
        } => "= finish, closed by the peer".to_owned(),
        Action::Finish {
            closed_by_peer: false,
        } => "= finish".to_owned(),
    }
}

/// The transcript as it should be.
fn replay(transcript: &str) -> String {
    let mut run = Run::new();
    let mut out = String::new();
    for line in transcript.lines() {
        if line.starts_with("< ") || line.starts_with("= ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line == "---" {
            run = Run::new();
        }
        for expected in run.line(line) {
            out.push_str(&expected);
            out.push('\n');
        }
    }
    out
}

#[test]
#[expect(clippy::disallowed_methods, reason = "transcripts are files")]
fn transcripts_of_components_are_replayed_to_the_letter() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/component");
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("the directory of transcripts") {
        let path = entry.expect("readable").path();
        let transcript = fs::read_to_string(&path).expect("readable");
        let replayed = replay(&transcript);
        if std::env::var_os("XMPP_REWRITE").is_some() {
            fs::write(&path, &replayed).expect("writable");
        } else {
            let lines = transcript.lines().zip(replayed.lines()).enumerate();
            for (number, (was, is)) in lines {
                assert_eq!(was, is, "{}:{}", path.display(), number + 1);
            }
            assert_eq!(transcript, replayed, "{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 5, "{count} transcripts");
}

#[test]
fn late_answers_change_nothing() {
    let mut run = Run::new();
    for event in [
        "verified 1",
        "bound 1 0",
        "refused conflict",
        "taken 1",
        "answer now",
    ] {
        assert_eq!(run.line(&format!("! {event}")), [""; 0], "{event}");
    }
    let header = "> <stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='cb1'>";
    assert_eq!(run.line(header).len(), 1);
    assert_eq!(run.machine.peer_domain(), Some("cb1.example.test"));
    assert!(!run.machine.is_established() && !run.machine.is_closed());
    assert_eq!(run.line("! close system-shutdown").len(), 3);
    assert_eq!(run.line("! close system-shutdown"), [""; 0], "closed once");
    assert_eq!(run.line("! bound 1 0"), [""; 0]);
}
