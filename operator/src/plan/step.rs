//! The steps that there are, and what can be waited for.

use std::collections::BTreeSet;

use xmpp_node_api::status::NodeId;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pods that there should be now.
    pub replicas: i32,
    /// The one step.
    pub step: Step,
    /// Why, or what is waited for: for people.
    pub why: String,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is to be done.
    Rest,
    /// Something has to happen first that is not in our hands.
    Wait(Waiting),
    /// Make the cluster of this one empty member.
    Initialize {
        /// Its pod.
        pod: String,
    },
    /// Record that the cluster of this id has been started.
    Record {
        /// The id.
        id: String,
    },
    /// Record a new id, as everything that the old one stood for is lost, and accepted to be.
    StartAnew,
    /// Let an empty or half-joined member become a voter.
    Join {
        /// Its pod.
        pod: String,
        /// The member through which it joins.
        through: String,
    },
    /// Take a member out of the group for good. Asked of the leader.
    Remove {
        /// Its name, for people.
        name: String,
        /// Its identity.
        id: NodeId,
    },
    /// Make exactly these members the voters. Asked of the leader.
    ChangeVoters {
        /// The identities.
        ids: BTreeSet<NodeId>,
    },
    /// Hand leadership over. Asked of the leader.
    Transfer {
        /// To whom.
        to: String,
    },
    /// Take a pod that is about to go out of the Services, so that bridges find it no more.
    Drain {
        /// The pod.
        pod: String,
        /// Which pod of that name.
        uid: String,
    },
    /// Put a pod that stays into the Services again.
    Serve {
        /// The pod.
        pod: String,
        /// Which pod of that name.
        uid: String,
    },
    /// Tell the StatefulSet of fewer pods. All that go have left the group.
    Shrink,
    /// Delete a pod; the StatefulSet makes it anew.
    Restart {
        /// The pod.
        pod: String,
        /// Which pod of that name.
        uid: String,
        /// It runs, so the leader is asked once more whether it may stop.
        ask: bool,
    },
    /// Delete a pod with its volume, and let its member join anew.
    Replace {
        /// The pod.
        pod: String,
        /// Which pod of that name.
        uid: String,
    },
}

/// What a cluster waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The resource says so.
    Paused,
    /// Controllers that have not taken up what was written last.
    Template,
    /// Pods that are not there yet, or do not answer.
    Pods,
    /// A leader, which needs a majority.
    Quorum,
    /// Members that cannot be reached or have not caught up.
    Members,
    /// Name servers that may still send bridges to a pod which is about to go.
    Drain,
    /// All volumes are empty; a person must say what this means.
    Confirmation,
    /// A pod holds a volume of another cluster.
    ForeignVolume,
}

impl Step {
    /// The pod that the step is about, if it is about one.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        match self {
            Self::Initialize { pod }
            | Self::Join { pod, .. }
            | Self::Drain { pod, .. }
            | Self::Serve { pod, .. }
            | Self::Restart { pod, .. }
            | Self::Replace { pod, .. }
            | Self::Remove { name: pod, .. }
            | Self::Transfer { to: pod } => Some(pod),
            Self::Rest
            | Self::Wait(_)
            | Self::Record { .. }
            | Self::StartAnew
            | Self::ChangeVoters { .. }
            | Self::Shrink => None,
        }
    }

    /// The step in one word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rest => "Rest",
            Self::Wait(_) => "Wait",
            Self::Initialize { .. } => "Initialize",
            Self::Record { .. } => "Record",
            Self::StartAnew => "StartAnew",
            Self::Join { .. } => "Join",
            Self::Remove { .. } => "RemoveMember",
            Self::ChangeVoters { .. } => "ChangeVoters",
            Self::Transfer { .. } => "TransferLeader",
            Self::Drain { .. } => "DrainPod",
            Self::Serve { .. } => "ServePod",
            Self::Shrink => "Shrink",
            Self::Restart { .. } => "RestartPod",
            Self::Replace { .. } => "ReplaceMember",
        }
    }
}
