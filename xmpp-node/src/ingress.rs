//! What this node wants to have decided, in order, until it sees it applied.
//!
//! Every command of this node gets the next request number. Commands are sent to the leader in chunks of consecutive
//! numbers, and are kept until the applied state shows that it took them; after a change of leader, a lost link or a stall
//! everything not yet taken is sent again, and apply skips what it saw. So nothing is lost on the way and nothing doubled.
//!
//! Bounded: a stream stops reading at its own window of stanzas that are not applied, so the queue holds at most the sum of
//! the windows and a few small commands a stream. At most [`CHUNKS_IN_FLIGHT`] chunks of [`CHUNK_BYTES`] are on their way.
//! While [`CHUNKS_AT_ONCE`] are, what comes gathers until it is worth a chunk ([`WORTH_BYTES`]) or one of them is applied: so
//! idle traffic waits for nothing, and busy traffic travels in large chunks. What nobody waits for ([`Ingress::mention`]) makes no
//! chunk by itself: it travels with what comes next, or when its carrier says so after a while.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use xmpp_core::router::{Attachment, ChunkHeader, Command};

/// Bytes that a chunk is filled up to; one larger stanza still makes one chunk.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks sent and not seen applied.
pub const CHUNKS_IN_FLIGHT: usize = 4;
/// So many are sent whatever their size.
pub const CHUNKS_AT_ONCE: usize = 2;
/// More are sent when this waits.
pub const WORTH_BYTES: usize = 16 * 1024;

/// The commands of this node. See the module documentation.
#[derive(Debug)]
pub struct Ingress {
    at: Attachment,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug)]
struct Inner {
    /// Request number of the front of the queue.
    first: u64,
    queue: VecDeque<[Bytes; 2]>,
    bytes: usize,
    unsent_bytes: usize,
    /// Commands at the front of the queue that are on their way.
    sent: usize,
    /// Number of the last one that somebody waits for.
    urgent: u64,
    /// Last request number of each chunk on its way.
    in_flight: VecDeque<u64>,
}

/// The next commands to send, header and text.
#[derive(Debug)]
pub struct Chunk {
    /// What the chunk holds.
    pub header: ChunkHeader,
    /// The encoded header, then the commands.
    pub pieces: Vec<Bytes>,
}

impl Ingress {
    /// An empty queue; the node's first request is `NodeUp`.
    #[must_use]
    pub fn new(at: Attachment) -> Self {
        let inner = Inner {
            first: 1,
            queue: VecDeque::new(),
            bytes: 0,
            unsent_bytes: 0,
            sent: 0,
            urgent: 0,
            in_flight: VecDeque::new(),
        };
        let ingress = Self {
            at,
            inner: Mutex::new(inner),
            wake: Notify::new(),
        };
        ingress.propose(&Command::NodeUp);
        ingress
    }

    /// Queues a command without raw bytes; returns its request number.
    pub fn propose(&self, command: &Command<'_>) -> u64 {
        self.push(command.encode(), Bytes::new())
    }

    /// Queues a command that nobody waits for.
    pub fn mention(&self, command: &Command<'_>) {
        let mut inner = self.lock();
        let first = inner.sent == inner.queue.len();
        inner.push(command.encode(), Bytes::new());
        drop(inner);
        if first {
            self.wake.notify_one();
        }
    }

    /// Whether all that is not on its way is what nobody waits for, and something is.
    #[must_use]
    pub fn only_mentions(&self) -> bool {
        let inner = self.lock();
        inner.sent < inner.queue.len() && !inner.is_urgent()
    }

    /// Queues a command whose request number must be known before it can be decided.
    pub fn propose_with<T>(&self, command: &Command<'_>, register: impl FnOnce(u64) -> T) -> T {
        let mut inner = self.lock();
        let request = inner.next_request();
        let registered = register(request);
        inner.push(command.encode(), Bytes::new());
        inner.urgent = request;
        self.wake_if_ready(inner);
        registered
    }

    /// Queues an encoded command and the raw bytes behind it; returns its request number.
    pub fn push(&self, command: Bytes, raw: Bytes) -> u64 {
        let mut inner = self.lock();
        let request = inner.next_request();
        inner.push(command, raw);
        inner.urgent = request;
        self.wake_if_ready(inner);
        request
    }

