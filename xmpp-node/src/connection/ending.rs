//! The end of a connection.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Connection;

/// How long a peer that ended its stream may take to end the connection too, before we do.
const COURTESY: Duration = Duration::from_secs(1);

/// Writes what is left, says `close_notify`, then reads on until the peer closes too (RFC 6120, 4.4).
///
/// Whoever closed its stream first closes the connection, once it has our end: some clients lose that end if the end of the
/// connection comes with it.
pub(super) async fn close<R, W>(reader: &mut R, writer: &mut W, connection: &mut Connection)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let goodbye = async {
        while !connection.out.is_empty() {
            connection.out.put(writer).await?;
        }
        writer.flush().await?;
        if connection.closed_by_peer {
            let _ = timeout(COURTESY, drain(reader)).await;
        }
        writer.shutdown().await
    };
    if goodbye.await.is_ok() {
        drain(reader).await;
    }
}

/// Reads until the peer closes.
async fn drain<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut rest = [0; 1024];
    while reader.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
