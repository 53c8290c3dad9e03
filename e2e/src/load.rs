//! Writers in the background that record what became of each write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_client::Client;
use tokio::task::JoinHandle;

use crate::history::{Fate, History, Written};
use crate::http::Http;

/// 2 ms between two writes of a writer: enough to have writes in flight at any moment, few enough to check them all.
const PACE: Duration = Duration::from_millis(2);
/// A second beyond what the node was given: one that is paused or cut off must not hold a writer for longer.
const LATE: Duration = Duration::from_secs(1);

/// Writers that run until they are stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acked: AtomicU64,
    history: Mutex<History>,
}

impl Shared {
    fn record(&self, write: Written) {
        if matches!(write.fate, Fate::Acked(_)) {
            self.acked.fetch_add(1, Ordering::Relaxed);
        }
        self.history.lock().unwrap_or_else(PoisonError::into_inner).writes.push(write);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Load {
    /// Writers of plain HTTP without retries, each sending to the endpoints in turn. Keys are `<prefix>/<writer>/<n>`.
    pub fn plain(http: &Http, endpoints: &[String], prefix: &str, writers: usize) -> Self {
        Self::plain_within(http, endpoints, prefix, writers, Duration::from_secs(2))
    }

    /// The same, with nodes that are given so long for each write: where it matters that all succeed, and not how fast.
    pub fn plain_within(http: &Http, endpoints: &[String], prefix: &str, writers: usize, timeout: Duration) -> Self {
        let (told, give_up) = (format!("{}ms", timeout.as_millis()), timeout + LATE);
        let shared = Arc::new(Shared::default());
        let start = |writer: usize| {
            let (shared, http, endpoints) = (Arc::clone(&shared), http.clone(), endpoints.to_vec());
            let told = told.clone();
            let prefix = format!("{prefix}/{writer}");
            tokio::spawn(async move {
                let mut n = 0_usize;
                while !shared.stopped() {
                    let (key, value) = (format!("{prefix}/{n}"), format!("{writer}-{n}"));
                    let via = endpoints[(writer + n) % endpoints.len()].clone();
                    let started = Instant::now();
                    let call =
                        http.put(format!("{via}/kv/{key}"), value.clone()).query("timeout", &told).within(give_up);
                    let fate = Fate::of(&call.send().await);
                    shared.record(Written { key, value, via, started, ended: Instant::now(), fate });
                    n += 1;
                    tokio::time::sleep(PACE).await;
                }
            })
        };
        let writers = (0..writers).map(start).collect();
        Self { shared, writers }
    }

    /// Writers that use the client library, as a program would.
    pub fn client(client: &Client, prefix: &str, writers: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |writer: usize| {
            let (shared, client, prefix) = (Arc::clone(&shared), client.clone(), format!("{prefix}/{writer}"));
            tokio::spawn(async move {
                let mut n = 0_usize;
                while !shared.stopped() {
                    let (key, value) = (format!("{prefix}/{n}"), format!("{writer}-{n}"));
                    let started = Instant::now();
                    let result = client.put(key.clone(), value.clone()).await;
                    let fate = Fate::of_client(result.as_ref().map(|done| done.revision));
                    let via = "client".to_owned();
                    shared.record(Written { key, value, via, started, ended: Instant::now(), fate });
                    n += 1;
                    tokio::time::sleep(PACE).await;
                }
            })
        };
        let writers = (0..writers).map(start).collect();
        Self { shared, writers }
    }

    /// Waits until so many more writes are acknowledged than when this was called.
    ///
    /// # Panics
    /// When they are not in time, with what the last writes met.
    pub async fn more_acks(&self, count: u64, within: Duration) {
        let goal = self.shared.acked.load(Ordering::Relaxed) + count;
        let reached = async || (self.shared.acked.load(Ordering::Relaxed) >= goal).then_some(());
        if crate::wait::until(within, reached).await.is_none() {
            let history = self.so_far();
            let last: Vec<_> = history.writes.iter().rev().take(5).map(|write| (&write.via, &write.fate)).collect();
            panic!("not {count} more writes acked within {within:?}: {}; the last: {last:#?}", history.counts());
        }
    }

    /// What happened so far.
    pub fn so_far(&self) -> History {
        self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the writers when the fate of what they have in flight is known, and returns everything.
    ///
    /// # Panics
    /// When a writer did.
    pub async fn stop(mut self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            writer.await.expect("a writer ended well");
        }
        std::mem::take(&mut *self.shared.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.writers.iter().for_each(JoinHandle::abort);
    }
}
