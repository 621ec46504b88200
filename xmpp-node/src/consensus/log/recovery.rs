//! What is found in a log directory: everything as it was, an unfinished end dropped, or a refusal.
//!
//! The rules stand in the module above. Nothing is written before the whole log has been read and
//! found good, apart from deleting segments that never got their name.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use openraft::LogIdOptionExt as _;

use super::error::{Damage, LogError};
use super::format::{
    CLEAN_END, Fault, Group, HEAD_BYTES, Head, Record, SEAL, read_group, was_durable,
};
use super::memory::Memory;
use super::segment::{Segment, list, path_of, remove, sync_dir};
use super::state::State;

/// What opening a log found. For the caller to log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// There was no log: this one is new and empty.
    pub created: bool,
    /// Segments read.
    pub segments: u64,
    /// Bytes of an incomplete last write that were dropped. Nothing in them had been acknowledged,
    /// unless the storage lost what it had reported durable.
    pub dropped_bytes: u64,
    /// The log was closed in order, by its last user or by being new.
    pub clean_end: bool,
}

/// A full segment that waits to be purged.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    /// One more than the highest index in it that no later truncation removed.
    pub(super) live_end: u64,
}

/// Everything a writer needs to go on.
pub(super) struct Recovered {
    pub(super) memory: Memory,
    pub(super) active: Segment,
    /// As [`Sealed::live_end`], for the active segment.
    pub(super) live_end: u64,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) recovery: Recovery,
}

/// Reads the log in `dir`, or creates one there unless it `must_exist`.
pub(super) fn recover(dir: &Path, must_exist: bool) -> Result<Recovered, LogError> {
    let mut group = Group::default();
    let numbers = list(dir)?;
    let Some(&last) = numbers.last() else {
        if must_exist {
            return Err(LogError::Missing {
                path: path_of(dir, 1),
            });
        }
        return create(dir, &mut group);
    };
    // Purging deletes from the front. Deletions that a crash left half durable can leave older
    // segments behind a gap; whether the rest is enough shows when it has been read.
    let leftover = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
    let (leftovers, numbers) = numbers.split_at(leftover.map_or(0, |at| at + 1));

    let mut replay = Replay::default();
    let mut before: Option<Scan> = None;
    let mut unsealed = None;
    for &number in numbers {
        let mut scan = Scan::load(path_of(dir, number), number)?;
        if let Some(before) = before.take() {
            let just_created = number == last && scan.holds_only_its_state();
            if before.check_end(scan.head.previous_end, just_created)? {
                unsealed = Some(before);
            }
        }
        scan.run(&mut replay)?;
        before = Some(scan);
    }
    // The loop ran at least once: `numbers` ends with `last`.
    let Some(scan) = before else {
        return Err(LogError::Missing {
            path: path_of(dir, last),
        });
    };
    if scan.sealed {
        return Err(LogError::Missing {
            path: path_of(dir, last + 1),
        });
    }
    scan.check_tail()?;
    if replay.lacks_entries() {
        // Segments go only when a durable mark says so: a tail that was to be dropped held it.
        return Err(match scan.fault {
            Some(fault) => scan.damaged(fault.offset, fault.damage),
            None => LogError::Missing {
                path: path_of(dir, number_before(numbers)),
            },
        });
    }

    for &number in leftovers {
        remove(&path_of(dir, number))?;
    }
    // Whatever is in the directory, by us now or by a predecessor before it crashed, stays so.
    sync_dir(dir)?;
    if let Some(before) = unsealed {
        before.reopen()?.seal(&mut group)?;
    }
    let recovery = Recovery {
        created: false,
        segments: numbers.len() as u64,
        dropped_bytes: scan.written.saturating_sub(scan.end) as u64,
        clean_end: scan.clean_end && scan.end >= scan.written,
    };
    let mut sealed: VecDeque<_> = numbers
        .iter()
        .zip(&replay.live_ends)
        .map(|(&number, &live_end)| Sealed {
            path: path_of(dir, number),
            live_end,
        })
        .collect();
    let live_end = sealed.pop_back().map_or(0, |active| active.live_end);
    Ok(Recovered {
        memory: replay.memory,
        active: scan.reopen()?,
        live_end,
        sealed,
        recovery,
    })
}

/// The segment that should stand in front of those found.
fn number_before(numbers: &[u64]) -> u64 {
    numbers.first().map_or(0, |first| first.saturating_sub(1))
}

fn create(dir: &Path, group: &mut Group) -> Result<Recovered, LogError> {
    Ok(Recovered {
        memory: Memory::default(),
        active: Segment::create(dir, 1, 0, &State::default(), group)?,
        live_end: 0,
        sealed: VecDeque::new(),
        recovery: Recovery {
            created: true,
            segments: 0,
            dropped_bytes: 0,
            clean_end: true,
        },
    })
}

/// One segment while it is read.
struct Scan {
    path: PathBuf,
    file: Bytes,
    head: Head,
    /// Behind this there are only zeros, written ahead of what was to come. A group may end in zeros itself.
    written: usize,
    /// Everything before is good. Never counts a seal.
    end: usize,
    /// Everything before had been synced when the last good group was written.
    durable: u64,
    /// There is a seal at the very end.
    sealed: bool,
    clean_end: bool,
    /// What stands at `end`, if anything was written there.
    fault: Option<Fault>,
}

