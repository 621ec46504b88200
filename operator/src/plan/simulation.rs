//! A cluster whose members come and go, and the plan that has to keep it alive: a model of Raft membership, pods and
//! volumes, small enough to be tried in all states and in long random histories.
//!
//! Length: one model, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use xmpp_node_api::status::NodeId;

use super::tests::{names, node, pod};
use super::*;

/// A pod of the model. Its volume outlives it.
#[derive(Clone, Debug, Default)]
struct Place {
    exists: bool,
    up: bool,
    /// Ticks until it is up again.
    away: u8,
    /// It went by the operator's hand.
    ours: bool,
    outdated: bool,
    replace: bool,
    /// Not in the Services.
    hidden: bool,
    /// Ticks until nobody finds it any more.
    found: u8,
    /// Identity on the volume, if it has one.
    id: Option<u64>,
    caught_up: bool,
}

#[derive(Clone, Debug)]
struct Model {
    wanted: i32,
    replicas: i32,
    record: Record,
    places: Vec<Place>,
    /// Members: id to (ordinal, votes).
    group: BTreeMap<u64, (usize, bool)>,
    leader: Option<u64>,
    next_id: u64,
    stopped_by_us: u32,
}

impl Model {
    fn new(wanted: i32) -> Self {
        Self {
            wanted,
            replicas: 0,
            record: Record::New("c1".to_owned()),
            places: vec![Place::default(); 7],
            group: BTreeMap::new(),
            leader: None,
            next_id: 1,
            stopped_by_us: 0,
        }
    }

    fn holder(&self, id: u64) -> Option<&Place> {
        let (ordinal, _) = self.group.get(&id)?;
        let place = &self.places[*ordinal];
        (place.up && place.id == Some(id)).then_some(place)
    }

    fn voters(&self) -> Vec<u64> {
        self.group
            .iter()
            .filter(|(_, (_, votes))| *votes)
            .map(|(id, _)| *id)
            .collect()
    }

    /// A majority of voters is up and has caught up.
    fn quorum(&self) -> bool {
        let voters = self.voters();
        let good = voters
            .iter()
            .filter(|id| self.holder(**id).is_some_and(|p| p.caught_up))
            .count();
        !voters.is_empty() && good > voters.len() / 2
    }

    /// Kubernetes and Raft do their part.
    fn tick(&mut self) {
        for ordinal in 0..self.places.len() {
            let wanted = i32::try_from(ordinal).expect("below 7") < self.replicas;
            let place = &mut self.places[ordinal];
            if !wanted {
                *place = Place::default();
                continue;
            }
            if !place.exists {
                *place = Place {
                    exists: true,
                    away: 1,
                    id: place.id,
                    ours: place.ours,
                    ..Place::default()
                };
            }
            place.found = place.found.saturating_sub(1);
            if place.away > 0 {
                place.away -= 1;
            } else if !place.up {
                place.up = true;
                place.ours = false;
                if place.id.is_none() {
                    place.id = Some(self.next_id);
                    self.next_id += 1;
                }
            } else {
                place.caught_up = true;
            }
        }
        if !self.quorum() {
            self.leader = None;
        } else if self
            .leader
            .is_none_or(|leader| self.holder(leader).is_none())
        {
            let able = |id: &u64| self.holder(*id).is_some_and(|place| place.caught_up);
            self.leader = self.voters().into_iter().find(able);
        }
    }

