//! Times and sizes of the transport.

use std::time::Duration;

use super::pipe::QUEUE_BYTES;

/// Times and sizes; the defaults suit one data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A ping is sent when nothing was written for this long. Default 100 ms: a silence of 300 ms
    /// is then three missed pings.
    pub ping_after: Duration,
    /// A connection on which nothing was heard for this long is given up and dialled anew, because
    /// TCP's own retries become slower with each loss. Default 1 s, noticed up to one `ping_after`
    /// later.
    pub silent_after: Duration,
    /// For one TCP connection attempt. Default 500 ms: less than TCP needs for its first repeat.
    pub connect_timeout: Duration,
    /// For resolving a name, and for TLS and both hellos. Default 2 s.
    pub handshake_timeout: Duration,
    /// First pause between attempts. Default 10 ms.
    pub retry_first: Duration,
    /// Longest pause between attempts; pauses double. Default 500 ms.
    pub retry_most: Duration,
    /// Pause after a refusal, which only a person or a join can change. Default 2 s.
    pub refused_retry: Duration,
    /// Bytes that wait in front of one link. Default [`QUEUE_BYTES`].
    pub queue_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_after: Duration::from_millis(100),
            silent_after: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(2),
            retry_first: Duration::from_millis(10),
            retry_most: Duration::from_millis(500),
            refused_retry: Duration::from_secs(2),
            queue_bytes: QUEUE_BYTES,
        }
    }
}
