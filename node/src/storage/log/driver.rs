//! The log's two threads, and disks that lose what was not synced by themselves. `simulated` stands for this in a simulated world.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::spares::Spares;
use super::writer::Writer;
use super::{Shared, State};

/// How long the mark of what is committed waits for the next group to ride along with.
const COMPANY: Duration = Duration::from_millis(100);

/// Wakes the writer.
pub(super) type Bell = std::sync::Condvar;

/// Starts the writer, and what makes segments ahead.
pub(super) fn start(shared: &Arc<Shared>, writer: Writer) -> io::Result<Vec<JoinHandle<()>>> {
    let shared = shared.clone();
    let spares = move || shared.spares.run(|full| shared.full.store(full, Ordering::Relaxed));
    Ok(vec![spawn("log-writer", move || run(writer))?, spawn("log-spares", spares)?])
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Writes until the log is closed or fails.
fn run(mut writer: Writer) {
    let shared = writer.shared.clone();
    while writer.turn(wait(&shared)) {}
}

/// Waits until there is something to do. What only the marks say is not worth a wake-up of its own: it waits for company for a while.
fn wait(shared: &Shared) -> MutexGuard<'_, State> {
    let idle = |state: &mut State| state.queue.is_empty() && !state.closed;
    let state = shared.lock();
    let waited = shared.work.wait_timeout_while(state, COMPANY, idle);
    let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
    if waited.timed_out() {
        state.wakes_soon = false;
        let resting = |state: &mut State| idle(state) && !state.committed_changed;
        state = shared.work.wait_while(state, resting).unwrap_or_else(PoisonError::into_inner);
    }
    state.wakes_soon = true;
    state
}

/// Whether segments are to be had: a thread of their own makes them.
pub(super) fn prepares(_: &Spares) -> bool {
    true
}

/// What was written to a file and not synced. The system knows.
#[derive(Debug, Default)]
pub(super) struct Unsynced;

impl Unsynced {
    /// Something is about to be written.
    pub(super) fn writes(&self, _: u64, _: usize, _: impl FnMut(u64, usize) -> io::Result<Vec<u8>>) -> io::Result<()> {
        Ok(())
    }

    /// Syncs it.
    pub(super) fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        sync()
    }

    /// The file is closed.
    pub(super) fn dropped(&self, _: impl FnMut(u64, &[u8])) {}
}
