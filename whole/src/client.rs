//! The clients: each at one node, doing one thing after another, as the torture's script says, and writing down what it saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_e2e::torture::client::Control;
use muster_e2e::torture::operation::{Call, Freshness, Seen};
use muster_e2e::torture::script::{Deed, Script};
use tokio::sync::{mpsc, oneshot};

use crate::door::Request;
use crate::recorder::Recorder;

/// 3 s: a node that is paused or cut off must not hold a client for longer.
const GIVE_UP: Duration = Duration::from_secs(3);
/// 25 ms between two deeds: what is judged is what happens at the same time, not how much, and every deed is computed for.
const PACE: Duration = Duration::from_millis(25);

/// The ways into the nodes' present processes.
#[derive(Debug, Clone, Default)]
pub struct Doors(Arc<Mutex<Vec<Option<mpsc::UnboundedSender<Request>>>>>);

impl Doors {
    /// A node has a new door, or none.
    pub fn set(&self, node: usize, door: Option<mpsc::UnboundedSender<Request>>) {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if doors.len() <= node {
            doors.resize(node + 1, None);
        }
        doors[node] = door;
    }

    /// How many nodes there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Asks a node. Nobody there: certainly nothing was done.
    pub async fn ask(&self, node: usize, call: Call) -> Seen {
        let (writes, (sender, answer)) = (call.writes(), oneshot::channel());
        let door = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned().flatten();
        let sent = door.is_some_and(|door| door.send((call, sender)).is_ok());
        if !sent {
            return Seen::Failed("connection refused".to_owned());
        }
        match tokio::time::timeout(GIVE_UP, answer).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(_)) if writes => Seen::Unknown("the connection broke".to_owned()),
            Err(_) if writes => Seen::Unknown("no answer".to_owned()),
            Ok(Err(_)) | Err(_) => Seen::Failed("no answer".to_owned()),
        }
    }
}

/// A client.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its number, and its node's.
    pub number: usize,
    /// The ways into the nodes.
    pub doors: Doors,
    /// Where it writes down what it does.
    pub recorder: Recorder,
    /// What is wrong with it on purpose.
    pub control: Option<Control>,
}

impl Worker {
    /// Works until it is told to stop; then it is in no deed any more.
    pub async fn work(self, mut script: Script, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            match script.deed(self.recorder.now()) {
                Deed::Once(call) => {
                    let seen = self.perform(&call, 0).await;
                    script.saw(&call, &seen);
                }
                Deed::Twice(call, pause) => {
                    let elsewhere = script.below(self.doors.count().max(1));
                    let later = async {
                        tokio::time::sleep(Duration::from_micros(pause)).await;
                        self.perform(&call, elsewhere).await
                    };
                    let (first, again) = tokio::join!(self.perform(&call, 0), later);
                    script.saw(&call, &first);
                    script.saw(&call, &again);
                    if matches!((first, again), (Seen::Unknown(_), Seen::Unknown(_))) {
                        self.perform(&call, elsewhere + 1).await;
                    }
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Makes one call at its own node, or the one so many behind it, and writes it down.
    pub async fn perform(&self, call: &Call, behind: usize) -> Seen {
        let node = (self.number + behind) % self.doors.count().max(1);
        let began = self.recorder.now();
        let seen = self.doors.ask(node, self.bent(call, behind, began)).await;
        self.recorder.ended(self.number, node, began, call.clone(), seen.clone());
        seen
    }

    /// What is sent instead, if something is wrong on purpose.
    fn bent(&self, call: &Call, behind: usize, began: u64) -> Call {
        let mut bent = call.clone();
        match (self.control, &mut bent) {
            (Some(Control::StaleReads), Call::Get { freshness, .. } | Call::List { freshness, .. }) => {
                *freshness = Freshness::Local;
            }
            (
                Some(Control::TwiceApplied),
                Call::Put { again: Some(again), .. } | Call::Delete { again: Some(again), .. },
            ) => again.push_str(&format!("-{behind}-{began}")),
            (Some(Control::StaleReads | Control::TwiceApplied | Control::Unsynced | Control::Minority) | None, _) => {}
        }
        bent
    }
}
