//! What is wrong with a disk at the moment, and how often anybody met it.

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
}

/// The state of it, which calls wait for and people switch.
#[derive(Debug, Default)]
pub(super) struct Switch {
    state: Mutex<(Trouble, Met)>,
    changed: Condvar,
}

impl Switch {
    fn lock(&self) -> MutexGuard<'_, (Trouble, Met)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.lock().0);
        self.changed.notify_all();
    }

    pub(super) fn met(&self) -> Met {
        self.lock().1
    }

    pub(super) fn note_full(&self) {
        self.lock().1.full += 1;
    }

    /// Whether a call of this kind would have to wait now.
    pub(super) fn holds_up(&self, kind: Kind) -> bool {
        let trouble = self.lock().0;
        trouble.stalled || (kind == Kind::Sync && !trouble.slow.is_zero())
    }

    /// Waits as long as a call of this kind has to.
    pub(super) fn wait(&self, kind: Kind) {
        let mut state = self.lock();
        if state.0.stalled {
            state.1.stalled += 1;
        }
        while state.0.stalled {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let slow = state.0.slow;
        if kind == Kind::Sync && !slow.is_zero() {
            state.1.slowed += 1;
            drop(state);
            std::thread::sleep(slow);
        }
    }

    /// Whether a read or a write fails.
    pub(super) fn check(&self, kind: Kind) -> Result<(), Errno> {
        let (trouble, met) = &mut *self.lock();
        let fails = match kind {
            Kind::Read => trouble.reads_fail,
            Kind::Write => trouble.writes_fail,
            Kind::Sync | Kind::Name => false,
        };
        met.failed += u64::from(fails);
        if fails { Err(Errno::EIO) } else { Ok(()) }
    }

    /// What becomes of a sync; of a file whose path has this in it?
    pub(super) fn sync(&self, has: impl FnOnce(&str) -> bool) -> Sync {
        let (trouble, met) = &mut *self.lock();
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