    fn view(&self) -> View {
        let mut view = View {
            wanted: self.wanted,
            replicas: self.replicas,
            record: self.record.clone(),
            ..View::default()
        };
        for (ordinal, place) in self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.exists)
        {
            let ordinal = i32::try_from(ordinal).expect("below 7");
            let mut pod = pod(ordinal);
            pod.outdated = place.outdated;
            pod.replace = place.replace;
            pod.running = place.up;
            pod.serving = !place.hidden;
            pod.drained = place.hidden && place.found == 0;
            if let Some(id) = place.id.filter(|_| place.up) {
                let member = self.group.get(&id);
                let leads = self.leader == Some(id);
                let peers = self
                    .group
                    .iter()
                    .filter(|(other, _)| leads && **other != id);
                let peers: Vec<_> = peers
                    .map(|(other, (ordinal, votes))| {
                        let holder = self.holder(*other);
                        let caught_up = holder.is_some_and(|place| place.caught_up);
                        (
                            names().pod(*ordinal as i32),
                            *other,
                            *votes,
                            holder.is_some(),
                            caught_up,
                        )
                    })
                    .collect();
                pod.node = Some(node(&pod.name, id, member.is_some(), leads, &peers));
            }
            view.pods.push(pod);
        }
        view
    }

    fn ordinal(pod: &str) -> usize {
        names()
            .ordinal(pod)
            .and_then(|n| usize::try_from(n).ok())
            .expect("a pod of the model")
    }

    /// Does what the plan says, as nodes and Kubernetes would.
    fn execute(&mut self, plan: &Plan) {
        self.replicas = plan.replicas;
        match &plan.step {
            Step::Rest | Step::Wait(_) | Step::Shrink => {}
            Step::Initialize { pod } => {
                let ordinal = Self::ordinal(pod);
                assert!(self.group.is_empty(), "initialised twice");
                let id = self.places[ordinal].id.expect("it answered");
                self.group.insert(id, (ordinal, true));
                self.places[ordinal].caught_up = true;
                self.leader = Some(id);
            }
            Step::Record { id } => self.record = Record::Started(id.clone()),
            Step::StartAnew => panic!("the model never loses everything at once"),
            Step::Join { pod, .. } => {
                let ordinal = Self::ordinal(pod);
                let id = self.places[ordinal].id.expect("it answered");
                let old = self
                    .group
                    .iter()
                    .find(|(other, (at, _))| *at == ordinal && **other != id);
                if let Some(old) = old.map(|(old, _)| *old) {
                    assert!(self.holder(old).is_none(), "the old member lives");
                    self.group.remove(&old);
                }
                self.places[ordinal].caught_up = true;
                self.group.insert(id, (ordinal, true));
            }
            Step::Remove { id, .. } => {
                self.group.remove(&id.0);
            }
            Step::ChangeVoters { ids } => {
                for (id, (_, votes)) in &mut self.group {
                    *votes = ids.contains(&NodeId(*id));
                }
            }
            Step::Transfer { to } => {
                let ordinal = Self::ordinal(to);
                let id = self.places[ordinal].id.expect("it is a voter");
                assert!(self.holder(id).is_some_and(|place| place.caught_up));
                self.leader = Some(id);
            }
            Step::Drain { pod, .. } => {
                let place = &mut self.places[Self::ordinal(pod)];
                (place.hidden, place.found) = (true, 2);
            }
            Step::Serve { pod, .. } => self.places[Self::ordinal(pod)].hidden = false,
            Step::Restart { pod, .. } | Step::Replace { pod, .. } => {
                let place = &mut self.places[Self::ordinal(pod)];
                let wiped = matches!(plan.step, Step::Replace { .. });
                self.stopped_by_us += u32::from(place.up);
                *place = Place {
                    id: place.id.filter(|_| !wiped),
                    ours: true,
                    ..Place::default()
                };
            }
        }
    }

    /// One pass of the operator, and what must hold of it.
    fn pass(&mut self) -> Step {
        let view = self.view();
        let plan = plan(&names(), &view);
        let (before, voters) = (self.quorum(), self.voters().len());
        let stops = match &plan.step {
            Step::Restart { pod, ask: true, .. } | Step::Replace { pod, .. } => {
                Some(Self::ordinal(pod))
            }
            _ => None,
        };
        if let Step::Restart { pod, ask: true, .. } = &plan.step {
            let stopped = Self::ordinal(pod);
            let is_member = |id: Option<u64>| id.is_some_and(|id| self.group.contains_key(&id));
            let serves = |place: &Place| place.up && !place.hidden && is_member(place.id);
            let place = &self.places[stopped];
            let mut others = self.places.iter().enumerate();
            let others = others.any(|(at, place)| at != stopped && serves(place));
            assert!(
                !others || (!serves(place) && place.found == 0),
                "bridges still find it: {plan:?}\n{self:#?}"
            );
        }
        let votes_at = |stopped: &usize| {
            let id = self.places[*stopped].id;
            id.is_some_and(|id| self.group.get(&id).is_some_and(|(_, votes)| *votes))
        };
        if let Some(stopped) = stops.filter(votes_at) {
            let down = self.places.iter().enumerate().filter(|(at, place)| {
                let votes = place
                    .id
                    .is_some_and(|id| self.group.get(&id).is_some_and(|(_, votes)| *votes));
                *at != stopped && votes && !place.up
            });
            assert_eq!(
                down.count(),
                0,
                "a second member goes down: {plan:?}\n{self:#?}"
            );
        }
        if plan.replicas < self.replicas {
            let last = usize::try_from(plan.replicas).expect("positive");
            let voter = self.group.values().find(|(at, _)| *at >= last);
            assert_eq!(voter, None, "a member's pod is taken: {plan:?}");
        }
        self.execute(&plan);
        if before && !(voters == 1 && stops.is_some()) {
            assert!(
                self.quorum(),
                "the plan lost the majority: {plan:?}\n{self:#?}"
            );
        }
        plan.step
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            self.tick();
            let step = self.pass();
            let still = self
                .places
                .iter()
                .all(|place| !place.exists || (place.up && place.caught_up));
            if step == Step::Rest && still {
                let voters: BTreeSet<usize> = self
                    .group
                    .values()
                    .filter(|(_, votes)| *votes)
                    .map(|(at, _)| *at)
                    .collect();
                assert_eq!(
                    voters,
                    (0..usize::try_from(self.wanted).expect("positive")).collect()
                );
                assert_eq!(self.group.len(), voters.len(), "somebody is left over");
                assert_eq!(self.replicas, self.wanted);
                assert!(
                    self.places
                        .iter()
                        .all(|place| !place.outdated && !place.replace && !place.hidden)
                );
                return;
            }
        }
        panic!(
            "no rest after 200 passes: {:?}\n{self:#?}",
            plan(&names(), &self.view())
        );
    }
}