    /// Makes a command mean nothing, if it is not on its way yet; returns whether that was so.
    pub fn withdraw(&self, request: u64) -> bool {
        let mut inner = self.lock();
        let at = request
            .checked_sub(inner.first)
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| *at >= inner.sent && *at < inner.queue.len());
        let Some(at) = at else {
            return false;
        };
        let nothing = [Command::NodeUp.encode(), Bytes::new()];
        let size = |[command, raw]: &[Bytes; 2]| command.len() + raw.len();
        let less = size(&inner.queue[at]) - size(&nothing);
        inner.queue[at] = nothing;
        inner.bytes -= less;
        inner.unsent_bytes -= less;
        true
    }

    /// The next chunk to send, if there is something to send and room in flight; with `mentions` also if nobody waits for it.
    pub fn next_chunk(&self, mentions: bool) -> Option<Chunk> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if !inner.has_chunk(mentions) {
            return None;
        }
        let first = inner.first + inner.sent as u64;
        let mut pieces = vec![Bytes::new()];
        let (mut count, mut bytes) = (0_u32, 0);
        for [command, raw] in inner.queue.range(inner.sent..) {
            if count > 0 && bytes + command.len() + raw.len() > CHUNK_BYTES {
                break;
            }
            bytes += command.len() + raw.len();
            pieces.push(command.clone());
            if !raw.is_empty() {
                pieces.push(raw.clone());
            }
            count += 1;
        }
        inner.sent += count as usize;
        inner.unsent_bytes -= bytes;
        inner.in_flight.push_back(first + u64::from(count) - 1);
        let header = ChunkHeader {
            node: self.at.node,
            incarnation: self.at.incarnation,
            first,
            count,
        };
        if let Some(front) = pieces.first_mut() {
            *front = Bytes::copy_from_slice(&header.encode(bytes));
        }
        Some(Chunk { header, pieces })
    }

    /// Waits until [`Self::next_chunk`] may have something. Cancel-safe.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Everything that is not applied is to be sent again.
    pub fn rewind(&self) {
        let mut inner = self.lock();
        inner.sent = 0;
        inner.unsent_bytes = inner.bytes;
        inner.in_flight.clear();
        drop(inner);
        self.wake.notify_one();
    }

    /// The applied state took this node's requests up to `seen`.
    pub fn applied(&self, seen: u64) {
        let mut inner = self.lock();
        if seen < inner.first {
            return;
        }
        while inner.first <= seen {
            let Some([command, raw]) = inner.queue.pop_front() else {
                break;
            };
            inner.first += 1;
            let bytes = command.len() + raw.len();
            inner.bytes -= bytes;
            // After a rewind, what an earlier leader took may be applied before it is sent again.
            match inner.sent.checked_sub(1) {
                Some(sent) => inner.sent = sent,
                None => inner.unsent_bytes -= bytes,
            }
        }
        while inner.in_flight.front().is_some_and(|last| *last <= seen) {
            inner.in_flight.pop_front();
        }
        self.wake_if_ready(inner);
    }

    fn wake_if_ready(&self, inner: MutexGuard<'_, Inner>) {
        if inner.has_chunk(false) {
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// Commands and bytes that wait to be seen applied.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.queue.len(), inner.bytes)
    }

    /// Whether something was sent that is not seen applied.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        !self.lock().in_flight.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next_request(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    fn has_chunk(&self, mentions: bool) -> bool {
        if self.sent == self.queue.len() || self.in_flight.len() >= CHUNKS_IN_FLIGHT {
            return false;
        }
        let at_once = self.in_flight.len() < CHUNKS_AT_ONCE && (mentions || self.is_urgent());
        at_once || self.unsent_bytes >= WORTH_BYTES
    }

    /// Whether somebody waits for something that is not on its way.
    fn is_urgent(&self) -> bool {
        self.urgent >= self.first + self.sent as u64
    }

    fn push(&mut self, command: Bytes, raw: Bytes) {
        self.bytes += command.len() + raw.len();
        self.unsent_bytes += command.len() + raw.len();
        self.queue.push_back([command, raw]);
    }
}

