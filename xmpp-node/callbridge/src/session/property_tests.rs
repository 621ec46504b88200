//! Random histories of one session against a model server: nothing is lost, nothing doubled, order is kept.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// What may happen next.
#[derive(Debug, Clone)]
enum Step {
    /// The application submits a stanza.
    Submit,
    /// The session fills the stream up to this many bytes.
    Fill(usize),
    /// The server reads this many of the elements under way.
    ServerReads(usize),
    /// The server sends this many more of its stanzas.
    ServerSends(usize),
    /// The server acknowledges what it has.
    ServerAcknowledges,
    /// The session reads this many of the elements under way to it.
    Reads(usize),
    /// The application confirms this many of those it holds.
    Confirms(usize),
    /// The connection breaks, what is under way is gone, and the session is resumed.
    Resume,
    /// The same, but the server has forgotten the session and says how far it had got.
    Forgotten,
    /// Time passes.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Submit),
        4 => (1..120_usize).prop_map(Step::Fill),
        4 => (1..6_usize).prop_map(Step::ServerReads),
        4 => (1..6_usize).prop_map(Step::ServerSends),
        2 => Just(Step::ServerAcknowledges),
        4 => (1..6_usize).prop_map(Step::Reads),
        4 => (1..6_usize).prop_map(Step::Confirms),
        1 => Just(Step::Resume),
        1 => Just(Step::Forgotten),
        2 => (1..400_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..200)
}

/// The server, the stream in both directions, and the application at our end.
struct World {
    session: Session,
    now: Instant,
    /// Elements under way to the server, and to us.
    up: VecDeque<Element>,
    down: VecDeque<Element>,
    submitted: u32,
    /// What the server has accepted, in order, over all sessions; and how many of them in the present one.
    accepted: Vec<u32>,
    accepted_here: u32,
    /// The server's stanzas: how many it made, how many of these were acknowledged, the next it will send.
    made: u32,
    acknowledged: u32,
    next: u32,
    /// Number of the server's stanza before the first one of the present session.
    base: u32,
    /// At our end: taken in order, and those not confirmed.
    taken: Vec<u32>,
    held: VecDeque<Receipt>,
    first_h: u32,
}

enum Element {
    Stanza(u32),
    Ask,
    Answer(u32),
}

impl World {
    fn new(first_h: u32) -> Self {
        let now = Instant::now();
        let mut session = Session::new(Timing::default());
        session.enabled(Some("id"), now);
        // Histories that begin just below the wrap-around meet it.
        session.acked = first_h;
        (session.received, session.confirmed, session.told) = (first_h, first_h, first_h);
        Self {
            session,
            now,
            up: VecDeque::new(),
            down: VecDeque::new(),
            submitted: 0,
            accepted: Vec::new(),
            accepted_here: first_h,
            made: 0,
            acknowledged: 0,
            next: 1,
            base: 0,
            taken: Vec::new(),
            held: VecDeque::new(),
            first_h,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit => {
                self.submitted += 1;
                self.session
                    .push(Bytes::from(format!("<iq {}/>", self.submitted)));
            }
            Step::Fill(limit) => self.fill(limit),
            Step::ServerReads(count) => (0..count).for_each(|_| self.server_reads()),
            Step::ServerSends(count) => {
                for _ in 0..count {
                    self.made = self.made.max(self.next);
                    self.down.push_back(Element::Stanza(self.next));
                    self.next += 1;
                }
            }
            Step::ServerAcknowledges => self.down.push_back(Element::Answer(self.accepted_here)),
            Step::Reads(count) => (0..count).for_each(|_| self.reads()),
            Step::Confirms(count) => {
                for receipt in self.held.drain(..count.min(self.held.len())) {
                    self.session.confirm(receipt, self.now);
                }
            }
            Step::Resume => self.resume(),
            Step::Forgotten => self.forgotten(),
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
        }
    }

