//! The end of a connection.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Connection;

/// Writes what is left, says `close_notify`, then reads on until the peer closes too (RFC 6120, 4.4).
pub(super) async fn close<R, W>(reader: &mut R, writer: &mut W, mut connection: Connection)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let goodbye = async {
        while !connection.out.is_empty() {
            connection.out.put(writer).await?;
        }
        writer.shutdown().await
    };
    if goodbye.await.is_err() {
        return;
    }
    let mut rest = [0; 1024];
    while reader.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