#[cfg(test)]
mod tests {
    use xmpp_core::router::SessionId;

    use super::*;

    fn ingress() -> Ingress {
        Ingress::new(Attachment {
            node: 7,
            incarnation: 3,
        })
    }

    #[test]
    fn only_what_is_not_on_its_way_can_be_withdrawn() {
        let ingress = ingress();
        let detach = Command::Detach {
            session: SessionId(7),
            stream: 1,
            closed: false,
        };
        let sent = ingress.propose(&detach);
        ingress.next_chunk(false).expect("two commands wait");
        assert!(!ingress.withdraw(sent));
        let unsent = ingress.propose(&detach);
        assert!(!ingress.withdraw(unsent + 1), "there is no such command");
        assert!(ingress.withdraw(unsent));
        // The number stays taken, as commands are consecutive.
        let chunk = ingress.next_chunk(false).expect("one waits");
        assert_eq!((chunk.header.first, chunk.header.count), (unsent, 1));
        assert_eq!(chunk.pieces[1], Command::NodeUp.encode());
        ingress.applied(unsent);
        assert_eq!(ingress.waiting(), (0, 0));
        assert!(!ingress.withdraw(unsent), "it is applied");
    }

    #[test]
    fn what_is_not_applied_is_sent_again_under_the_same_numbers() {
        let ingress = ingress();
        let request = ingress.propose(&Command::NodeUp);
        assert_eq!(request, 2);
        let first = ingress.next_chunk(false).expect("two commands wait");
        assert_eq!((first.header.first, first.header.count), (1, 2));
        assert!(ingress.next_chunk(false).is_none());
        ingress.applied(1);
        ingress.rewind();
        let again = ingress
            .next_chunk(false)
            .expect("one command is not applied");
        assert_eq!((again.header.first, again.header.count), (2, 1));
        ingress.applied(2);
        assert_eq!(ingress.waiting(), (0, 0));
        assert!(!ingress.is_in_flight());
    }

    #[test]
    fn commands_gather_while_chunks_are_in_flight() {
        let ingress = ingress();
        for _ in 0..CHUNKS_AT_ONCE {
            ingress.propose(&Command::NodeUp);
            assert!(ingress.next_chunk(false).is_some());
        }
        for _ in 0..10 {
            ingress.propose(&Command::NodeUp);
        }
        assert!(ingress.next_chunk(false).is_none());
        ingress.applied(2);
        assert_eq!(
            ingress.next_chunk(false).map(|chunk| chunk.header.count),
            Some(10)
        );
    }

    #[test]
    fn what_nobody_waits_for_travels_with_the_rest_or_when_told() {
        let ingress = ingress();
        ingress.next_chunk(false).expect("the first command");
        ingress.applied(1);
        ingress.mention(&Command::NodeUp);
        assert!(ingress.only_mentions());
        assert!(ingress.next_chunk(false).is_none());
        ingress.propose(&Command::NodeUp);
        assert!(!ingress.only_mentions());
        let both = ingress.next_chunk(false).map(|chunk| chunk.header.count);
        assert_eq!(both, Some(2));
        ingress.mention(&Command::NodeUp);
        let told = ingress.next_chunk(true).map(|chunk| chunk.header.count);
        assert_eq!(told, Some(1));
        assert!(!ingress.only_mentions(), "nothing waits");
        // Sent again after a change of leader, they wait for something to travel with again.
        ingress.applied(3);
        ingress.rewind();
        assert!(ingress.only_mentions());
        assert!(ingress.next_chunk(false).is_none());
    }

    #[test]
    fn a_chunk_ends_at_its_size() {
        let ingress = ingress();
        for _ in 0..3 {
            ingress.push(
                Bytes::from_static(b"x"),
                Bytes::from(vec![0; CHUNK_BYTES / 2]),
            );
        }
        let sizes: Vec<u32> = std::iter::from_fn(|| ingress.next_chunk(false))
            .map(|chunk| chunk.header.count)
            .collect();
        assert_eq!(sizes, [2, 1, 1]);
    }
}