#[test]
fn from_nothing_to_any_size_and_back() {
    let mut model = Model::new(1);
    for wanted in [1, 3, 5, 7, 5, 1, 7, 3, 1] {
        model.wanted = wanted;
        model.settle();
    }
}

#[test]
fn a_rolling_restart_stops_each_member_once_and_the_leader_last() {
    let mut model = Model::new(5);
    model.settle();
    for place in &mut model.places[..5] {
        place.outdated = true;
    }
    let leader = model.leader;
    let mut order = Vec::new();
    while order.len() < 5 {
        model.tick();
        if let Step::Restart { pod, .. } = model.pass() {
            order.push(pod);
        }
    }
    model.settle();
    assert_eq!(model.stopped_by_us, 5);
    let led = model.group[&leader.expect("it had one")].0;
    assert_eq!(
        order.last(),
        Some(&names().pod(i32::try_from(led).expect("below 7")))
    );
}

/// Every state that up to five members can be in together: what is planned next never takes the majority.
#[test]
fn no_state_of_up_to_five_members_leads_to_a_step_that_loses_the_majority() {
    let mut tried = 0;
    for size in [1_usize, 3, 5] {
        let states = 5_usize.pow(u32::try_from(size).expect("small"));
        for state in 0..states {
            let digits =
                (0..size).map(|at| state / 5_usize.pow(u32::try_from(at).expect("small")) % 5);
            let digits: Vec<usize> = digits.collect();
            for (wanted, [outdated, hidden], leader) in circumstances(0..size) {
                let mut model = Model::new(wanted);
                model.replicas = i32::try_from(size).expect("small").max(wanted);
                model.record = Record::Started("c1".to_owned());
                for (at, digit) in digits.iter().enumerate() {
                    let id = at as u64 + 1;
                    // Down, up and behind, up and good, a learner, empty with its old self still a member.
                    model.group.insert(id, (at, *digit != 3));
                    model.places[at] = Place {
                        exists: true,
                        up: *digit != 0,
                        outdated,
                        hidden,
                        id: Some(if *digit == 4 { id + 100 } else { id }),
                        caught_up: *digit >= 2,
                        ..Place::default()
                    };
                }
                model.leader = Some(leader as u64 + 1);
                if !model.quorum() || digits[leader] != 2 {
                    model.leader = None;
                }
                model.pass();
                tried += 1;
            }
        }
    }
    assert!(tried > 100_000, "{tried}");
}

/// How many are wanted, whether all are outdated, whether all are drained, who leads.
fn circumstances(leaders: std::ops::Range<usize>) -> impl Iterator<Item = (i32, [bool; 2], usize)> {
    [1, 3, 5].into_iter().flat_map(move |wanted| {
        let leaders = leaders.clone();
        (0..4).flat_map(move |bits| {
            let all = [bits & 1 != 0, bits & 2 != 0];
            leaders.clone().map(move |leader| (wanted, all, leader))
        })
    })
}

/// What befalls a cluster.
#[derive(Clone, Debug)]
enum Event {
    Nothing,
    Crash(usize),
    /// Crash and loss of the volume.
    Wipe(usize),
    Want(i32),
    Outdate,
    AskToReplace(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Nothing),
        3 => (0..7_usize).prop_map(Event::Crash),
        1 => (0..7_usize).prop_map(Event::Wipe),
        1 => prop::sample::select(vec![1, 3, 5, 7]).prop_map(Event::Want),
        1 => Just(Event::Outdate),
        1 => (0..7_usize).prop_map(Event::AskToReplace),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn whatever_befalls_a_cluster_the_plan_keeps_its_majority_and_comes_to_rest(
        events in prop::collection::vec(event(), 0..60)
    ) {
        let mut model = Model::new(3);
        model.settle();
        for event in events {
            match event {
                Event::Nothing => {}
                Event::Crash(at) if model.places[at].up => {
                    model.places[at].up = false;
                    model.places[at].caught_up = false;
                    model.places[at].away = 3;
                }
                // A volume may be lost where the others can do without; else all would be lost, which is no plan's fault.
                Event::Wipe(at) if model.places[at].up => {
                    let old = model.clone();
                    model.places[at].up = false;
                    model.places[at].caught_up = false;
                    model.places[at].away = 2;
                    model.places[at].id = None;
                    let lost = model.voters().iter().filter(|id| {
                        let place = &model.places[model.group[*id].0];
                        place.id != Some(**id)
                    }).count();
                    if lost > (model.voters().len() - 1) / 2 {
                        model = old;
                    }
                }
                Event::Want(wanted) => model.wanted = wanted,
                Event::Outdate => model.places.iter_mut().for_each(|place| place.outdated = place.exists),
                Event::AskToReplace(at) => model.places[at].replace = model.places[at].exists,
                Event::Crash(_) | Event::Wipe(_) => {}
            }
            model.tick();
            model.pass();
        }
        // One voter cannot be replaced; nobody may ask for ever.
        model.places.iter_mut().for_each(|place| place.replace &= model.wanted > 1);
        model.settle();
    }
}
