//! What a stranger may send, taken by everything that reads it. Each function panics where something is wrong; `make fuzz` calls
//! them with bytes of its choice, and a test with all that it ever found worth keeping (`fuzz/corpus`).

use rxml::{Parse as _, WithOptions as _};
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::framer::{Frame, FrameError, Framer, Limits};
use xmpp_core::jid::Jid;
use xmpp_core::router::SessionId;
use xmpp_core::scram::{ClientFirst, Credentials, Exchange, Mechanism};
use xmpp_core::stream::client::ClientStream;
use xmpp_core::stream::component::ComponentStream;
use xmpp_core::stream::starttls::{StartTls, Step};
use xmpp_core::stream::{Action, Found, Input, Server};
use xmpp_node_api::admin::Request;

/// Takes bytes, and panics where something is wrong.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("framer", framer),
    ("rxml", rxml),
    ("streams", streams),
    ("scram", scram),
    ("peer_frames", peer_frames),
    ("admin", admin),
];

const HEADER: &[u8] = b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='a.b'>";

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut framer = Framer::new(Limits::default());
    let mut found = Vec::new();
    for piece in pieces {
        framer.buffer().extend_from_slice(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// However bytes are split, the framer makes the same of them.
pub fn framer(data: &[u8]) {
    let Some((size, text)) = data.split_first() else {
        return;
    };
    let whole = frames([text].into_iter());
    let split = frames(text.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, split);
}

/// What the framer accepts rxml, a strict parser, accepts too.
pub fn rxml(data: &[u8]) {
    let (found, _) = frames([HEADER, data].into_iter());
    let mut accepted = HEADER.to_vec();
    for frame in &found {
        match frame {
            Frame::Element(element) => accepted.extend_from_slice(element.bytes()),
            Frame::Close => accepted.extend_from_slice(b"</stream:stream>"),
            Frame::Open(_) => {}
        }
    }
    // XML 1.0, 2.11 has line feeds for carriage returns before parsing; rxml 0.14 wants it done.
    for byte in &mut accepted {
        if *byte == b'\r' {
            *byte = b'\n';
        }
    }
    let options = rxml::Options {
        max_token_length: 1 << 20,
        ..rxml::Options::default()
    };
    let mut parser = rxml::Parser::with_options(options);
    let mut rest = &accepted[..];
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(_)) => {}
            Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return,
            Err(rxml::error::EndOrError::Error(error)) => {
                panic!(
                    "rxml: {error}: {}",
                    String::from_utf8_lossy(&accepted[HEADER.len()..])
                )
            }
        }
    }
}

fn server() -> Server {
    Server {
        domain: "a.b".to_owned(),
        resume_seconds: 30,
        max_stanza_bytes: 262_144,
        plain: true,
    }
}

/// What the rest of a node would answer to what a machine wants done.
fn answer(action: &Action) -> Option<Input> {
    let bound = |name: &str| Input::Bound {
        session: SessionId(7),
        name: Jid::parse(name).expect("an address"),
        taken: 0,
        counted: 0,
    };
    match action {
        Action::Verify { presented, .. } => {
            Some(Input::Verified((presented.len() < 40).then_some(1)))
        }
        Action::Lookup { user } => Some(Input::Credentials(Box::new(Found {
            credentials: Credentials::decoy(b"secret", user),
            generation: Some(1),
        }))),
        Action::Try { password, .. } => {
            Some(Input::Tried((password.expose().len() > 1).then_some(1)))
        }
        Action::Bind { .. } => Some(bound("a.b")),
        Action::BindResource { .. } | Action::Resume { .. } => Some(bound("u@a.b/r")),
        Action::Enable => Some(Input::Enabled {
            taken: 0,
            counted: 0,
        }),
        _ => None,
    }
}

/// Any bytes on any kind of stream end in actions, and at most once in an end.
pub fn streams(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    let mut framer = Framer::new(Limits::default());
    framer.buffer().extend_from_slice(text);
    if *kind % 3 == 2 {
        return starttls(&mut framer);
    }
    let id = || "0123456789abcdef".to_owned();
    let mut component = ComponentStream::new(server(), id());
    let user = Jid::parse("u@a.b").expect("an address");
    let mut client = ClientStream::new(server(), [7; 32], Some(vec![1; 32]), &[user]);
    let (mut finished, mut taken) = (false, 0);
    while !finished {
        let input = match framer.next_frame() {
            Ok(Some(frame)) => Input::Frame(frame),
            Ok(None) => break,
            Err(error) => Input::Close(error.into()),
        };
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut actions = Vec::new();
            match kind % 3 {
                0 => component.handle(input, &mut actions),
                _ => client.handle(input, &mut actions),
            }
            for action in actions {
                inputs.extend(answer(&action));
                match action {
                    Action::Restart => framer.reset(),
                    Action::Submit { stanza, reject, .. } => {
                        let routed = stanza.to_routed();
                        assert!(!routed.bytes.is_empty());
                        taken += u64::from(reject.is_none());
                        inputs.push(Input::Taken(taken));
                    }
                    Action::Finish { .. } => {
                        assert!(!finished, "a stream ends once");
                        finished = true;
                    }
                    _ => {}
                }
            }
        }
    }
}

fn starttls(framer: &mut Framer) {
    let mut machine = StartTls::new("a.b".to_owned(), "id".to_owned());
    let mut out = String::new();
    loop {
        match framer.next_frame() {
            Ok(Some(frame)) if machine.handle(&frame, &mut out) == Step::Continue => {}
            Ok(_) => return,
            Err(_) => {
                return machine.close(&StreamError::new(StreamCondition::BadFormat), &mut out);
            }
        }
    }
}

/// Messages of a client, separated by a zero: first, final.
pub fn scram(data: &[u8]) {
    let Some((at, text)) = data.split_first() else {
        return;
    };
    let mut messages = text.splitn(2, |byte| *byte == 0);
    let first = messages.next().unwrap_or_default();
    let Ok(first) = ClientFirst::parse(first) else {
        return;
    };
    let mechanism = Mechanism::ALL[usize::from(*at) % Mechanism::ALL.len()];
    let credentials = Credentials::decoy(b"secret", &first.name);
    let channel = mechanism.plus.then_some(&b"channel"[..]);
    let begun = Exchange::begin(mechanism, first, &credentials, true, channel, "nonce");
    if let (Ok((exchange, _)), Some(last)) = (begun, messages.next()) {
        assert!(
            exchange.finish(last).is_err(),
            "nobody knows a password of decoys"
        );
    }
}

/// Frames between nodes.
pub fn peer_frames(data: &[u8]) {
    if let Ok(frames) = xmpp_node::peer::count_frames(data) {
        assert!(frames * 14 <= data.len());
    }
}

/// Requests of the admin API: the first byte says which.
pub fn admin(data: &[u8]) {
    let Some((at, body)) = data.split_first() else {
        return;
    };
    let name = Request::NAMES[usize::from(*at) % Request::NAMES.len()];
    if let Ok(request) = xmpp_node::admin::parse(name, body) {
        let _ = request.fault();
        assert_eq!(request.name(), name);
    }
}
