//! When a node is killed, which one, and when it comes back: decisions only, from times and states that are given.
//!
//! ```text
//! whole ──every──► kill ──2 s──► restart ──► returning ──all caught up, all bridges registered──► whole
//!   ▲  someone else killed a node ─┘                │ not within 60 s: error
//!   └───────────────────────────────────────────────┘
//! ```
//! So no fault hits a cluster that has not recovered from the last, and a node that someone outside kills comes back too.

use std::time::Duration;

use clap::ValueEnum;

/// Which node is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The leader.
    Leader,
    /// The followers in turn.
    Follower,
    /// Any node, drawn each time.
    Any,
    /// None.
    #[default]
    None,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Kill this node; it comes back by itself.
    Kill(usize),
    /// This node ended, and not by our hand.
    Ended(usize),
    /// Start this node again.
    Restart(usize),
    /// All is well again after the restart of this node.
    Recovered(usize, Duration),
    /// All is not well again in time after the restart of this node; why.
    Stuck(usize, String),
}

/// The plan of faults of one demo. Times are since any start that all calls share.
#[derive(Debug)]
pub struct Faults {
    kind: Fault,
    every: Duration,
    /// The next fault comes no earlier; none when there are to be no more.
    next: Option<Duration>,
    /// When each node that is down comes back.
    down: Vec<Option<Duration>>,
    /// The node that was restarted last, and when, until all is well.
    returning: Option<(usize, Duration)>,
    turn: usize,
}

/// What there is to see at one moment.
#[derive(Debug)]
pub struct Sight<'a> {
    /// Which processes have ended, by node.
    pub ended: &'a [bool],
    /// The leader of the whole cluster, or what is missing, see [`super::settled`].
    pub whole: &'a Result<usize, String>,
    /// Whether all bridges are registered.
    pub registered: bool,
    /// A number drawn at random.
    pub draw: usize,
}

impl Faults {
    /// A plan for that many nodes; the first fault comes `every` after `now`.
    #[must_use]
    pub fn new(kind: Fault, every: Duration, nodes: usize, now: Duration) -> Self {
        Self {
            kind,
            every,
            next: (kind != Fault::None).then_some(now + every),
            down: vec![None; nodes],
            returning: None,
            turn: 0,
        }
    }

    /// No more faults; what is down still comes back.
    pub fn cease(&mut self) {
        self.next = None;
    }

    /// Whether nothing is down and nothing is returning.
    #[must_use]
    pub fn calm(&self) -> bool {
        self.returning.is_none() && self.down.iter().all(Option::is_none)
    }

    /// What is to be done now, if anything; to be asked again until there is nothing.
    pub fn step(&mut self, now: Duration, sight: &Sight<'_>) -> Option<Step> {
        for (node, ended) in sight.ended.iter().enumerate() {
            if *ended && self.down[node].is_none() {
                self.down[node] = Some(now + AWAY);
                self.postpone(now);
                return Some(Step::Ended(node));
            }
        }
        for (node, back) in self.down.iter_mut().enumerate() {
            if back.is_some_and(|back| back <= now) {
                *back = None;
                self.returning = Some((node, now));
                return Some(Step::Restart(node));
            }
        }
        if self.down.iter().any(Option::is_some) {
            return None;
        }
        let reason = match sight.whole {
            Ok(_) if sight.registered => None,
            Ok(_) => Some("not all bridges are registered".to_owned()),
            Err(reason) => Some(reason.clone()),
        };
        match (self.returning, reason) {
            (Some((node, since)), None) => {
                self.returning = None;
                Some(Step::Recovered(node, now.saturating_sub(since)))
            }
            (Some((node, since)), Some(reason)) if now.saturating_sub(since) > RECOVERY => {
                Some(Step::Stuck(node, reason))
            }
            (None, None) if self.next.is_some_and(|next| next <= now) => {
                let node = self.choose(*sight.whole.as_ref().ok()?, sight.draw)?;
                self.down[node] = Some(now + AWAY);
                self.postpone(now);
                Some(Step::Kill(node))
            }
            _ => None,
        }
    }

    fn choose(&mut self, leader: usize, draw: usize) -> Option<usize> {
        let nodes = self.down.len();
        match self.kind {
            Fault::None => None,
            Fault::Leader => Some(leader),
            Fault::Any => Some(draw % nodes),
            Fault::Follower => {
                self.turn += 1;
                (self.turn..self.turn + nodes)
                    .map(|node| node % nodes)
                    .find(|node| *node != leader)
            }
        }
    }

