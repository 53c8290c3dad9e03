//! What is wrong with a disk at the moment, and how often anybody met it.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::Errno;

/// What is wrong. The default: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Nothing that touches the disk is answered before this is over.
    pub stalled: bool,
    /// A sync takes so much longer.
    pub slow: Duration,
    /// The next sync of a file with this in its path fails, and what it was to sync is gone.
    pub sync_fails_once: Option<&'static str>,
    /// Reads fail with EIO.
    pub reads_fail: bool,
    /// Writes fail with EIO.
    pub writes_fail: bool,
    /// Syncs are answered as if they had been done: a control, no fault.
    pub lies: bool,
    /// The machine's power fails at a sync. `None` again: whatever waits since then is answered with EIO and not done, so that its process,
    /// which must have been killed, can end.
    pub dies: Option<Death>,
}

/// When the power fails: nothing that touches the disk is done or answered from that sync on, until what was not synced is lost
/// ([`power_off`](super::Disk::power_off)), or kept ([`go_on`](super::Disk::go_on)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// At the so-manieth sync from now on; 1 is the next one.
    pub sync: u64,
    /// What that one was to sync is on the disk, though nobody is told.
    pub done: bool,
    /// Syncs of files with this in their path are not counted.
    pub but: Option<&'static str>,
}

/// At which sync it died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Died {
    /// When.
    pub death: Death,
    /// What was synced, a file or a folder.
    pub path: PathBuf,
}

/// How often anybody met it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Calls that had to wait for the end of a stall.
    pub stalled: u64,
    /// Syncs that took longer.
    pub slowed: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Reads and writes that failed.
    pub failed: u64,
    /// Writes for which there was no room.
    pub full: u64,
    /// Syncs that were not done.
    pub lies: u64,
}

/// What kind of call it is, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Sync,
    Name,
}

/// What is to become of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    Done,
    Failed,
    Lied,
    /// Done or not, and nobody is told.
    Died {
        done: bool,
    },
}

/// The state of it, which calls wait for and people switch.
#[derive(Debug, Default)]
pub(super) struct Switch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    trouble: Trouble,
    met: Met,
    /// Syncs since a death was set.
    syncs: u64,
    died: Option<Died>,
}

impl Switch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Trouble)) {
        let mut state = self.lock();
        let before = state.trouble.dies;
        change(&mut state.trouble);
        if state.trouble.dies != before {
            state.syncs = 0;
        }
        self.changed.notify_all();
    }

    pub(super) fn met(&self) -> Met {
        self.lock().met
    }

    pub(super) fn died(&self) -> Option<Died> {
        self.lock().died.clone()
    }

    /// There is power again.
    pub(super) fn revive(&self) {
        let mut state = self.lock();
        (state.died, state.trouble.dies) = (None, None);
    }

    pub(super) fn note_full(&self) {
        self.lock().met.full += 1;
    }

    /// Whether a call of this kind may have to wait now.
    pub(super) fn holds_up(&self, kind: Kind) -> bool {
        let State { trouble, died, .. } = &*self.lock();
        let sync = !trouble.slow.is_zero() || trouble.dies.is_some();
        trouble.stalled || died.is_some() || (kind == Kind::Sync && sync)
    }

    /// Waits as long as a call of this kind has to, and says whether it is to be done then.
    pub(super) fn wait(&self, kind: Kind) -> bool {
        let mut state = self.lock();
        if state.trouble.stalled {
            state.met.stalled += 1;
        }
        while state.trouble.stalled || (state.died.is_some() && state.trouble.dies.is_some()) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.died.is_some() {
            return false;
        }
        let slow = state.trouble.slow;
        if kind == Kind::Sync && !slow.is_zero() {
            state.met.slowed += 1;
            drop(state);
            std::thread::sleep(slow);
        }
        true
    }

    /// Whether a read or a write fails.
    pub(super) fn check(&self, kind: Kind) -> Result<(), Errno> {
        let State { trouble, met, .. } = &mut *self.lock();
        let fails = match kind {
            Kind::Read => trouble.reads_fail,
            Kind::Write => trouble.writes_fail,
            Kind::Sync | Kind::Name => false,
        };
        met.failed += u64::from(fails);
        if fails { Err(Errno::EIO) } else { Ok(()) }
    }

    /// What becomes of a sync of what has this path, and, if it is a file, one with this in it?
    pub(super) fn sync(&self, path: impl FnOnce() -> PathBuf, has: impl Fn(&str) -> bool) -> Sync {
        let State { trouble, met, syncs, died } = &mut *self.lock();
        if died.is_some() {
            return Sync::Died { done: false };
        }
        if let Some(death) = trouble.dies
            && !death.but.is_some_and(&has)
        {
            *syncs += 1;
            if *syncs == death.sync {
                *died = Some(Died { death, path: path() });
                return Sync::Died { done: death.done };
            }
        }
        if trouble.sync_fails_once.is_some_and(has) {
            trouble.sync_fails_once = None;
            met.failed_syncs += 1;
            Sync::Failed
        } else if trouble.lies {
            met.lies += 1;
            Sync::Lied
        } else {
            Sync::Done
        }
    }
}
