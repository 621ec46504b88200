//! What README tells of one node is done: its certificates, its file, its commands.
//!
//! Blocks of "```sh node" run in order in one directory, those of "```sh node running" once the node runs.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xmpp_node::demo::{files, site};

use crate::commands::run;
use crate::{blocks, read};

/// Until the node answers on its socket.
const START: Duration = Duration::from_secs(30);

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn one_node_is_made_as_the_readme_says() -> Result<()> {
    let node = files::find_binary(None).context("the binaries: `cargo build --workspace`")?;
    let bin = node.parent().context("a directory")?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let readme = read("README.md")?;
    let place = tempfile::tempdir()?;
    let shell = |block: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-eu", "-c", block])
            .current_dir(place.path())
            .env("PATH", &path);
        run(&mut shell).with_context(|| block.to_owned())
    };
    let config = blocks(&readme, "toml").concat();
    std::fs::write(place.path().join("node.toml"), elsewhere(&config)?)?;
    for block in blocks(&readme, "sh node") {
        shell(&block)?;
    }
    let started = Command::new(&node)
        .args(["--config", "node.toml"])
        .current_dir(place.path())
        .spawn()?;
    let _running = Running(started);
    wait_for(&place.path().join("data").join("admin.sock"))?;
    for block in blocks(&readme, "sh node running") {
        shell(&block)?;
    }
    shell("xmpp --node data cluster status | grep 'State: LEADER'")?;
    shell("xmpp --node data callbridge list | grep 'Callbridge : cb1'")
}

/// The same configuration with its ports on loopback, where others may be in use.
fn elsewhere(config: &str) -> Result<String> {
    let ports = site::Ports::shifted(site::free_offset(1)?)?;
    let mut moved = config.to_owned();
    for (section, port) in [("component", ports.component), ("peer", ports.peer)] {
        let (head, listen) = (
            format!("[{section}]"),
            format!("listen = \"127.0.0.1:{port}\""),
        );
        ensure!(moved.contains(&head), "README has no {head}");
        let comment = moved.find(&head).context("there")? + head.len();
        moved.insert_str(comment, &format!("\n{listen}\n"));
    }
    moved.push_str("\n[admin]\nlisten = \"off\"\n\n[metrics]\nlisten = \"off\"\n");
    Ok(moved)
}

/// Until the node has its socket.
fn wait_for(socket: &Path) -> Result<()> {
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        ensure!(began.elapsed() < START, "the node has no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
