//! Segment files: names, creation, appending, syncing. Knows nothing of what records mean.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::format::{Group, HEAD_BYTES, Head, SEAL};
use super::state::State;

/// Slices handed to one `writev` at most: `IOV_MAX` of Linux.
const SLICES_AT_ONCE: usize = 1024;

/// Zeros are written in pieces of this.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Path of segment `number`: twenty digits, so that names sort as numbers.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.seg"))
}

/// The numbers of all segments in `dir`, ascending. Unfinished segments are deleted on the way.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, LogError> {
    let mut numbers = Vec::new();
    for item in fs::read_dir(dir).map_err(LogError::io("listing", dir))? {
        let path = item.map_err(LogError::io("listing", dir))?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("seg") => numbers.extend(number.filter(|&number| path == path_of(dir, number))),
            Some("tmp") if number.is_some() => remove(&path)?,
            _ => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Deletes a segment; [`sync_dir`] makes it durable.
pub(super) fn remove(path: &Path) -> Result<(), LogError> {
    fs::remove_file(path).map_err(LogError::io("deleting", path))
}

/// Makes creations, renames and deletions in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(LogError::io("syncing", dir))
}

/// A segment that is open for writing.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    number: u64,
    salt: u32,
    len: u64,
    durable: u64,
    /// Length of the file: behind `len` it is zeros.
    allocated: u64,
    ahead: u64,
}

impl Segment {
    /// Creates segment `number` with the state it begins with. It is durable under its name, with
    /// head and state, when this returns: a segment that exists has always been complete once.
    pub(super) fn create(
        dir: &Path,
        number: u64,
        previous_end: u64,
        state: &State,
        group: &mut Group,
    ) -> Result<Self, LogError> {
        let path = path_of(dir, number);
        let unfinished = path.with_extension("tmp");
        let file = File::create(&unfinished).map_err(LogError::io("creating", &unfinished))?;
        // Two random words a process, hashed with a counter: not secret, but not to be guessed.
        let salt = RandomState::new().hash_one(number) as u32;
        let mut segment = Self {
            file,
            path,
            number,
            salt,
            len: 0,
            durable: 0,
            allocated: 0,
            ahead: 0,
        };
        let head = Head {
            number,
            previous_end,
            salt,
        }
        .to_bytes();
        segment
            .file
            .write_all(&head)
            .map_err(LogError::io("writing", &unfinished))?;
        segment.len = HEAD_BYTES as u64;
        segment.begin(group);
        group.state(state);
        segment.append(group, 0)?;
        segment.sync()?;
        fs::rename(&unfinished, &segment.path).map_err(LogError::io("renaming", &unfinished))?;
        sync_dir(dir)?;
        Ok(segment)
    }

    /// Opens an existing segment of which `len` bytes are good, drops the rest, and makes sure that
    /// everything is on disk.
    ///
    /// What stands behind `durable` may be in the page cache only, and marked clean there after a
    /// sync that failed: it is written once more, so that this sync really is one.
    pub(super) fn reopen(
        path: PathBuf,
        head: &Head,
        content: &[u8],
        durable: u64,
    ) -> Result<Self, LogError> {
        let opened = OpenOptions::new().write(true).open(&path);
        let mut file = opened.map_err(LogError::io("opening", &path))?;
        let len = content.len() as u64;
        let doubtful = durable.min(len);
        let written = file
            .set_len(len)
            .and_then(|()| file.seek(SeekFrom::Start(doubtful)))
            .and_then(|_| file.write_all(&content[doubtful as usize..]));
        written.map_err(LogError::io("writing", &path))?;
        let mut segment = Self {
            file,
            path,
            number: head.number,
            salt: head.salt,
            len,
            durable: 0,
            allocated: len,
            ahead: 0,
        };
        segment.sync()?;
        Ok(segment)
    }

    /// From now on zeros are written ahead of what is appended, so many bytes at a time. A sync then finds length and blocks
    /// of the file as they were and writes nothing but data, about half of its work.
    pub(super) fn write_ahead(&mut self, bytes: u64) {
        self.ahead = bytes;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes written, synced or not.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether something written is not synced yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.durable < self.len
    }

    /// Starts the group that comes next here.
    pub(super) fn begin(&self, group: &mut Group) {
        group.begin(self.salt, self.len, self.durable);
    }

    /// Completes `group`, which was begun here last, and writes it.
    pub(super) fn append(&mut self, group: &mut Group, flags: u32) -> Result<(), LogError> {
        group.finish(flags);
        let written = write_all_vectored(&mut self.file, &mut group.slices());
        written.map_err(LogError::io("writing", &self.path))?;
        self.len += group.len();
        if self.allocated < self.len {
            let zeros = self.fill(self.len + self.ahead);
            zeros.map_err(LogError::io("writing", &self.path))?;
        }
        Ok(())
    }

    fn fill(&mut self, end: u64) -> io::Result<()> {
        self.allocated = self.len;
        while self.allocated < end {
            let piece = (end - self.allocated).min(ZEROS.len() as u64);
            self.file
                .write_all_at(&ZEROS[..piece as usize], self.allocated)?;
            self.allocated += piece;
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.file
            .sync_data()
            .map_err(LogError::io("syncing", &self.path))?;
        self.durable = self.len;
        Ok(())
    }

    /// Says, durably, that the next segment exists. Nothing can be appended any more.
    pub(super) fn seal(mut self, group: &mut Group) -> Result<(), LogError> {
        self.begin(group);
        self.append(group, SEAL)?;
        let cut = self.file.set_len(self.len);
        cut.map_err(LogError::io("cutting", &self.path))?;
        self.sync()
    }
}

fn write_all_vectored(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        let now = slices.len().min(SLICES_AT_ONCE);
        match file.write_vectored(&slices[..now]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
