//! The file that the chain is written to: taken up where it ends, and followed by another when it is
//! full.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use blake3::Hash;

use super::line::{GENESIS, Parsed, Record, START, WINDOW};

/// An audit log that is open for writing, by this process alone.
///
/// A full file is renamed to its own name with the next number, `audit.jsonl.1`, `audit.jsonl.2` and
/// so on, and never removed: whoever can cause many lines could otherwise push out the first ones.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    max_size: u64,
    file: File,
    /// How long the file is up to the end of its last line.
    len: u64,
    /// Whether there may be part of a line behind that.
    torn: bool,
    last: Hash,
    /// The cut that was found when the file was opened, until it has been marked.
    cut: Option<Cut>,
    rotated: u64,
}

/// What a crash has left behind the last whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    bytes: u64,
    remnant: Hash,
    /// Whether the file ends within a line.
    within_line: bool,
}

impl Log {
    /// Opens or creates a log; one that is there is gone on with. Nothing is written yet.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, is no regular file, is in use by another process, or is not an
    /// audit log.
    pub fn open(path: &Path, max_size: u64) -> io::Result<Self> {
        let mut file = create(path)?;
        let rotated = newest_rotated(path)?;
        let tail = Tail::read(&mut file)?;
        let found = match tail.resume() {
            Some(found) => found,
            None if tail.may_be_ours() => {
                let before = match rotated {
                    0 => GENESIS,
                    number => last_of(&numbered(path, number))?,
                };
                tail.cut_after(0, before)
            }
            None => return Err(foreign(path)),
        };
        let (last, cut) = found;
        Ok(Self {
            path: path.to_owned(),
            max_size,
            len: tail.file_len,
            torn: false,
            file,
            last,
            cut,
            rotated,
        })
    }

