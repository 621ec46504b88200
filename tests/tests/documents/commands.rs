//! Every block of a document that begins with "```sh test" runs, in order, against one running demo.
//!
//! A block of "```sh test until WORDS" goes on until its output has these words, and is stopped then.
//!
//! The blocks of one document share a directory and nothing else. They find the binaries on `PATH`, the demo's directory in
//! `DIR` and the socket of the node that leads in `SOCKET`, as the documents say. Blocks of plain "```sh" are not run; they may
//! name only targets that the Makefile has and commands that `xmpp` and `xmpp-node` know.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xmpp_node::demo::manifest::Manifest;
use xmpp_node::demo::{files, site};
use xmpp_node_api::admin::Request;

use crate::{DOCUMENTS, blocks, fenced, read};

/// From the start of the demo to its manifest, on a machine that builds beside it.
const START: Duration = Duration::from_secs(60);

/// Ceiling of every other wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running demo, killed when dropped; its nodes end with it.
struct Demo {
    process: Child,
    dir: PathBuf,
}

impl Demo {
    fn start(xmpp: &Path, dir: PathBuf) -> Result<Self> {
        let log = dir.with_extension("log");
        let process = Command::new(xmpp)
            .args(["demo", "--rate", "20", "-o", "json", "--port-offset"])
            .arg(site::free_offset(3)?.to_string())
            .arg("--dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()?;
        let mut demo = Self { process, dir };
        demo.wait_for_leader(START)?;
        Ok(demo)
    }

    /// The socket of the node that leads, if the manifest is there and one says so. The manifest's own word may be of before
    /// the last command.
    fn leader(&self) -> Option<PathBuf> {
        let nodes = Manifest::read(&self.dir).ok()?.nodes;
        let leads = |socket: &PathBuf| {
            let mut ask = Command::new("curl");
            ask.args(["-s", "-m", "1", "--unix-socket"])
                .arg(socket)
                .arg("http://node/v1/status");
            let answer = ask.output().map(|output| output.stdout).unwrap_or_default();
            String::from_utf8_lossy(&answer).contains(r#""role":"leader""#)
        };
        nodes.into_iter().map(|node| node.socket).find(leads)
    }

    /// The same, waited for.
    fn wait_for_leader(&mut self, patience: Duration) -> Result<PathBuf> {
        let began = Instant::now();
        loop {
            if let Some(socket) = self.leader() {
                return Ok(socket);
            }
            let ended = self.process.try_wait()?;
            let log = std::fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default();
            ensure!(ended.is_none(), "the demo ended: {log}");
            ensure!(began.elapsed() < patience, "the demo has no leader: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // As Ctrl-C does, so that the nodes end too; whoever is gone already needs no signal.
        let _ = Command::new("kill")
            .args(["-INT", &self.process.id().to_string()])
            .status();
        let _ = self.process.wait();
    }
}

#[test]
fn the_commands_of_the_documents_run() -> Result<()> {
    let node = files::find_binary(None).context("the binaries: `cargo build --workspace`")?;
    let bin = node.parent().context("a directory")?;
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let place = tempfile::tempdir()?;
    let mut demo = Demo::start(&bin.join("xmpp"), place.path().join("demo"))?;
    // One of the commands of the admin API takes a member out: it comes last.
    for document in DOCUMENTS {
        let work = place.path().join(document.replace('/', "-"));
        std::fs::create_dir(&work)?;
        for (words, block) in fenced(&read(document)?) {
            let Some(until) = words.strip_prefix("sh test") else {
                continue;
            };
            let until = until.strip_prefix(" until ");
            let mut shell = Command::new("sh");
            shell
                .args(["-eu", "-c", &block])
                .current_dir(&work)
                .env("PATH", &path)
                .env("DIR", &demo.dir)
                .env("SOCKET", demo.wait_for_leader(PATIENCE)?)
                .stdin(Stdio::null());
            let ran = match until {
                None => run(&mut shell),
                Some(words) => run_until(&mut shell, words),
            };
            ran.with_context(|| format!("{document}:\n{block}"))?;
        }
    }
    Ok(())
}

/// Runs a block as a person would who copies it to a shell, but stops at the first command that fails.
pub(crate) fn run(shell: &mut Command) -> Result<()> {
    let output = shell.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    ensure!(
        output.status.success(),
        "{}\n{stdout}{stderr}",
        output.status
    );
    Ok(())
}

/// Runs a block that does not end by itself until a line of its output has `words`.
fn run_until(shell: &mut Command, words: &str) -> Result<()> {
    let mut process = shell.stdout(Stdio::piped()).process_group(0).spawn()?;
    let (seen, line_with_words) = mpsc::channel();
    let output = process.stdout.take().context("a pipe")?;
    let wanted = words.to_owned();
    // Reads on after the words, so that the process is not stopped by a full pipe.
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.contains(&wanted) {
                let _ = seen.send(());
            }
        }
    });
    let found = line_with_words.recv_timeout(PATIENCE);
    // The group: the shell and what it started.
    let group = format!("-{}", process.id());
    let stopped = Command::new("kill").args(["-TERM", "--", &group]).status();
    process.wait()?;
    ensure!(
        reader.join().is_ok() && stopped.is_ok(),
        "it could not be stopped"
    );
    found.with_context(|| format!("its output never had {words}"))
}

#[test]
fn every_target_of_make_that_a_document_names_is_there() -> Result<()> {
    let makefile = read("Makefile")?;
    for document in DOCUMENTS {
        let text = read(document)?;
        for target in targets(&text) {
            let rule = format!("\n{target}:");
            ensure!(
                makefile.contains(&rule),
                "{document}: make {target} is not there"
            );
        }
    }
    Ok(())
}

/// `verify` of "`make verify`" and of a line "make verify".
fn targets(text: &str) -> Vec<&str> {
    let quoted = text.split("`make ").skip(1);
    let lines = text.lines().filter_map(|line| line.strip_prefix("make "));
    let no_name = |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-';
    let word = |rest: &'_ str| rest.find(no_name);
    quoted
        .chain(lines)
        .map(|rest| &rest[..word(rest).unwrap_or(rest.len())])
        .filter(|target| !target.is_empty())
        .collect()
}

#[test]
fn the_page_of_the_admin_api_has_a_command_for_every_request() -> Result<()> {
    let text = blocks(&read("docs/admin-api.md")?, "sh test").concat();
    for name in Request::NAMES {
        let path = format!("/v1/{name}");
        let named = text.split(&path).skip(1).any(|rest| !rest.starts_with('_'));
        ensure!(named, "no example of {path}");
    }
    Ok(())
}