impl Scan {
    fn load(path: PathBuf, number: u64) -> Result<Self, LogError> {
        let file = Bytes::from(fs::read(&path).map_err(LogError::io("reading", &path))?);
        let damaged = |damage| LogError::Damaged {
            path: path.clone(),
            offset: 0,
            damage,
        };
        let head = Head::parse(&file).map_err(damaged)?;
        if head.number != number {
            return Err(damaged(Damage::Number(head.number)));
        }
        let end = HEAD_BYTES;
        let zeros = file.iter().rev().take_while(|byte| **byte == 0).count();
        let written = file.len() - zeros;
        let (sealed, clean_end, fault) = (false, false, None);
        Ok(Self {
            path,
            file,
            head,
            written,
            end,
            durable: 0,
            sealed,
            clean_end,
            fault,
        })
    }

    /// Whether nothing was ever written here after the segment was created.
    fn holds_only_its_state(&self) -> bool {
        let state = read_group(&self.file, HEAD_BYTES, self.head.salt);
        state.is_ok_and(|state| state.end >= self.written)
    }

    /// Replays the groups up to the first that does not check.
    fn run(&mut self, replay: &mut Replay) -> Result<(), LogError> {
        replay.live_ends.push(0);
        while self.end < self.written {
            let group = match read_group(&self.file, self.end, self.head.salt) {
                Ok(group) => group,
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            };
            if group.flags & SEAL != 0 {
                self.sealed = group.end >= self.written;
                let offset = self.end as u64;
                self.fault = (!self.sealed).then_some(Fault {
                    offset,
                    damage: Damage::Group,
                });
                break;
            }
            let at_start = self.end == HEAD_BYTES;
            if at_start != matches!(group.records.first(), Some((_, Record::State(_)))) {
                return Err(self.damaged(self.end as u64, Damage::State));
            }
            for (offset, record) in group.records {
                replay
                    .apply(record)
                    .map_err(|damage| self.damaged(offset, damage))?;
            }
            self.end = group.end;
            self.durable = group.durable;
            self.clean_end = group.flags & CLEAN_END != 0;
        }
        if self.end == HEAD_BYTES && self.fault.is_none() {
            self.fault = Some(Fault {
                offset: self.end as u64,
                damage: Damage::Group,
            });
        }
        Ok(())
    }

    /// Checks a segment that has a successor, which says that `end` bytes of it were durable.
    ///
    /// Returns whether the seal has still to be written: a crash came between the successor's
    /// creation and the seal, so nothing can stand in the successor yet.
    fn check_end(&self, end: u64, successor_just_created: bool) -> Result<bool, LogError> {
        let (found, behind) = (self.end as u64, Damage::Length(end));
        if found < end {
            let fault = self.fault.unwrap_or(Fault {
                offset: found,
                damage: behind,
            });
            return Err(self.damaged(fault.offset, fault.damage));
        }
        if found > end {
            return Err(self.damaged(end, behind));
        }
        if !self.sealed && !successor_just_created {
            return Err(self.damaged(end, Damage::Group));
        }
        Ok(!self.sealed)
    }

    /// Checks the end of the last segment: only what was never durable may be incomplete.
    fn check_tail(&self) -> Result<(), LogError> {
        let Some(fault) = self.fault else {
            return Ok(());
        };
        let torn = self.end > HEAD_BYTES
            && fault.damage.may_be_torn()
            && !was_durable(&self.file, self.end, self.head.salt);
        if torn {
            Ok(())
        } else {
            Err(self.damaged(fault.offset, fault.damage))
        }
    }

    fn reopen(self) -> Result<Segment, LogError> {
        Segment::reopen(self.path, &self.head, &self.file[..self.end], self.durable)
    }

    fn damaged(&self, offset: u64, damage: Damage) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            offset,
            damage,
        }
    }
}

/// The log as it grows while records are read.
#[derive(Default)]
struct Replay {
    memory: Memory,
    started: bool,
    /// One more than the highest entry in segments that are gone, and not truncated since.
    unseen_end: u64,
    /// [`Sealed::live_end`] of each segment read.
    live_ends: Vec<u64>,
}

impl Replay {
    fn apply(&mut self, record: Record) -> Result<(), Damage> {
        match record {
            Record::State(state) if !self.started => {
                self.started = true;
                self.unseen_end = state.last.next_index();
                self.memory.state = state;
            }
            Record::State(state) if state == self.memory.state => {}
            Record::State(_) => return Err(Damage::State),
            Record::Entry(entry) => {
                let end = entry.log_id.index + 1;
                self.memory.push(entry)?;
                if let Some(live_end) = self.live_ends.last_mut() {
                    *live_end = end;
                }
            }
            Record::Vote(vote) => self.memory.state.vote = Some(vote),
            Record::Committed(committed) => self.memory.state.committed = committed,
            Record::Purge(upto) => self.memory.purge(upto),
            Record::TruncateAfter(after) => {
                let gone = self.memory.truncate_after(after);
                self.unseen_end = self.unseen_end.min(gone);
                for live_end in &mut self.live_ends {
                    *live_end = gone.min(*live_end);
                }
            }
        }
        Ok(())
    }

    /// Whether entries that are not purged stood in segments that are gone.
    fn lacks_entries(&self) -> bool {
        self.unseen_end > self.memory.state.purged.next_index()
    }
}
