//! Bytes out, to the last one: writing, and the end of a connection.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Connection;

/// Writes some of `out`, or, when it is empty, flushes what TLS still holds; returns whether everything is out. Cancel-safe.
pub(super) async fn put<W: AsyncWrite + Unpin>(
    writer: &mut W,
    out: &mut BytesMut,
) -> io::Result<bool> {
    if out.is_empty() {
        writer.flush().await?;
        return Ok(true);
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(false),
    }
}

/// Writes what is left, says `close_notify`, then reads on until the peer closes too (RFC 6120, 4.4).
pub(super) async fn close<R, W>(reader: &mut R, writer: &mut W, mut connection: Connection)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let goodbye = async {
        while !connection.out.is_empty() {
            if writer.write_buf(&mut connection.out).await? == 0 {
                break;
            }
        }
        writer.shutdown().await
    };
    if goodbye.await.is_err() {
        return;
    }
    let mut rest = [0; 1024];
    while reader.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
