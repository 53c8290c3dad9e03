//! What processes use, as Linux's `/proc` says.

use std::fs;
use std::io;
use std::time::Duration;

/// `/proc` counts processor time in hundredths of a second on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Processor time and memory of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time spent in the program.
    pub user: Duration,
    /// Time spent in the kernel for it.
    pub system: Duration,
    /// Resident memory now, in bytes.
    pub resident: u64,
}

impl Usage {
    /// Processor time, all of it.
    pub fn processor(&self) -> Duration {
        self.user + self.system
    }

    /// What was used since an earlier look; the memory is the later one's.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            resident: self.resident,
        }
    }
}

/// Of these processes.
///
/// # Errors
/// When one is gone.
pub fn of(pids: &[u32]) -> io::Result<Vec<Usage>> {
    pids.iter().map(|pid| read(&pid.to_string())).collect()
}

/// Of this process.
///
/// # Errors
/// When there is no `/proc`.
pub fn own() -> io::Result<Usage> {
    read("self")
}

fn read(process: &str) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let odd = || io::Error::other(format!("/proc/{process} reads unlike Linux's"));
    let (user, system) = ticks(&stat).ok_or_else(odd)?;
    // A zombie has no memory line.
    let resident = resident_kib(&status).unwrap_or(0) * 1024;
    Ok(Usage { user: TICK * user, system: TICK * system, resident })
}

/// Fields 14 and 15; the name, field 2, may contain spaces and brackets.
fn ticks(stat: &str) -> Option<(u32, u32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn resident_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_odd_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 321 45 0 0 20 0 9 0 1000 1 2";
        assert_eq!(ticks(stat), Some((321, 45)));
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   1234 kB\n"), Some(1234));
        assert!(own().unwrap().resident > 0);
    }
}
