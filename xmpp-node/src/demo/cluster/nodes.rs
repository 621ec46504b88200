//! The processes of a cluster: started, signalled, ended, and how they ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{join_all, select_all};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::{Cluster, POLL, lock};
use crate::demo::error::DemoError;
use crate::demo::files;
use crate::demo::process::Process;
use crate::demo::settled::settled;
use crate::demo::site::Site;

impl Cluster {
    /// The process of a node, the ended one if it does not run.
    #[must_use]
    pub fn process(&self, node: usize) -> Option<Arc<Process>> {
        lock(&self.processes[node]).clone()
    }

    /// Starts a node that does not run, with its directory as it is. Returns at once.
    ///
    /// # Errors
    /// [`DemoError::File`], [`DemoError::Binary`].
    pub fn start_node(&self, node: usize) -> Result<(), DemoError> {
        let site = &self.sites[node];
        // Until there is a cluster the first node waits to be initialised; later even one that lost its disk joins.
        let others: Vec<&Site> = match self.formed.load(Ordering::Relaxed) {
            true => self
                .sites
                .iter()
                .filter(|other| other.name != site.name)
                .collect(),
            false if node == 0 => Vec::new(),
            false => vec![&self.sites[0]],
        };
        let mut config = files::config(site, &others, &self.pki)?;
        (self.plan.tune)(&mut config);
        files::write_config(&config, &site.config)?;
        let process = Process::spawn(&site.name, &self.plan.binary, &site.config, &site.log)?;
        *lock(&self.processes[node]) = Some(Arc::new(process));
        Ok(())
    }

    /// Ends a node that still runs without warning (SIGKILL) and starts it again.
    ///
    /// # Errors
    /// As [`start_node`](Self::start_node).
    pub async fn restart(&self, node: usize) -> Result<(), DemoError> {
        self.kill(node).await;
        self.start_node(node)
    }

    /// SIGKILL; returns once the process is gone.
    pub async fn kill(&self, node: usize) {
        self.end(node, Signal::KILL, Duration::MAX).await;
    }

    /// SIGTERM; returns once the process is gone, which is killed if it takes longer than `patience`.
    pub async fn terminate(&self, node: usize, patience: Duration) {
        self.end(node, Signal::TERM, patience).await;
    }

    /// SIGSTOP: the node hangs, its connections stay.
    pub async fn stop(&self, node: usize) {
        self.signal(node, Signal::STOP).await;
    }

    /// SIGCONT: it goes on.
    pub async fn cont(&self, node: usize) {
        self.signal(node, Signal::CONT).await;
    }

    async fn signal(&self, node: usize, signal: Signal) {
        if let Some(process) = self.process(node) {
            process.signal(signal).await;
        }
    }

    async fn end(&self, node: usize, signal: Signal, patience: Duration) {
        let Some(process) = self.process(node) else {
            return;
        };
        process.signal(signal).await;
        if timeout(patience, process.ended()).await.is_err() {
            process.signal(Signal::KILL).await;
            process.ended().await;
        }
    }

    /// Waits until one node leads and all others vote, hold the log and accept stanzas; returns the leader's number.
    ///
    /// # Errors
    /// [`DemoError::NodeDied`] as soon as a node ends; [`DemoError::Late`] says what was missing.
    pub async fn whole(&self, patience: Duration) -> Result<usize, DemoError> {
        let deadline = Instant::now() + patience;
        loop {
            let reason = match settled(&self.statuses().await) {
                Ok(leader) => return Ok(leader),
                Err(reason) => reason,
            };
            self.all_alive()?;
            if Instant::now() >= deadline {
                return Err(DemoError::Late {
                    what: "the cluster was not whole".to_owned(),
                    seconds: patience.as_secs(),
                    reason,
                    tail: String::new(),
                });
            }
            sleep(POLL).await;
        }
    }

    /// Tells whether any node ended.
    ///
    /// # Errors
    /// [`DemoError::NodeDied`].
    pub fn all_alive(&self) -> Result<(), DemoError> {
        for node in 0..self.sites.len() {
            if let Some(process) = self.process(node)
                && let Some(status) = process.exit()
            {
                return Err(process.died(status));
            }
        }
        Ok(())
    }

    /// Which nodes have no process.
    #[must_use]
    pub fn ended(&self) -> Vec<bool> {
        let ended = |node| {
            self.process(node)
                .is_none_or(|process| process.exit().is_some())
        };
        (0..self.sites.len()).map(ended).collect()
    }

    /// Waits until a node that runs now ends; for ever if none runs.
    pub async fn any_ended(&self) {
        let running = (0..self.sites.len()).filter_map(|node| self.process(node));
        let running = running.filter(|process| process.exit().is_none());
        let ends = running.map(|process| Box::pin(async move { process.ended().await }));
        let ends: Vec<_> = ends.collect();
        match ends.is_empty() {
            true => std::future::pending().await,
            false => drop(select_all(ends).await),
        }
    }

    /// How a node ended that someone else ended, by a signal or in good order.
    ///
    /// # Errors
    /// [`DemoError::NodeDied`] if it ended by itself.
    pub fn ended_from_outside(&self, node: usize) -> Result<ExitStatus, DemoError> {
        let process = self.process(node);
        let ended = process.and_then(|process| process.exit().map(|status| (process, status)));
        let Some((process, status)) = ended else {
            return Ok(ExitStatus::default());
        };
        let asked = [Signal::KILL, Signal::TERM, Signal::INT].map(|signal| Some(signal.as_raw()));
        if status.success() || asked.contains(&status.signal()) {
            Ok(status)
        } else {
            Err(process.died(status))
        }
    }

    /// Stops all nodes in good order (SIGTERM), and by force what takes longer than `patience`.
    pub async fn shutdown(&self, patience: Duration) {
        // A hanging node would not hear it.
        join_all((0..self.sites.len()).map(|node| self.cont(node))).await;
        join_all((0..self.sites.len()).map(|node| self.terminate(node, patience))).await;
    }
}
