//! The `xmpp` command: see [`xmpp_node::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    xmpp_node::tls::install_provider();
    xmpp_node::cli::main()
}
