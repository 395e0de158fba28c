//! What the kernel says about the target, from outside.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// Looks at one process and at one thread of it.
pub(super) struct Watch {
    process: PathBuf,
    thread: i32,
}

/// What the process holds at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Resident memory, in bytes.
    pub(super) resident: u64,
    /// The most that has been resident so far, in bytes.
    pub(super) peak: u64,
    /// Open descriptors.
    pub(super) descriptors: usize,
}

impl Watch {
    pub(super) fn new(process: u32, thread: i32) -> Self {
        Self { process: format!("/proc/{process}").into(), thread }
    }

    /// CPU time of the thread since it started, user and system.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let path = self.process.join(format!("task/{}/schedstat", self.thread));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let nanos = text.split_ascii_whitespace().next().context("an empty schedstat")?;
        Ok(Duration::from_nanos(nanos.parse()?))
    }

    pub(super) fn standing(&self) -> Result<Standing> {
        let status = fs::read_to_string(self.process.join("status")).context("the target")?;
        let descriptors = fs::read_dir(self.process.join("fd")).context("the target")?.count();
        let (resident, peak) = (bytes(&status, "VmRSS:")?, bytes(&status, "VmHWM:")?);
        Ok(Standing { resident, peak, descriptors })
    }
}

/// The number behind `field`, which the kernel writes in KiB.
fn bytes(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.with_context(|| format!("no {field} in a process's status"))?.parse()?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_watched() {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let watch = Watch::new(std::process::id(), thread);
        let standing = watch.standing().expect("the kernel describes us");
        assert!(standing.peak >= standing.resident && standing.resident > 1 << 20);
        assert!(standing.descriptors >= 3);
        watch.cpu().expect("the kernel counts our time");
    }

    #[test]
    fn memory_is_in_kib() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(bytes(status, "VmHWM:").expect("it is there"), 2 << 20);
        assert!(bytes(status, "VmSwap:").is_err());
    }
}