    fn fill(&mut self, limit: usize) {
        let mut out = BytesMut::new();
        self.session.fill(&mut out, limit, self.now);
        let text = String::from_utf8(out.to_vec()).expect("text");
        for element in text.split_inclusive("/>") {
            let digits: String = element.chars().filter(char::is_ascii_digit).collect();
            self.up.push_back(match &element[..3] {
                "<iq" => Element::Stanza(digits.parse().expect("a number")),
                "<r " => Element::Ask,
                "<a " => Element::Answer(
                    element
                        .split('\'')
                        .nth(3)
                        .expect("h")
                        .parse()
                        .expect("a number"),
                ),
                other => panic!("unknown element {other}"),
            });
        }
    }

    fn server_reads(&mut self) {
        match self.up.pop_front() {
            None => (),
            Some(Element::Stanza(number)) => {
                self.accepted.push(number);
                self.accepted_here = self.accepted_here.wrapping_add(1);
            }
            Some(Element::Ask) => self.down.push_back(Element::Answer(self.accepted_here)),
            Some(Element::Answer(h)) => self.acknowledge(h),
        }
    }

    /// Our session has told the server what is confirmed.
    fn acknowledge(&mut self, h: u32) {
        let upto = self.base + h.wrapping_sub(self.session_base());
        assert!(
            upto >= self.acknowledged && upto <= self.made,
            "impossible acknowledgement {h}"
        );
        self.acknowledged = upto;
    }

    fn session_base(&self) -> u32 {
        if self.base == 0 { self.first_h } else { 0 }
    }

    fn reads(&mut self) {
        match self.down.pop_front() {
            None => (),
            Some(Element::Answer(h)) => {
                self.session
                    .acknowledged(h)
                    .expect("a possible acknowledgement");
            }
            Some(Element::Ask) => self.session.asked(),
            Some(Element::Stanza(number)) => {
                if let Some(receipt) = self.session.received() {
                    self.taken.push(number);
                    self.held.push_back(receipt);
                }
            }
        }
        self.session.heard(self.now);
    }

    fn lose(&mut self) {
        self.up.clear();
        self.down.clear();
        self.session.lost();
    }

    fn resume(&mut self) {
        self.lose();
        let Opening::Resume { h, .. } = self.session.opening() else {
            panic!("nothing to resume")
        };
        self.acknowledge(h);
        self.next = self.acknowledged + 1;
        self.session
            .resumed(self.accepted_here, self.now)
            .expect("a possible resumption");
    }

    /// The server answers what was not acknowledged otherwise: it does not come again.
    fn forgotten(&mut self) {
        self.lose();
        self.session.resume_failed(Some(self.accepted_here));
        self.session.enabled(Some("another"), self.now);
        self.accepted_here = 0;
        self.base = self.made.max(1);
        self.made = self.base;
        self.acknowledged = self.base;
        self.next = self.base + 1;
    }

    /// Lets everything under way arrive.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.now += Duration::from_millis(60);
            self.step(&Step::ServerSends((self.made + 1 - self.next) as usize));
            self.fill(usize::MAX);
            while !self.up.is_empty() {
                self.server_reads();
            }
            while !self.down.is_empty() {
                self.reads();
            }
            self.step(&Step::Confirms(usize::MAX));
        }
    }
}

fn is_ascending(numbers: &[u32]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_lost_or_doubled_and_order_is_kept(
        steps in steps(),
        first_h in prop_oneof![Just(0), (u32::MAX - 40)..=u32::MAX],
    ) {
        let mut world = World::new(first_h);
        for step in &steps {
            world.step(step);
            prop_assert!(is_ascending(&world.taken), "taken {:?}", world.taken);
        }
        world.settle();
        let all: Vec<u32> = (1..=world.submitted).collect();
        prop_assert_eq!(&world.accepted, &all, "each is accepted once, in order");
        prop_assert_eq!(world.session.unaccepted(), 0);
        prop_assert_eq!(world.session.unaccepted_bytes(), 0);
        prop_assert!(is_ascending(&world.taken), "taken {:?}", world.taken);
        prop_assert_eq!(world.acknowledged, world.made.max(world.base), "everything taken is told");
        let missing = (world.base + 1..=world.made).find(|number| !world.taken.contains(number));
        prop_assert_eq!(missing, None, "everything of the last session arrived");
    }
}
