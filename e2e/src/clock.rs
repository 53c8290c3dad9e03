//! The time of day as one process sees it: Debian's `libfaketime`, preloaded, reads from a file by how much the clock is wrong.
//!
//! ```text
//! Clock::set ──> file ──> libfaketime in the process ──> clock_gettime(CLOCK_REALTIME), and nothing else
//! ```
//!
//! The library can let a clock run faster as well. That is not used, because it then shortens and stretches every sleep and every wait for a
//! socket of the process, monotonic or not: a clock that drifts is one that is set anew many times a second.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::Http;
use crate::node::Node;
use crate::process::Process;

/// The one that serialises its threads: nodes have many. Debian keeps it in a folder named after the machine's kind.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// By how much a clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// It is ahead.
    Ahead(Duration),
    /// It is behind.
    Behind(Duration),
}

impl Shift {
    /// A clock that is right.
    pub const NONE: Self = Self::Ahead(Duration::ZERO);

    /// The time that such a clock tells at this one. None is told before 1970.
    fn told_at(self, at: SystemTime) -> SystemTime {
        let told = match self {
            Self::Ahead(by) => at.checked_add(by),
            Self::Behind(by) => at.checked_sub(by),
        };
        told.unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH)
    }

    /// How far it is from the truth.
    pub fn size(self) -> Duration {
        match self {
            Self::Ahead(by) | Self::Behind(by) => by,
        }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, way) = match self {
            Self::Ahead(by) => (by.as_secs_f64(), "ahead"),
            Self::Behind(by) => (by.as_secs_f64(), "behind"),
        };
        match seconds {
            ..120.0 => write!(f, "{seconds:.1} s {way}"),
            120.0..172_800.0 => write!(f, "{:.1} h {way}", seconds / 3_600.0),
            172_800.0..63_072_000.0 => write!(f, "{:.1} days {way}", seconds / 86_400.0),
            _ => write!(f, "{:.1} years {way}", seconds / (365.0 * 86_400.0)),
        }
    }
}

/// A process's clock. It is right until it is set.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// The library.
    ///
    /// # Errors
    /// When this machine has none.
    pub fn library() -> Result<PathBuf, String> {
        let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut found = folders.map(|folder| folder.path().join(LIBRARY)).filter(|path| path.is_file());
        found.next().ok_or_else(|| "there is no libfaketime (Debian's package faketime)".to_owned())
    }

    /// A clock that is right, with this file of its own.
    ///
    /// # Errors
    /// When there is no library.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn new(file: &Path) -> Result<Self, String> {
        let clock = Self { library: Self::library()?, file: file.to_owned() };
        clock.set(Shift::NONE);
        Ok(clock)
    }

    /// Sets it; who reads it next reads that.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, shift: Shift) {
        let text = match shift {
            Shift::Ahead(by) => format!("+{:.6}\n", by.as_secs_f64()),
            Shift::Behind(by) => format!("-{:.6}\n", by.as_secs_f64()),
        };
        // Never half a number.
        let next = self.file.with_extension("next");
        std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, &self.file)).expect("write a clock's file");
    }

    /// From its next start on a process goes by it.
    pub fn given_to(&self, process: Process) -> Process {
        let path = |path: &Path| path.display().to_string();
        process
            .with_env("LD_PRELOAD", path(&self.library))
            .with_env("FAKETIME_TIMESTAMP_FILE", path(&self.file))
            .with_env("FAKETIME_NO_CACHE", "1")
            .with_env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with_env("NO_FAKE_STAT", "1")
            // For children to share, and left behind by whoever is killed.
            .leaving("/dev/shm/sem.faketime_sem_{}")
            .leaving("/dev/shm/faketime_shm_{}")
    }

    /// Whether a process that runs has the library in it: one that is linked statically has not.
    pub fn is_in(&self, process: &Process) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid()));
        maps.is_ok_and(|maps| maps.contains(LIBRARY))
    }
}

/// What a node tells of its clock: the `Date` of an answer. Whole seconds, cut off, and up to half a second old.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    date: SystemTime,
    asked: SystemTime,
    answered: SystemTime,
}

/// 1.5 s for what a `Date` is behind for being cut off and kept for half a second.
const COARSE: Duration = Duration::from_millis(1_500);

/// Asks a node for its time of day; `None` when it does not answer.
pub async fn ask(http: &Http, node: &Node) -> Option<Told> {
    let asked = SystemTime::now();
    let answer = http.get(node.url("/livez")).within(Duration::from_secs(1)).send().await.ok()?;
    let date = httpdate::parse_http_date(answer.header("date")?).ok()?;
    Some(Told { date, asked, answered: SystemTime::now() })
}

impl Told {
    /// Whether a clock that is wrong by that much may have told this.
    pub fn may_be(&self, shift: Shift) -> bool {
        let earliest = shift.told_at(self.asked).checked_sub(COARSE).unwrap_or(SystemTime::UNIX_EPOCH);
        (earliest..=shift.told_at(self.answered)).contains(&self.date)
    }

    /// Whether a clock that is right cannot have told this.
    pub fn is_wrong(&self) -> bool {
        !self.may_be(Shift::NONE)
    }

    /// How wrong it is, for people.
    pub fn shift(&self) -> Shift {
        match self.date.duration_since(self.answered) {
            Ok(ahead) => Shift::Ahead(ahead),
            Err(behind) => Shift::Behind(behind.duration()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_tells_what_a_clock_may_be_and_what_it_cannot() {
        let second = Duration::from_secs(1);
        let now = SystemTime::UNIX_EPOCH + second * 1_800_000_000;
        let told = |date| Told { date, asked: now, answered: now + second / 10 };
        assert!(!told(now - second).is_wrong(), "cut off and kept");
        assert!(told(now + second).is_wrong() && told(now - second * 2).is_wrong());
        assert!(told(now + second * 5).may_be(Shift::Ahead(second * 6)));
        assert!(!told(now + second * 5).may_be(Shift::Ahead(second * 4)), "no clock runs ahead of itself");
        assert!(told(now - second * 7).may_be(Shift::Behind(second * 6)));
        assert!(told(SystemTime::UNIX_EPOCH).may_be(Shift::Behind(second * 2_000_000_000)), "nothing is before 1970");
    }

    #[test]
    fn shifts_are_told_in_words() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let (short, long) = (Shift::Ahead(Duration::from_millis(2_500)), Shift::Behind(days(365 * 7)));
        let told = [short, long, Shift::Behind(days(400)), Shift::Ahead(days(1))].map(|shift| shift.to_string());
        assert_eq!(told, ["2.5 s ahead", "7.0 years behind", "400.0 days behind", "24.0 h ahead"]);
    }
}
