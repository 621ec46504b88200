//! One child process: started, signalled, watched, and gone when its handle is.
//!
//! A task of its own holds the child. Only that task collects the child's exit and only that task signals it, so a signal
//! can never reach another process that was given the same number.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::DemoError;

/// A child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    orders: mpsc::UnboundedSender<(Signal, oneshot::Sender<bool>)>,
    exited: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Runs `binary --config <config> --exit-with-parent`, its output appended to `log`. It is in a process group of its own,
    /// so that Ctrl-C on the terminal reaches us alone; it is killed when this handle is dropped, and stops when our process
    /// ends without dropping anything, even if it hangs by SIGSTOP: the system continues groups that lose their parent.
    ///
    /// # Errors
    /// [`DemoError::File`] for the log, [`DemoError::Binary`].
    pub fn spawn(name: &str, binary: &Path, config: &Path, log: &Path) -> Result<Self, DemoError> {
        let open = || {
            let mut options = OpenOptions::new();
            let file = options.create(true).append(true).mode(0o600).open(log)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open().map_err(DemoError::file(log))?;
        let spawned = Command::new(binary)
            .arg("--config")
            .arg(config)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let child = spawned.map_err(|error| DemoError::Binary {
            path: binary.to_owned(),
            reason: format!("cannot be run: {error}"),
        })?;
        let pid = child.id().unwrap_or_default();
        let (orders, received) = mpsc::unbounded_channel();
        let (exit, exited) = watch::channel(None);
        tokio::spawn(hold(child, received, exit));
        Ok(Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            orders,
            exited,
        })
    }

    /// Its process id, kept when it has ended.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<ExitStatus> {
        *self.exited.borrow()
    }

    /// Sends a signal; `false` if the process had ended before.
    pub async fn signal(&self, signal: Signal) -> bool {
        let (done, answer) = oneshot::channel();
        self.orders.send((signal, done)).is_ok() && answer.await.unwrap_or(false)
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> ExitStatus {
        let mut exited = self.exited.clone();
        let ended = exited.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| *status).unwrap_or_else(lost)
    }

    /// The error to report when it has ended by itself.
    #[must_use]
    pub fn died(&self, status: ExitStatus) -> DemoError {
        DemoError::NodeDied {
            name: self.name.clone(),
            status,
            log: self.log.clone(),
            tail: self.tail(),
        }
    }

    /// The last lines of its log, at most [`TAIL_LINES`].
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(cannot be read: {error})"))
    }
}

async fn hold(
    mut child: Child,
    mut orders: mpsc::UnboundedReceiver<(Signal, oneshot::Sender<bool>)>,
    exited: watch::Sender<Option<ExitStatus>>,
) {
    // Waiting would close it.
    let _alive = child.stdin.take();
    let status = loop {
        tokio::select! {
            ended = child.wait() => break ended.unwrap_or_else(|_| lost()),
            order = orders.recv() => match order {
                Some((signal, done)) => {
                    // Whoever asked may have gone.
                    let _ = done.send(send(&child, signal));
                }
                None => {
                    let _ = child.start_kill();
                    break child.wait().await.unwrap_or_else(|_| lost());
                }
            }
        }
    };
    exited.send_replace(Some(status));
}

fn send(child: &Child, signal: Signal) -> bool {
    // There is an id only as long as nobody has collected the exit.
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    pid.and_then(Pid::from_raw)
        .is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    Ok(shown
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n"))
}

/// What stands for the status of a process whose end could not be observed.
fn lost() -> ExitStatus {
    ExitStatus::from_raw(255 << 8)
}

/// Lines of a log that an error shows.
pub const TAIL_LINES: usize = 12;

const TAIL_BYTES: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn script(body: &str) -> (tempfile::TempDir, Process) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("script");
        std::fs::write(&path, body).expect("the directory is ours");
        // A shell takes the script for the configuration file that it is given.
        let wrapper = dir.path().join("wrapper");
        std::fs::write(&wrapper, "#!/bin/sh\nexec /bin/sh \"$2\"\n").expect("ours");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&wrapper, mode).expect("ours");
        let log = dir.path().join("log");
        let process = Process::spawn("xmpp1", &wrapper, &path, &log).expect("a shell is there");
        (dir, process)
    }

    #[tokio::test]
    async fn a_process_that_ends_by_itself_is_reported_with_the_end_of_its_log() {
        let (_dir, process) = script("seq 1 20; echo address in use >&2; exit 3");
        let status = process.ended().await;
        assert_eq!(status.code(), Some(3));
        let text = process.died(status).to_string();
        assert!(text.starts_with("xmpp1 died (exit status: 3)"), "{text}");
        assert!(text.ends_with("  20\n  address in use"), "{text}");
        assert!(!text.contains("  9\n"), "only the last lines: {text}");
        assert!(!process.signal(Signal::KILL).await, "nobody is there");
    }

    #[tokio::test]
    async fn signals_reach_the_process() {
        let (_dir, process) = script("sleep 600");
        assert!(process.exit().is_none());
        assert!(process.signal(Signal::STOP).await);
        assert!(process.signal(Signal::KILL).await);
        assert_eq!(process.ended().await.signal(), Some(9));
    }

    #[tokio::test]
    async fn standard_input_of_a_process_stays_open() {
        let (_dir, process) = script("read line; exit 3");
        let ended = tokio::time::timeout(std::time::Duration::from_millis(200), process.ended());
        assert!(ended.await.is_err(), "its input ended");
    }

    #[tokio::test]
    async fn a_process_does_not_outlive_its_handle() {
        let (_dir, process) = script("exec sleep 600");
        let mut exited = process.exited.clone();
        drop(process);
        let ended = exited.wait_for(Option::is_some).await.expect("it is held");
        assert_eq!(ended.and_then(|status| status.signal()), Some(9));
    }
}
