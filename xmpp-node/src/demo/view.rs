//! What a demo shows while it runs: on a terminal a picture that is drawn anew, elsewhere plain lines.
//!
//! Lines that last (progress, faults, who leads now) scroll by above the picture. Nothing here looks at clusters or
//! bridges: a [`Picture`] holds all there is to show.

use std::io::Write;
use std::time::Duration;

use xmpp_node_api::status::{Ledger, NodeStatus};

use super::accounts::Totals;
use super::settled::role_text;

/// Where a demo is shown.
pub struct View {
    out: Box<dyn Write + Send>,
    /// A terminal that can be drawn on.
    live: bool,
    /// Lines of the picture on the terminal.
    drawn: usize,
    /// When the picture was last shown, since the start.
    shown: Option<Duration>,
}

/// A node, as it is shown.
#[derive(Clone, Debug)]
pub struct NodeLine {
    /// Name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its process; none while it is down.
    pub pid: Option<u32>,
    /// What it says; none if it does not answer.
    pub status: Option<NodeStatus>,
}

/// A bridge, as it is shown.
#[derive(Clone, Debug)]
pub struct BridgeLine {
    /// Name.
    pub name: String,
    /// Its status line.
    pub line: String,
}

/// All there is to show at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Since the traffic began.
    pub elapsed: Duration,
    /// When it ends, if it ends by itself.
    pub ends: Option<Duration>,
    /// Messages a second that are offered.
    pub rate: u32,
    /// What the faults do, such as `leader every 10s`.
    pub fault: String,
    /// Nodes killed so far.
    pub faults: u64,
    /// Changes of leadership so far.
    pub leader_changes: u64,
    /// The nodes, by number.
    pub nodes: Vec<NodeLine>,
    /// The bridges, by number.
    pub bridges: Vec<BridgeLine>,
    /// Figures of the bridges.
    pub totals: Totals,
}

impl View {
    /// A view on `out`; `live` if that is a terminal.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, live: bool) -> Self {
        Self {
            out,
            live,
            drawn: 0,
            shown: None,
        }
    }

    /// A line that lasts.
    pub fn say(&mut self, line: &str) {
        self.wipe();
        self.print(&format!("{line}\n"));
    }

    /// Text of several lines that lasts, as it is.
    pub fn block(&mut self, text: &str) {
        self.wipe();
        self.print(text);
    }

    /// Shows how things are; as often as one likes.
    pub fn show(&mut self, picture: &Picture) {
        let pause = if self.live { REDRAW } else { LINE_EVERY };
        let due = self
            .shown
            .is_none_or(|shown| picture.elapsed >= shown + pause);
        if !due {
            return;
        }
        self.shown = Some(picture.elapsed);
        if !self.live {
            return self.print(&(line(picture) + "\n"));
        }
        let text = draw(picture);
        self.wipe();
        self.drawn = text.lines().count();
        self.print(&format!("{CUT}{text}{FOLD}"));
    }

    /// Ends the picture; what is on the terminal stays.
    pub fn leave(&mut self) {
        self.drawn = 0;
    }

    /// Takes the picture off the terminal.
    fn wipe(&mut self) {
        if self.drawn > 0 {
            // Up to the first line of the picture, and clear to the end of the screen.
            let up = format!("\x1b[{}A\r\x1b[J", self.drawn);
            self.drawn = 0;
            self.shown = None;
            self.print(&up);
        }
    }

    fn print(&mut self, text: &str) {
        // Whoever closed the pipe has seen enough; the demo still ends as it should.
        let _ = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
    }
}

