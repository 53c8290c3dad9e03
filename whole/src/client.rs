//! The clients: each at one node, doing one thing after another, as the torture's script says, and writing down what it saw.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_e2e::torture::client::Control;
use muster_e2e::torture::operation::{Call, Micros, Seen};
use muster_e2e::torture::script::{Hand, Script};
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

impl Hand for Worker {
    fn now(&self) -> Micros {
        self.recorder.now()
    }

    fn nodes(&self) -> usize {
        self.doors.count()
    }

    async fn perform(&self, call: &Call, behind: usize) -> Seen {
        let node = (self.number + behind) % self.nodes().max(1);
        let began = self.recorder.now();
        let sent = self.control.map_or_else(|| call.clone(), |control| control.bend(call, behind, began));
        let seen = self.doors.ask(node, sent).await;
        self.recorder.ended(self.number, node, began, call.clone(), seen.clone());
        seen
    }
}

impl Worker {
    /// Works until it is told to stop.
    pub async fn work(self, script: Script, stop: Arc<AtomicBool>) {
        script.play(&self, PACE, &stop).await;
    }
}