    /// Writes a line. After an error the file is as before, and so is the chain.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn append(&mut self, unix_ms: u64, record: Record) -> io::Result<()> {
        if let Some(Cut { bytes, remnant, within_line }) = self.cut {
            let gap = if within_line { "\n" } else { "" };
            let line = Record::Cut { bytes, remnant }.to_line(unix_ms, self.last);
            self.write(gap, &line)?;
            self.cut = None;
        }
        let line = record.to_line(unix_ms, self.last);
        if self.len > 0 && self.len + line.len() as u64 >= self.max_size {
            self.rotate()?;
        }
        self.write("", &line)
    }

    /// Has the disk take what was written.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&mut self, gap: &str, line: &str) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        let text = format!("{gap}{line}\n");
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            self.torn = self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.len += text.len() as u64;
        self.last = blake3::hash(line.as_bytes());
        Ok(())
    }

    /// Puts the full file aside and begins another.
    fn rotate(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        let number = self.rotated + 1;
        match fs::rename(&self.path, numbered(&self.path, number)) {
            Ok(()) => self.rotated = number,
            // We have been here before and could not begin another file, or somebody took this one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = create(&self.path)?;
        (self.file, self.len) = (file, 0);
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads, or a terminal, must not hold us up.
    let regular = fs::metadata(path).map_or(true, |found| found.is_file());
    if !regular {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process writes it"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn foreign(path: &Path) -> io::Error {
    let message = format!("{} does not end as an audit log does", path.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The name of a file that is full.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// The highest number of a file that was put aside, or 0.
fn newest_rotated(path: &Path) -> io::Result<u64> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut newest = 0;
    for entry in fs::read_dir(directory)? {
        let found = entry?.file_name();
        let number = found.to_string_lossy().strip_prefix(&*name).and_then(|rest| {
            let digits = rest.strip_prefix('.')?;
            digits.parse().ok()
        });
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}

/// The hash of a full file's last line.
fn last_of(path: &Path) -> io::Result<Hash> {
    let tail = Tail::read(&mut File::open(path)?)?;
    tail.resume().map(|(last, _)| last).ok_or_else(|| foreign(path))
}

/// The last bytes of a file.
struct Tail {
    bytes: Vec<u8>,
    file_len: u64,
}

impl Tail {
    const LEN: u64 = WINDOW as u64;

    fn read(file: &mut File) -> io::Result<Self> {
        let file_len = file.metadata()?.len();
        file.seek(SeekFrom::Start(file_len.saturating_sub(Self::LEN)))?;
        let mut bytes = Vec::new();
        file.take(Self::LEN).read_to_end(&mut bytes)?;
        Ok(Self { bytes, file_len })
    }

    /// The hash of the last whole line and what was cut behind it, if there is a whole line.
    fn resume(&self) -> Option<(Hash, Option<Cut>)> {
        let mut at = 0;
        if self.file_len > self.bytes.len() as u64 {
            // The tail begins within a line.
            at = self.bytes.iter().position(|byte| *byte == b'\n')? + 1;
        }
        let mut whole = None;
        for line in self.bytes[at..].split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if Parsed::new(text).is_some() {
                whole = Some((at, blake3::hash(text)));
            }
        }
        let (end, last) = whole?;
        Some(self.cut_after(end, last))
    }

    /// What stands behind `end`, where the line with the hash `last` ends.
    fn cut_after(&self, end: usize, last: Hash) -> (Hash, Option<Cut>) {
        let remnant = &self.bytes[end..];
        let within_line = self.bytes.last().is_some_and(|byte| *byte != b'\n');
        if remnant.is_empty() && !within_line {
            return (last, None);
        }
        // The mark begins a new line, so what it marks ends with a line's end.
        let mut marked = remnant.to_vec();
        if within_line && !remnant.is_empty() {
            marked.push(b'\n');
        }
        let (bytes, remnant) = (marked.len() as u64, blake3::hash(&marked));
        (last, Some(Cut { bytes, remnant, within_line }))
    }

    /// Whether a file without a whole line can be the start of one of ours.
    fn may_be_ours(&self) -> bool {
        let whole_file = self.file_len == self.bytes.len() as u64;
        let start = &self.bytes[..self.bytes.len().min(START.len())];
        whole_file && START.starts_with(start)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use ringseal::{Event, Policy};
    use tempfile::TempDir;

    use super::*;
    use crate::audit::{Broken, Chain, verify};

    const RELOADED: Record = Record::Bus(Event::Reloaded { policy: Policy::Soft });

    fn directory() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("audit.jsonl");
        (directory, file)
    }

    fn open(path: &Path) -> Log {
        Log::open(path, 1 << 30).expect("a log")
    }

    fn check(bytes: &[u8]) -> Result<Chain, Broken> {
        let mut chain = Chain::default();
        verify(BufReader::new(bytes), &mut chain).expect("readable").map(|()| chain)
    }

    fn written(path: &Path, lines: u64) -> Vec<u8> {
        let mut log = open(path);
        for count in 0..lines {
            log.append(count, Record::Missed(count)).expect("written");
        }
        fs::read(path).expect("readable")
    }

    #[test]
    fn a_log_cut_at_any_byte_goes_on_and_the_cut_is_marked() {
        let (_directory, path) = directory();
        let whole = written(&path, 3);
        for len in 0..=whole.len() {
            fs::write(&path, &whole[..len]).expect("ours");
            open(&path).append(9, RELOADED).expect("written");
            let bytes = fs::read(&path).expect("readable");
            assert!(bytes.starts_with(&whole[..len]), "nothing that was there is gone");
            let chain = check(&bytes).unwrap_or_else(|broken| panic!("cut at {len}: {broken}"));
            let at_an_end = len == 0 || whole[len - 1] == b'\n';
            assert_eq!(chain.cuts(), u64::from(!at_an_end), "cut at {len}");
        }
    }

    #[test]
    fn a_crash_while_a_cut_is_marked_is_one_more_cut() {
        let (_directory, path) = directory();
        let whole = written(&path, 1);
        fs::write(&path, &whole[..whole.len() - 20]).expect("ours");
        open(&path).append(9, RELOADED).expect("written");
        let marked = fs::read(&path).expect("readable");
        for len in whole.len() - 20..=marked.len() {
            fs::write(&path, &marked[..len]).expect("ours");
            let mut log = open(&path);
            log.append(10, RELOADED).expect("written");
            log.append(11, RELOADED).expect("written");
            drop(log);
            let chain = check(&fs::read(&path).expect("readable"));
            let chain = chain.unwrap_or_else(|broken| panic!("cut at {len}: {broken}"));
            assert!((1..=2).contains(&chain.cuts()), "cut at {len}: {}", chain.cuts());
        }
    }

    #[test]
    fn every_altered_or_removed_line_shows() {
        let (_directory, path) = directory();
        let whole = written(&path, 4);
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        // What comes last can be seen only against a copy of its hash.
        let guarded = whole.len() - lines[3].len();
        for at in 0..guarded {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            let line = whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            let found = match check(&altered).expect_err("a byte has changed") {
                Broken::NoLine { line } | Broken::NoSuccessor { line } => line,
                other => panic!("byte {at}: {other}"),
            };
            assert!((line..=line + 1).contains(&found), "byte {at} of line {line}: {found}");
        }
        for gone in 1..3 {
            let rest = [&lines[..gone], &lines[gone + 1..]].concat().concat();
            let line = gone as u64 + 1;
            assert_eq!(check(&rest).expect_err("removed"), Broken::NoSuccessor { line });
        }
        let cut = &whole[..whole.len() - 1];
        assert_eq!(check(cut).expect_err("cut"), Broken::CutOff { line: 4 });
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_chain_goes_on() {
        let (_directory, path) = directory();
        let mut log = Log::open(&path, 4096).expect("a log");
        for count in 0..100 {
            log.append(count, Record::Missed(count)).expect("written");
        }
        drop(log);
        let newest = newest_rotated(&path).expect("readable");
        assert!(newest >= 3, "{newest}");
        let mut chain = Chain::default();
        let names = (1..=newest).map(|number| numbered(&path, number)).chain([path.clone()]);
        for name in names {
            let bytes = fs::read(&name).expect("readable");
            assert!(bytes.len() <= 4096, "{}", bytes.len());
            verify(BufReader::new(&*bytes), &mut chain).expect("readable").expect("whole");
        }
        assert!(chain.to_string().contains("begins the log"), "{chain}");
        assert_eq!(chain.lines(), 100);

        // The current file is gone, as after a crash right behind the renaming.
        fs::rename(&path, numbered(&path, newest + 1)).expect("ours");
        let mut log = open(&path);
        log.append(101, RELOADED).expect("written");
        verify(BufReader::new(File::open(&path).expect("there")), &mut chain)
            .expect("readable")
            .expect("it goes on");
        assert_eq!(chain.lines(), 101);
    }

    #[test]
    fn a_log_has_one_writer_and_other_files_are_left_alone() {
        let (directory, path) = directory();
        let first = open(&path);
        let error = Log::open(&path, 4096).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        let other = directory.path().join("node.toml");
        fs::write(&other, "[cluster]\n").expect("ours");
        let error = Log::open(&other, 4096).expect_err("not a log");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read_to_string(&other).expect("readable"), "[cluster]\n");
        let error = Log::open(Path::new("/dev/full"), 4096).expect_err("a device");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