/// Everything, for a terminal.
fn draw(picture: &Picture) -> String {
    let mut lines = vec![String::new(), heading(picture)];
    for node in &picture.nodes {
        lines.push(node_line(node));
    }
    for bridge in &picture.bridges {
        lines.push(format!("  {}: {}", bridge.name, bridge.line));
    }
    lines.push(format!("  bridges: {}", books(&picture.totals)));
    lines.push(format!("           {}", pace(picture)));
    if let Some(ledger) = ledger(picture) {
        lines.push(format!("  ledger:  {}", ledger_line(ledger)));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The most important in one line.
fn line(picture: &Picture) -> String {
    let leader = picture.nodes.iter().find(|node| leads(node));
    let leader = leader.map_or_else(
        || "no leader".to_owned(),
        |node| format!("{} leads", node.name),
    );
    format!(
        "[{:>5.1} s] {leader}; {}; {}",
        picture.elapsed.as_secs_f64(),
        books(&picture.totals),
        pace(picture)
    )
}

fn heading(picture: &Picture) -> String {
    let ends = picture.ends.map_or_else(
        || "until Ctrl-C".to_owned(),
        |ends| format!("of {} s", ends.as_secs()),
    );
    format!(
        "{:.0} s {ends}; {} messages/s offered; faults: {}",
        picture.elapsed.as_secs_f64(),
        picture.rate,
        picture.fault
    )
}

fn node_line(node: &NodeLine) -> String {
    let NodeLine {
        name,
        address,
        pid,
        status,
    } = node;
    let Some(pid) = pid else {
        return format!("  {name} {address:<10} down");
    };
    let Some(status) = status else {
        return format!("  {name} {address:<10} pid {pid:<7} does not answer");
    };
    let ready = if status.ready.ok {
        "ready"
    } else {
        &status.ready.reason
    };
    let role = role_text(status.role);
    let attached = |bridge: &&xmpp_node_api::status::BridgeStatus| {
        bridge.attached.as_ref().is_some_and(|at| at.node == *name)
    };
    let bridges: Vec<&str> = status
        .bridges
        .iter()
        .filter(attached)
        .map(|bridge| bridge.name.as_str())
        .collect();
    format!(
        "  {name} {address:<10} pid {pid:<7} {role:<9} term {:<4} applied {:<8} {ready:<8} {}",
        status.term,
        status.applied,
        bridges.join(" ")
    )
}

fn leads(node: &NodeLine) -> bool {
    let role = node.status.as_ref().map(|status| status.role);
    role == Some(xmpp_node_api::status::NodeRole::Leader)
}

/// The ledger of the leader, else of any node.
fn ledger(picture: &Picture) -> Option<&Ledger> {
    let leader = picture.nodes.iter().find(|node| leads(node));
    let any = || picture.nodes.iter().find(|node| node.status.is_some());
    Some(&leader.or_else(any)?.status.as_ref()?.ledger)
}

fn books(totals: &Totals) -> String {
    format!(
        "{} sent, {} delivered, {} errors, {} duplicates, {} out of order, {} under way",
        totals.sent,
        totals.delivered,
        totals.errors,
        totals.duplicates,
        totals.out_of_order,
        totals.unaccounted
    )
}

fn pace(picture: &Picture) -> String {
    let totals = &picture.totals;
    format!(
        "longest gap {} ms, latency p50 {} us, p99 {} us; {} faults, {} leader changes",
        totals.longest_gap.as_millis(),
        totals.latency_p50_us,
        totals.latency_p99_us,
        picture.faults,
        picture.leader_changes
    )
}

fn ledger_line(ledger: &Ledger) -> String {
    format!(
        "{} unaccounted; {} accepted = {} delivered + {} bounced + {} expired + {} discarded + {} queued",
        ledger.unaccounted,
        ledger.accepted,
        ledger.delivered,
        ledger.bounced,
        ledger.expired,
        ledger.discarded,
        ledger.queued
    )
}

/// Long lines are cut by the terminal, not folded, so that a picture keeps its height however wide the terminal is.
const CUT: &str = "\x1b[?7l";

/// They are folded again.
const FOLD: &str = "\x1b[?7h";

const REDRAW: Duration = Duration::from_millis(250);

const LINE_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::settled::tests::status;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("one thread").clone()).expect("text")
        }
    }

    fn picture(seconds: u64) -> Picture {
        let node = |index: u64| NodeLine {
            name: format!("xmpp{}", index + 1),
            address: format!("127.0.0.{}", index + 1),
            pid: (index != 1).then_some(77),
            status: (index == 0).then(|| status(index)),
        };
        Picture {
            elapsed: Duration::from_secs(seconds),
            ends: Some(Duration::from_secs(30)),
            rate: 200,
            fault: "leader every 10s".to_owned(),
            faults: 1,
            leader_changes: 2,
            nodes: (0..3).map(node).collect(),
            bridges: vec![BridgeLine {
                name: "cb1".to_owned(),
                line: "connected to xmpp1.example.test (secure) for 3 seconds".to_owned(),
            }],
            totals: Totals {
                sent: 41,
                delivered: 40,
                unaccounted: 1,
                longest_gap: Duration::from_millis(87),
                ..Totals::default()
            },
        }
    }

    #[test]
    fn without_a_terminal_one_plain_line_comes_every_five_seconds() {
        let screen = Screen::default();
        let mut view = View::new(Box::new(screen.clone()), false);
        (0..11).for_each(|second| view.show(&picture(second)));
        let text = screen.text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!(
            text.lines().last(),
            Some(
                "[ 10.0 s] xmpp1 leads; 41 sent, 40 delivered, 0 errors, 0 duplicates, 0 out of order, 1 under way; \
                 longest gap 87 ms, latency p50 0 us, p99 0 us; 1 faults, 2 leader changes"
            )
        );
        assert!(!text.contains('\x1b'), "no control characters: {text:?}");
    }

    #[test]
    fn on_a_terminal_the_picture_is_drawn_over_the_last_one() {
        let screen = Screen::default();
        let mut view = View::new(Box::new(screen.clone()), true);
        view.show(&picture(1));
        let first = screen.text();
        // What follows the last line end is not a line of the picture.
        let height = first.lines().count() - 1;
        for expected in [
            "1 s of 30 s; 200 messages/s offered; faults: leader every 10s",
            "xmpp1 127.0.0.1  pid 77      leader",
            "xmpp2 127.0.0.2  down",
            "xmpp3 127.0.0.3  pid 77      does not answer",
            "cb1: connected to xmpp1.example.test (secure) for 3 seconds",
            "longest gap 87 ms",
            "0 unaccounted; 0 accepted = 0 delivered + 0 bounced",
        ] {
            assert!(first.contains(expected), "{expected}: {first}");
        }
        assert!(first.starts_with(CUT) && first.ends_with(FOLD), "{first:?}");
        view.say("xmpp1 is killed");
        let after = screen.text();
        let wiped = format!("\x1b[{height}A\r\x1b[Jxmpp1 is killed\n");
        assert!(after.ends_with(&wiped), "{after:?}");
    }
}
