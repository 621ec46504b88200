//! What goes wrong: nodes that crash or fall behind, chunks that are lost, components and clients that break off, end or crash.

use super::super::*;
use super::connections::ToNode;
use super::nodes::Node;
use super::world::{World, put_account};

impl World {
    /// One of all that may go wrong.
    pub(super) fn fault(&mut self) {
        let (node, peer) = (
            self.rng.below(self.nodes.len()),
            self.rng.below(self.peers.len()),
        );
        match self.rng.below(100) {
            0..15 if self.nodes[node].up => self.nodes[node].up = false,
            0..25 if !self.nodes[node].up => self.nodes[node].start(),
            25..30 => {
                let other = &self.nodes[self.rng.below(3)];
                let (applied, bytes) = (other.applied, snapshot(&other.replica));
                if self.nodes[node].up {
                    self.nodes[node].install(applied, bytes);
                }
            }
            30..35 => self.wire.clear(),
            35..40 => self.nodes.iter_mut().for_each(Node::rewind),
            40..75 => self.lose(peer, false),
            75..90 => self.lose(peer, true),
            90..97 => self.close(peer),
            _ if self.nodes[node].up => {
                let domain = self.peers[peer].address();
                if self.peers[peer].client {
                    let name = self.peers[peer].name.clone();
                    self.nodes[node].propose(&Command::RemoveAccount { name: &name });
                    self.nodes[node].propose(&put_account(&name));
                    return;
                }
                self.nodes[node].propose(&Command::RemoveBridge { domain: &domain });
                self.nodes[node].propose(&Command::PutBridge {
                    domain: &domain,
                    sealed: b"s",
                });
            }
            _ => {}
        }
    }

    /// A component's connection breaks, or it crashes. Of what was on its way the end is lost.
    fn lose(&mut self, at: usize, crash: bool) {
        if let Some(stream) = self.peers[at].stream
            && let Some(connection) = self.streams.get_mut(&stream)
        {
            let arrives = self.rng.below(connection.to_node.len() + 1);
            connection.to_node.truncate(arrives);
            connection.stalled = self.rng.below(30);
            connection.to_peer.clear();
            connection.open = false;
        }
        self.peers[at].lose(crash);
    }

    /// A component ends its stream in order.
    fn close(&mut self, at: usize) {
        if let Some(stream) = self.peers[at].stream
            && let Some(connection) = self.streams.get_mut(&stream)
        {
            connection.to_node.push_back(ToNode::Close);
            connection.to_peer.clear();
            connection.open = false;
            self.peers[at].lose(true);
        }
    }
}
