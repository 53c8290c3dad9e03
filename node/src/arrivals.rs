//! Who waits for a revision that this node has not applied yet, in the order in which they come.
//!
//! Thousands may wait for a minute each. Woken by every write, they would cost each write more than all else; so one task looks, while
//! there is anybody, and wakes those whose revision has come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;

use crate::storage::state::Progress;

type Waiting = BTreeMap<(u64, u64), oneshot::Sender<()>>;

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Arrivals {
    list: Arc<List>,
    looking: AbortHandle,
}

#[derive(Debug, Default)]
struct List {
    waiting: Mutex<Waiting>,
    next: AtomicU64,
    somebody: Notify,
}

impl Arrivals {
    /// Looks until it is dropped. Must be called within a tokio runtime.
    pub(crate) fn follow(progress: watch::Receiver<Progress>) -> Self {
        let list = Arc::<List>::default();
        let looking = tokio::spawn(look(list.clone(), progress)).abort_handle();
        Self { list, looking }
    }

    /// Returns once `revision` was applied; never if there is no state any more.
    pub(crate) async fn reached(&self, revision: u64) {
        let (come, hears) = oneshot::channel();
        let place = (revision, self.list.next.fetch_add(1, Ordering::Relaxed));
        self.list.waiting().insert(place, come);
        let _place = Place { of: &self.list, place };
        self.list.somebody.notify_one();
        if hears.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl List {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is left when whoever waits there gives up.
struct Place<'a> {
    of: &'a List,
    place: (u64, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.waiting().remove(&self.place);
    }
}

async fn look(list: Arc<List>, mut progress: watch::Receiver<Progress>) {
    loop {
        let revision = progress.borrow_and_update().revision;
        let nobody = {
            let mut waiting = list.waiting();
            while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= revision) {
                // Whoever waited may have given up just now.
                let _: Result<_, _> = first.remove().send(());
            }
            waiting.is_empty()
        };
        // Who came since then has left a permit.
        tokio::select! {
            () = list.somebody.notified() => {}
            changed = progress.changed(), if !nobody => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_when_the_revision_has_come_and_not_before() {
        let (progress, seen) = watch::channel(Progress::default());
        let arrivals = Arc::new(Arrivals::follow(seen));
        let wait = |revision| {
            let arrivals = arrivals.clone();
            tokio::spawn(async move { arrivals.reached(revision).await })
        };
        wait(0).await.unwrap();
        let (fifth, seventh, last) = (wait(5), wait(7), wait(u64::MAX));
        let moment = Duration::from_millis(1);
        let at = |revision| {
            progress.send_modify(|progress| progress.revision = revision);
            tokio::time::sleep(moment)
        };
        at(4).await;
        assert!(!fifth.is_finished());
        at(6).await;
        assert!(fifth.is_finished() && !seventh.is_finished());
        at(7).await;
        assert!(seventh.is_finished() && !last.is_finished());
        at(u64::MAX).await;
        assert!(last.is_finished());
        assert!(timeout(moment, arrivals.reached(8)).await.is_ok(), "it is there already");
        assert!(arrivals.list.waiting().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_nothing_behind() {
        let (_progress, seen) = watch::channel(Progress::default());
        let arrivals = Arrivals::follow(seen);
        assert!(timeout(Duration::from_secs(1), arrivals.reached(1)).await.is_err());
        assert!(arrivals.list.waiting().is_empty());
    }
}
