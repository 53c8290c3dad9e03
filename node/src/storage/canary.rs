//! Whether the disk answers at all: a thread of its own writes and syncs a few bytes again and again, and others look for how long it has waited.
//!
//! Whoever waits for a disk that hangs can say nothing, and a leader may go on to send heartbeats from its memory for as long as that takes.

#[cfg(not(simulated))]
use std::fs::File;
use std::io;
#[cfg(not(simulated))]
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// 250 ms between two attempts: together with [`STALLED`] what it takes to notice, for four syncs of a sector a second.
#[cfg(any(test, not(simulated)))]
const INTERVAL: Duration = Duration::from_millis(250);

/// 1 s without an answer: many times what a sync takes on a disk that is only busy.
const STALLED: Duration = Duration::from_secs(1);

/// The thread, and what it says.
#[derive(Debug)]
pub(super) struct Canary {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Since when an attempt is under way.
    since: Option<Instant>,
    ends: bool,
}

impl Canary {
    /// None in a simulated world, whose disks always answer: a thread has its own clock.
    #[cfg(simulated)]
    pub(super) fn start(_: &Path) -> io::Result<Self> {
        Ok(Self { shared: Arc::default(), thread: None })
    }

    /// In this directory, in a file of its own.
    #[cfg(not(simulated))]
    pub(super) fn start(dir: &Path) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(dir.join("canary"))?;
        let mut count: u64 = 0;
        Self::watch(move || {
            count += 1;
            file.write_all_at(&count.to_le_bytes(), 0)?;
            file.sync_data()
        })
    }

    /// What fails is no stall: whoever needs the disk meets that by himself.
    #[cfg(any(test, not(simulated)))]
    fn watch(mut attempt: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let thread = std::thread::Builder::new().name("disk-canary".to_owned()).spawn(move || {
            loop {
                seen.lock().since = Some(Instant::now());
                if let Err(error) = attempt() {
                    log::debug!("the canary cannot write: {error}");
                }
                let mut state = seen.lock();
                state.since = None;
                let waited = seen.ended.wait_timeout_while(state, INTERVAL, |state| !state.ends);
                if waited.unwrap_or_else(PoisonError::into_inner).0.ends {
                    return;
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// For how long the disk has not answered, if that is so long that it hangs.
    pub(super) fn stalled(&self) -> Option<Duration> {
        hangs(self.shared.lock().since, Instant::now())
    }
}

fn hangs(since: Option<Instant>, now: Instant) -> Option<Duration> {
    since.map(|since| now.duration_since(since)).filter(|waited| *waited >= STALLED)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.ended.notify_all();
        // One that waits for a disk that hangs ends whenever that answers.
        if self.stalled().is_none()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that watches the disk panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_disk_hangs_when_it_has_not_answered_for_long_and_not_while_it_is_only_busy() {
        let now = Instant::now();
        assert_eq!(hangs(None, now), None);
        assert_eq!(hangs(Some(now), now + STALLED - Duration::from_millis(1)), None);
        assert_eq!(hangs(Some(now), now + STALLED), Some(STALLED));
    }

    #[test]
    fn an_attempt_under_way_is_seen_and_one_that_ended_is_not() {
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let canary = Canary::watch(move || {
            let _: Result<_, _> = begun.send(());
            let _: Result<_, _> = ends.recv();
            Ok(())
        });
        let canary = canary.unwrap();
        begins.recv().unwrap();
        assert!(canary.shared.lock().since.is_some());
        end.send(()).unwrap();
        begins.recv().unwrap();
        drop(end);
        drop(canary);
    }

    #[test]
    fn it_writes_a_few_bytes_over_and_over() {
        let dir = tempfile::tempdir().unwrap();
        drop(Canary::start(dir.path()).unwrap());
        drop(Canary::start(dir.path()).unwrap());
        assert_eq!(std::fs::metadata(dir.path().join("canary")).unwrap().len(), 8);
    }
}
