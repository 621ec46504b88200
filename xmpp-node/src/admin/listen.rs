//! Listeners of the admin API.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::serve::{Listener, ListenerExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Listens on a TCP port; small answers are sent at once.
///
/// # Errors
/// The address is taken or not ours.
pub async fn tcp(address: SocketAddr) -> io::Result<impl Listener<Addr = SocketAddr>> {
    let listener = TcpListener::bind(address).await?;
    Ok(listener.tap_io(|stream| {
        // Without it an answer may wait 40 ms; it fails only on a connection that is gone.
        let _ = stream.set_nodelay(true);
    }))
}

/// Listens on a unix socket that only the node's own user may open. A socket left behind by a dead process is
/// replaced; its directory must exist.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if a process listens there or the path is another kind of file; else what the system
/// says.
pub async fn socket(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => {
            let is_socket = std::os::unix::fs::FileTypeExt::is_socket(&found.file_type());
            if !is_socket || UnixStream::connect(path).await.is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Bound under another name first, so that nobody can connect before the mode is set.
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}