    fn postpone(&mut self, now: Duration) {
        if let Some(next) = &mut self.next {
            *next = now + self.every;
        }
    }
}

/// How long a killed node is away.
pub const AWAY: Duration = Duration::from_secs(2);

/// How long a restarted node may take to hold the whole log.
pub const RECOVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A plan, and what there is to see.
    struct Play {
        faults: Faults,
        ended: [bool; 3],
        whole: Result<usize, String>,
        registered: bool,
    }

    impl Play {
        fn new(kind: Fault) -> Self {
            Self {
                faults: Faults::new(kind, s(10), 3, s(0)),
                ended: [false; 3],
                whole: Ok(0),
                registered: true,
            }
        }

        fn at(&mut self, now: Duration) -> Option<Step> {
            let sight = Sight {
                ended: &self.ended,
                whole: &self.whole,
                registered: self.registered,
                draw: 5,
            };
            self.faults.step(now, &sight)
        }
    }

    #[test]
    fn a_leader_is_killed_and_comes_back_after_two_seconds() {
        let mut play = Play::new(Fault::Leader);
        assert_eq!(play.at(s(9)), None);
        assert_eq!(play.at(s(10)), Some(Step::Kill(0)));
        play.ended[0] = true;
        assert_eq!(play.at(s(11)), None, "killed by us: not a surprise");
        assert!(!play.faults.calm());
        assert_eq!(play.at(s(12)), Some(Step::Restart(0)));
        play.ended[0] = false;
        play.whole = Err("xmpp1 has not caught up".to_owned());
        assert_eq!(play.at(s(13)), None);
        play.whole = Ok(1);
        assert_eq!(play.at(s(14)), Some(Step::Recovered(0, s(2))));
        assert!(play.faults.calm());
        assert_eq!(play.at(s(19)), None, "ten seconds from fault to fault");
        assert_eq!(play.at(s(20)), Some(Step::Kill(1)));
    }

    #[test]
    fn no_fault_comes_before_the_last_is_over() {
        let mut play = Play::new(Fault::Any);
        assert_eq!(play.at(s(10)), Some(Step::Kill(2)));
        assert_eq!(play.at(s(12)), Some(Step::Restart(2)));
        play.registered = false;
        assert_eq!(play.at(s(30)), None);
        play.registered = true;
        assert_eq!(play.at(s(31)), Some(Step::Recovered(2, s(19))));
        assert_eq!(play.at(s(31)), Some(Step::Kill(2)), "overdue");
    }

    #[test]
    fn followers_are_killed_in_turn_and_the_leader_never() {
        let mut faults = Faults::new(Fault::Follower, s(10), 3, s(0));
        let chosen: Vec<_> = (0..4).filter_map(|_| faults.choose(1, 0)).collect();
        assert!(!chosen.contains(&1), "{chosen:?}");
        assert!(chosen.contains(&0) && chosen.contains(&2), "{chosen:?}");
        let mut alone = Faults::new(Fault::Follower, s(10), 1, s(0));
        assert_eq!(alone.choose(0, 0), None, "there is none");
    }

    #[test]
    fn a_node_killed_by_someone_else_comes_back_even_without_faults_of_ours() {
        let mut play = Play::new(Fault::None);
        assert_eq!(play.at(s(100)), None);
        play.ended[1] = true;
        assert_eq!(play.at(s(101)), Some(Step::Ended(1)));
        assert_eq!(play.at(s(101)), None);
        assert_eq!(play.at(s(103)), Some(Step::Restart(1)));
    }

    #[test]
    fn a_node_that_does_not_recover_is_told_with_the_reason() {
        let mut play = Play::new(Fault::Leader);
        play.at(s(10));
        play.at(s(12));
        play.whole = Err("xmpp1 has not caught up".to_owned());
        assert_eq!(play.at(s(72)), None);
        let stuck = Step::Stuck(0, "xmpp1 has not caught up".to_owned());
        assert_eq!(play.at(s(73)), Some(stuck));
    }

    #[test]
    fn when_faults_cease_what_is_down_still_comes_back() {
        let mut play = Play::new(Fault::Leader);
        assert_eq!(play.at(s(10)), Some(Step::Kill(0)));
        play.faults.cease();
        assert_eq!(play.at(s(12)), Some(Step::Restart(0)));
        assert_eq!(play.at(s(13)), Some(Step::Recovered(0, s(1))));
        assert_eq!(play.at(s(99)), None);
    }
}
