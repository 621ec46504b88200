//! One connection over a pipe, in simulated time.

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use xmpp_core::framer::Limits;

use super::*;
use crate::config::{Timing, Window};
use crate::outbox::Outbox;
use crate::status::{Status, Tally};

/// A bound stream: the server's end of its pipe, what is received, and how it ends.
struct Bound {
    server: DuplexStream,
    inbox: mpsc::Receiver<Incoming>,
    shared: Arc<Shared>,
    ending: tokio::task::JoinHandle<Ending>,
}

fn bound(pipe_bytes: usize, inbox_stanzas: usize) -> Bound {
    let (server, io) = tokio::io::duplex(pipe_bytes);
    let (inbox, incoming) = mpsc::channel(inbox_stanzas);
    let (confirm, confirmed) = watch::channel(None);
    let shared = Arc::new(Shared {
        outbox: Outbox::new(Window::default()),
        status: watch::Sender::new(Status::new(
            "example.test",
            std::time::SystemTime::UNIX_EPOCH,
        )),
        events: tokio::sync::broadcast::Sender::new(1),
        tally: Tally::default(),
        confirm,
        anew: watch::Sender::new(()),
        stop: CancellationToken::new(),
    });
    let mut session = Session::new(Timing::default());
    session.enabled(Some("id"), now());
    let mut link = Link {
        session,
        pending: VecDeque::new(),
        inbox,
        confirmation: Confirmation::OnHandover,
        confirmed,
        anew: shared.anew.subscribe(),
        shared: shared.clone(),
    };
    let mut framer = Framer::new(Limits::default());
    let header = format!(
        "<stream:stream xmlns='{}' xmlns:stream='{}'>",
        ns::COMPONENT_ACCEPT,
        ns::STREAMS
    );
    framer.buffer().extend_from_slice(header.as_bytes());
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Open(_)))));
    let connection = Connection {
        io: Box::new(io),
        framer,
        managed: true,
    };
    let ending = tokio::spawn(async move { run(connection, &mut link).await });
    Bound {
        server,
        inbox: incoming,
        shared,
        ending,
    }
}

async fn expect(server: &mut DuplexStream, text: &str) {
    let mut buffer = vec![0; text.len()];
    server.read_exact(&mut buffer).await.expect("readable");
    assert_eq!(std::str::from_utf8(&buffer).expect("text"), text);
}

const ASK: &str = "<r xmlns='urn:xmpp:sm:3'/>";

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_after_half_a_second_and_given_up_after_one_and_a_half() {
    let start = Instant::now();
    let mut bound = bound(4096, 8);
    expect(&mut bound.server, ASK).await;
    assert_eq!(start.elapsed().as_millis() / 10, 50);
    let ending = bound.ending.await.expect("no panic");
    assert!(matches!(ending, Ending::Lost(Failure::Silent)));
    assert_eq!(start.elapsed().as_millis() / 10, 150);
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_that_answers_is_kept() {
    let start = Instant::now();
    let mut bound = bound(4096, 8);
    while start.elapsed() < Duration::from_secs(600) {
        expect(&mut bound.server, ASK).await;
        bound
            .server
            .write_all(b"<a xmlns='urn:xmpp:sm:3' h='0'/>")
            .await
            .expect("writable");
    }
    assert!(!bound.ending.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_does_not_stop_our_reading() {
    let mut bound = bound(256, 8);
    for _ in 0..100 {
        bound
            .shared
            .outbox
            .try_send(Bytes::from_static(b"<presence/>"))
            .expect("room");
    }
    for number in 0..100 {
        let stanza = format!("<message id='{number}'/>");
        bound
            .server
            .write_all(stanza.as_bytes())
            .await
            .expect("writable");
        assert_eq!(
            bound.inbox.recv().await.expect("a stanza").bytes(),
            stanza.as_bytes()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_application_does_not_take_nobody_is_called_silent() {
    let mut bound = bound(65_536, 1);
    for _ in 0..1000 {
        bound
            .server
            .write_all(b"<message/>")
            .await
            .expect("writable");
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..1000 {
        bound.inbox.recv().await.expect("a stanza");
    }
    assert!(!bound.ending.is_finished());
}

#[tokio::test(start_paused = true)]
async fn taken_stanzas_are_told_every_sixteenth_and_the_rest_after_a_while() {
    let mut bound = bound(4096, 64);
    bound
        .server
        .write_all("<message/>".repeat(17).as_bytes())
        .await
        .expect("writable");
    let start = Instant::now();
    expect(&mut bound.server, "<a xmlns='urn:xmpp:sm:3' h='17'/>").await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    bound
        .server
        .write_all(b"<message/>")
        .await
        .expect("writable");
    expect(&mut bound.server, "<a xmlns='urn:xmpp:sm:3' h='18'/>").await;
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(start.elapsed() < Duration::from_millis(60));
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_cannot_be_is_answered_by_a_stream_error() {
    let mut bound = bound(4096, 8);
    bound
        .server
        .write_all(b"<a xmlns='urn:xmpp:sm:3' h='1'/>")
        .await
        .expect("writable");
    let mut told = String::new();
    bound
        .server
        .read_to_string(&mut told)
        .await
        .expect("readable");
    assert!(told.contains("<undefined-condition "), "{told}");
    assert!(told.contains("<handled-count-too-high "), "{told}");
    let ending = bound.ending.await.expect("no panic");
    assert!(matches!(ending, Ending::Lost(Failure::Acknowledgement(_))));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_is_not_answered_by_a_closing_tag_that_would_end_the_session() {
    let mut bound = bound(4096, 8);
    let shutdown =
        xmpp_core::error::StreamError::new(xmpp_core::error::StreamCondition::SystemShutdown);
    bound
        .server
        .write_all(shutdown.to_xml().as_bytes())
        .await
        .expect("writable");
    let mut told = String::new();
    bound
        .server
        .read_to_string(&mut told)
        .await
        .expect("readable");
    assert_eq!(told, "");
    let ending = bound.ending.await.expect("no panic");
    assert!(matches!(ending, Ending::Lost(failure) if failure.reason() == "server shutdown"));
}
