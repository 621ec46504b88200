//! What a pass knows of a cluster's members: pods as the API server has them, and what their nodes say of themselves.
//!
//! Values only. Everything here was read for this very pass; nothing is a guess, and what was not answered is absent.

use xmpp_node_api::status::{MemberRole, NodeId, NodeRole, NodeStatus};

/// What is known of a cluster's members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Members wanted.
    pub wanted: i32,
    /// Pods that the StatefulSet has been told of; 0 before there is one.
    pub replicas: i32,
    /// The StatefulSet's controller has not seen its template yet, so nobody knows which pods are outdated.
    pub unseen: bool,
    /// The operator may change nothing.
    pub paused: bool,
    /// What is recorded of the cluster.
    pub record: Record,
    /// Somebody typed this cluster's id, to start anew with empty volumes.
    pub start_empty: bool,
    /// The pods, by ordinal.
    pub pods: Vec<Pod>,
    /// Why pods that should be there are not made, as the API server says.
    pub unmade: Option<Trouble>,
}

/// What the operator has recorded of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Record {
    /// Nothing, although there are pods or volumes: it was lost.
    #[default]
    Lost,
    /// This id, and no member has been initialised yet.
    New(String),
    /// This id, and there are members that hold the cluster's state.
    Started(String),
}

impl Record {
    /// The id.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Lost => None,
            Self::New(id) | Self::Started(id) => Some(id),
        }
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its place in the StatefulSet.
    pub ordinal: i32,
    /// Its name, which is the member's.
    pub name: String,
    /// Its unique id: another pod of the same name has another one.
    pub uid: String,
    /// It is not as the StatefulSet would make it now.
    pub outdated: bool,
    /// It is on its way out.
    pub leaving: bool,
    /// Bridges find it by the Services, once it is ready.
    pub serving: bool,
    /// It has not been serving for so long that nobody comes any more who found it before.
    pub drained: bool,
    /// Its container runs.
    pub running: bool,
    /// Somebody asked for it to be replaced with a new volume.
    pub replace: bool,
    /// Why it does not run or is not ready, as the API server says.
    pub trouble: Option<Trouble>,
    /// What its node says; nothing if it did not answer.
    pub node: Option<NodeStatus>,
    /// Why it did not answer.
    pub silence: Option<String>,
}

/// Why a pod does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One word, such as `ImagePullBackOff` or `Unschedulable`.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// A member, as the leader has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: NodeId,
    /// It votes.
    pub votes: bool,
    /// The leader hears of it.
    pub reachable: bool,
    /// It holds the log nearly to its end.
    pub caught_up: bool,
}

impl Member {
    /// It can take the place of another one.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.votes && self.reachable && self.caught_up
    }
}

/// The cluster as its leader says; only a leader that a quorum confirms says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the leader.
    pub leader: String,
    /// Raft term.
    pub term: u64,
    /// Every member, the leader included, sorted by name.
    pub members: Vec<Member>,
}

impl Group {
    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Those who vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.votes)
    }

    /// Every voter but this one can be relied on.
    #[must_use]
    pub fn others_are_good(&self, name: &str) -> bool {
        self.voters()
            .all(|member| member.name == name || member.is_good())
    }
}

impl View {
    /// The pod of that ordinal.
    #[must_use]
    pub fn pod(&self, ordinal: i32) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.ordinal == ordinal)
    }

    /// The pod of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    /// The group, as the leader of the highest term among those that answered says, if it is this cluster's.
    #[must_use]
    pub fn group(&self) -> Option<Group> {
        let leads = |pod: &&Pod| {
            pod.node
                .as_ref()
                .is_some_and(|node| node.role == NodeRole::Leader)
        };
        let pods = self.pods.iter().filter(leads);
        let leader = pods.max_by_key(|pod| pod.node.as_ref().map(|node| node.term))?;
        let node = leader.node.as_ref()?;
        if self
            .record
            .id()
            .is_some_and(|id| node.cluster_id.as_deref() != Some(id))
        {
            return None;
        }
        let own = Member {
            name: node.name.clone(),
            id: node.id,
            votes: true,
            reachable: true,
            caught_up: true,
        };
        let others = node.peers.iter().map(|peer| Member {
            name: peer.name.clone(),
            id: peer.id,
            votes: peer.role == MemberRole::Voter,
            reachable: peer.reachable,
            caught_up: peer.caught_up == Some(true),
        });
        let mut members: Vec<Member> = std::iter::once(own).chain(others).collect();
        members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Some(Group {
            leader: node.name.clone(),
            term: node.term,
            members,
        })
    }
}

impl Pod {
    /// Its node belongs to no cluster yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let node = self.node.as_ref();
        node.is_some_and(|node| node.role == NodeRole::Uninitialized && node.cluster_id.is_none())
    }

    /// The cluster that its node belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.node.as_ref()?.cluster_id.as_deref()
    }
}
