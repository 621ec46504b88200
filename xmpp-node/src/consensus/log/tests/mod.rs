//! The log as a whole, on real files.

mod damage;
mod random;
mod restart;
mod segments;
mod suite;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log_id;
use tempfile::TempDir;

use super::super::types::{Batch, Entry, LogId, Payload, TypeConfig, Vote};
use super::recovery::{Recovered, recover};
use super::{LogError, LogOptions, SegmentLog};

/// Never settles by itself, so that a test knows what is in the file.
fn options(segment_bytes: u64) -> LogOptions {
    LogOptions {
        segment_bytes,
        ahead_bytes: 0,
        idle: Duration::from_secs(3600),
        fatal: Arc::new(|error| panic!("the log failed: {error}")),
        ..LogOptions::default()
    }
}

fn new_dir() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

fn open(dir: &Path, segment_bytes: u64) -> SegmentLog {
    SegmentLog::open(dir, options(segment_bytes)).expect("the log opens")
}

fn id(term: u64, index: u64) -> LogId {
    log_id::<TypeConfig>(term, 1, index)
}

fn batch(term: u64, index: u64, bytes: usize) -> Entry {
    let payload = Payload::Normal(Batch(vec![index as u8; bytes].into()));
    Entry {
        log_id: id(term, index),
        payload,
    }
}

/// Appends the entries of `indices`, each as a group of its own.
async fn append(log: &mut SegmentLog, term: u64, indices: impl IntoIterator<Item = u64>) {
    for index in indices {
        log.blocking_append([batch(term, index, 20)])
            .await
            .expect("appends");
    }
}

async fn vote(log: &mut SegmentLog, term: u64) {
    log.save_vote(&Vote::new(term, 1))
        .await
        .expect("saves the vote");
}

/// What a killed process would leave: the files as they are while the log is still open.
fn left_by_a_kill(dir: &Path) -> TempDir {
    let copy = new_dir();
    for segment in segments(dir) {
        let name = segment.file_name().expect("a file has a name");
        fs::copy(&segment, copy.path().join(name)).expect("copies");
    }
    copy
}

/// The segments in `dir`, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir)
        .expect("lists")
        .map(|file| file.expect("lists").path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension() == Some("seg".as_ref()))
        .collect();
    files.sort();
    files
}

/// Opens the log as a starting node does, without starting a writer.
fn reread(dir: &Path) -> Result<Recovered, LogError> {
    recover(dir, true)
}

/// Index of the last entry; every entry between it and the purge mark must be there.
fn last_index(recovered: &Recovered) -> Option<u64> {
    let state = &recovered.memory.state;
    let first = state.purged.map_or(0, |purged| purged.index + 1);
    let held: Vec<_> = recovered
        .memory
        .range(&..)
        .iter()
        .map(|entry| entry.log_id.index)
        .collect();
    let last = state.last.map(|last| last.index);
    assert_eq!(
        held,
        (first..last.map_or(0, |last| last + 1)).collect::<Vec<_>>()
    );
    last
}

fn voted_term(recovered: &Recovered) -> Option<u64> {
    recovered.memory.state.vote.map(|vote| vote.leader_id.term)
}
