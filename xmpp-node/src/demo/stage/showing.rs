//! What there is to show of a demo at one moment.

use xmpp_node_api::time::duration_text;

use super::Stage;
use crate::demo::faults::Fault;
use crate::demo::traffic::explain;
use crate::demo::view::{BridgeLine, NodeLine, Picture};

impl Stage {
    pub(super) fn picture(&self) -> Picture {
        let statuses = self.statuses.borrow().clone();
        let nodes = self.cluster.sites().iter().zip(statuses).enumerate();
        let nodes = nodes.map(|(node, (site, status))| {
            let process = self.cluster.process(node);
            let alive = process.filter(|process| process.exit().is_none());
            NodeLine {
                name: site.name.clone(),
                address: site.component.ip().to_string(),
                pid: alive.map(|process| process.pid()),
                status,
            }
        });
        let bridges = self.run.names().iter().zip(self.run.statuses());
        let bridges = bridges.map(|(name, status)| BridgeLine {
            name: name.clone(),
            line: explain(&status),
        });
        let fault = match self.options.fault {
            Fault::None => "none".to_owned(),
            Fault::Leader => format!("leader every {}", duration_text::format(self.options.every)),
            Fault::Follower => format!(
                "follower every {}",
                duration_text::format(self.options.every)
            ),
            Fault::Any => format!(
                "any node every {}",
                duration_text::format(self.options.every)
            ),
        };
        Picture {
            elapsed: self.begin.elapsed(),
            ends: self.options.duration,
            rate: self.run.rate(),
            fault,
            faults: self.killed,
            leader_changes: self.leader_changes,
            nodes: nodes.collect(),
            bridges: bridges.collect(),
            totals: self.run.totals(),
        }
    }
}
