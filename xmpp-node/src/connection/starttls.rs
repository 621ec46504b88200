//! A client before TLS: what it says in plain, and nothing of it is kept.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::framer::Framer;
use xmpp_core::stream::starttls::{StartTls, Step};

use super::{StreamContext, Welcome, stream_id};

/// Negotiates TLS; whether the handshake comes next. The caller sees to the time that it takes.
pub async fn starttls(socket: &mut TcpStream, context: &StreamContext) -> bool {
    negotiate(socket, context).await.unwrap_or(false)
}

async fn negotiate(socket: &mut TcpStream, context: &StreamContext) -> std::io::Result<bool> {
    let Ok(id) = stream_id() else {
        return Ok(false);
    };
    let mut machine = StartTls::new(context.server.domain.clone(), id);
    let mut framer = Framer::new(context.limits.framer);
    loop {
        let (mut out, mut step) = (String::new(), Step::Continue);
        while step == Step::Continue {
            match framer.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => step = machine.handle(&frame, &mut out),
                Err(error) => {
                    machine.close(&error.into(), &mut out);
                    step = Step::Close;
                }
            }
        }
        // Whatever came with <starttls/> came in plain, and may not be taken as protected (RFC 6120, 5.4.3.3).
        // A line's end behind it says nothing, and some clients send one.
        if step == Step::Proceed && !framer.buffer().trim_ascii().is_empty() {
            return Ok(false);
        }
        if step == Step::Continue && *context.welcome.borrow() == Welcome::Shut && !out.is_empty() {
            machine.close(&StreamError::new(StreamCondition::SystemShutdown), &mut out);
            step = Step::Close;
        }
        socket.write_all(out.as_bytes()).await?;
        match step {
            Step::Proceed => return Ok(true),
            Step::Close => {
                socket.shutdown().await?;
                return Ok(false);
            }
            Step::Continue => {}
        }
        if socket.read_buf(framer.buffer()).await? == 0 {
            return Ok(false);
        }
    }
}
