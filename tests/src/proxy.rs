//! TCP between a bridge and a node, which a test can cut.
//!
//! A cut ends what is connected; new connections are taken as before. Cut on one side only, the node does not learn that
//! its peer is gone, as when a machine vanishes from the network.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Passes connections on to one address, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    cuts: watch::Sender<Cut>,
    accepting: AbortHandle,
}

/// Which ends of the connections a cut closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    /// Both.
    #[default]
    Both,
    /// The bridge's end; the node's stays open and silent.
    BridgeOnly,
}

impl Proxy {
    /// A proxy in front of `target`, on a port of its own.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let cuts = watch::Sender::new(Cut::default());
        let subscribe = cuts.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let cut = subscribe.subscribe();
                tokio::spawn(pass(socket, target, cut));
            }
        });
        Ok(Self {
            address,
            cuts,
            accepting: accepting.abort_handle(),
        })
    }

    /// Where bridges connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all present connections.
    pub fn cut(&self, cut: Cut) {
        self.cuts.send_replace(cut);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(Cut::Both);
    }
}

async fn pass(mut bridge: TcpStream, target: SocketAddr, mut cuts: watch::Receiver<Cut>) {
    let Ok(mut node) = TcpStream::connect(target).await else {
        return;
    };
    let _ = bridge.set_nodelay(true);
    let _ = node.set_nodelay(true);
    let cut = {
        let copying = copy_bidirectional(&mut bridge, &mut node);
        tokio::select! {
            _ = copying => return,
            _ = cuts.changed() => *cuts.borrow_and_update(),
        }
    };
    drop(bridge);
    if cut == Cut::BridgeOnly {
        // Held until the next cut, or until the proxy goes.
        let _node = Arc::new(node);
        let _ = cuts.changed().await;
    }
}
