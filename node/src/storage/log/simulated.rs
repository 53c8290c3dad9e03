//! The log in a simulated world: its writer is a task, since threads would bring chance of their own, and its disk takes its time and loses with the
//! power what was not synced. Segments are made when they are needed, and a full disk is not seen.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use muster_cluster::world;
use muster_cluster::world::disk::{self, Journal};

use super::Shared;
use super::spares::Spares;
use super::writer::Writer;

/// A write and its sync take less than so many milliseconds: a slow disk, so that much may happen meanwhile.
const SLOWEST_SYNC: u64 = 8;

/// Wakes the writer.
#[derive(Default)]
pub(super) struct Bell {
    task: tokio::sync::Notify,
    /// The writer itself where there are no tasks, as in a command for a stopped node: who rings has it done.
    at_once: Mutex<Option<Writer>>,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

impl Bell {
    fn at_once(&self) -> MutexGuard<'_, Option<Writer>> {
        self.at_once.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes it.
    pub(super) fn notify_one(&self) {
        let mut at_once = self.at_once();
        let Some(writer) = at_once.as_mut() else { return self.task.notify_one() };
        let shared = writer.shared.clone();
        let state = shared.lock();
        let closed = state.closed;
        writer.turn(state);
        // It holds what the bell hangs on.
        let ended = if closed { at_once.take() } else { None };
        drop(at_once);
        drop(ended);
    }
}

/// Starts the writer; there is no thread to wait for.
pub(super) fn start(shared: &Arc<Shared>, writer: Writer) -> io::Result<Vec<JoinHandle<()>>> {
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::spawn(run(writer));
    } else {
        shared.work.at_once().replace(writer);
    }
    Ok(Vec::new())
}

/// Writes until the log is closed or fails.
async fn run(mut writer: Writer) {
    let shared = writer.shared.clone();
    loop {
        shared.work.task.notified().await;
        tokio::time::sleep(Duration::from_millis(world::random() % SLOWEST_SYNC)).await;
        let state = shared.lock();
        let idle = state.queue.is_empty() && !state.committed_changed && !state.closed;
        if !idle && !writer.turn(state) {
            return;
        }
    }
}

/// A power cut finds the writer at work: what waits is written as far as it comes, and not synced.
impl Drop for Writer {
    fn drop(&mut self) {
        if disk::is_lost() {
            let shared = self.shared.clone();
            let state = shared.lock();
            self.turn(state);
        }
    }
}

/// Whether segments are to be had: one is made if there is none, unless the power is gone, or fails over it.
pub(super) fn prepares(spares: &Spares) -> bool {
    if !disk::is_lost() {
        spares.refill();
    }
    !disk::is_lost()
}

/// What was written to a file and not synced.
#[derive(Debug, Default)]
pub(super) struct Unsynced(Mutex<Journal>);

impl Unsynced {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is about to be written.
    pub(super) fn writes(
        &self,
        offset: u64,
        length: usize,
        read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        self.journal().writes(offset, length, read)
    }

    /// All of it is on the disk from now on. The file itself needs no sync: nothing but the power of this world fails.
    pub(super) fn sync(&self, _: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.journal().synced()
    }

    /// The file is closed: by a power cut, if the power is gone.
    pub(super) fn dropped(&self, write: impl FnMut(u64, &[u8])) {
        if disk::is_lost() {
            self.journal().fails(write);
        }
    }
}
