//! The clients: plain HTTP to one node, or the client library over all of them. Each does one thing after another and writes down what it
//! saw.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_client::Client;
use muster_client::api::Outcome;
use muster_client::api::kv::{DeleteAnswer, Page, PutAnswer};

use super::operation::{Call, Condition, Found, Freshness, Micros, Seen};
use super::record::Recorder;
use super::script::{Hand, Script};
use crate::history::Fate;
use crate::http::{Answer, Call as Request, Http, Lost};
use muster_client::api::header;

/// 2 s for the server, 3 s for the client: a node that is paused or cut off must not hold a client for longer.
const SERVER_GIVES_UP: &str = "2s";
/// 200 ms for the server of a client with a control: a build that is wrong that way would answer at once where a right one waits for others in vain,
/// and a client that waits along does too little to show it.
const WRONG_SERVER_GIVES_UP: &str = "200ms";
const GIVE_UP: Duration = Duration::from_secs(3);
/// 10 ms between two deeds: what is judged is what happens at the same time, not how much.
const PACE: Duration = Duration::from_millis(10);

/// Where the nodes' client ports are now; a node may move.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Arc<Mutex<Vec<String>>>);

impl Addresses {
    /// All of them, by the nodes' numbers.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A node's.
    pub fn of(&self, node: usize) -> String {
        self.all().get(node).cloned().unwrap_or_default()
    }

    /// Forgets all but the first so many.
    pub fn keep(&self, count: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).truncate(count);
    }

    /// Sets a node's.
    pub fn set(&self, node: usize, endpoint: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= node {
            all.resize(node + 1, String::new());
        }
        all[node] = endpoint;
    }
}

/// How a client reaches the store.
#[derive(Debug, Clone)]
pub enum Way {
    /// Plain requests to one node, by number.
    Plain(Http, usize),
    /// The client library.
    Library(Client),
}

/// A fault of the clients' own, of the disks, or of whoever runs the nodes, which stands for one of the servers': whoever judges must find it. A judge that finds nothing in a run with
/// a control is no judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A linearizable read is answered from the node's own copy: a build that leaves the read index out.
    StaleReads,
    /// A write that is sent again is another write: a build that applies a retry twice.
    TwiceApplied,
    /// Disks answer syncs without doing them: a build that skips the fsync. It shows when power is lost.
    Unsynced,
    /// A node that is cut off is told by the command for disasters that it is all there is, and goes on alone while the majority does as
    /// well: a build that counts those whom gossip sees, however few, as a majority.
    Minority,
}

impl Control {
    /// The control of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "stale-reads" => Some(Self::StaleReads),
            "twice-applied" => Some(Self::TwiceApplied),
            "unsynced" => Some(Self::Unsynced),
            "minority" => Some(Self::Minority),
            _ => None,
        }
    }

    /// What is sent instead of a call that began then.
    pub fn bend(self, call: &Call, behind: usize, began: Micros) -> Call {
        let mut bent = call.clone();
        match (self, &mut bent) {
            (Self::StaleReads, Call::Get { freshness, .. } | Call::List { freshness, .. }) => {
                *freshness = Freshness::Local;
            }
            (Self::TwiceApplied, Call::Put { again: Some(again), .. } | Call::Delete { again: Some(again), .. }) => {
                again.push_str(&format!("-{behind}-{began}"));
            }
            (Self::StaleReads | Self::TwiceApplied | Self::Unsynced | Self::Minority, _) => {}
        }
        bent
    }
}

/// A client.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its number.
    pub number: usize,
    /// How it reaches the store.
    pub way: Way,
    /// Where nodes are.
    pub addresses: Addresses,
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
        self.addresses.all().len()
    }

    /// A plain client asks its own node, or the one so many behind it.
    async fn perform(&self, call: &Call, behind: usize) -> Seen {
        let began = self.recorder.now();
        let sent = self.control.map_or_else(|| call.clone(), |control| control.bend(call, behind, began));
        let (node, seen) = match &self.way {
            Way::Plain(http, own) => {
                let node = (own + behind) % self.nodes().max(1);
                let patience = if self.control.is_some() { WRONG_SERVER_GIVES_UP } else { SERVER_GIVES_UP };
                (Some(node), send(http, &self.addresses.of(node), &sent, patience).await)
            }
            Way::Library(client) => (None, library(client, &sent).await),
        };
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

/// The type that a plain client gives this value: with its first word, which no other value has, since a type is short.
pub fn type_of(value: &str) -> String {
    format!("text/x-torture; of={}", value.split(' ').next().unwrap_or_default())
}

/// Sends a call to a node, and says what may be concluded.
pub(super) async fn send(http: &Http, endpoint: &str, call: &Call, patience: &str) -> Seen {
    let conditional = |request: Request, condition: &Condition| match condition {
        Condition::Always => request,
        Condition::Absent => request.header("if-none-match", "*"),
        Condition::At(revision) => request.header("if-match", format!("\"{revision}\"")),
    };
    let keyed = |request: Request, again: &Option<String>| match again {
        Some(again) => request.header(header::IDEMPOTENCY_KEY, again),
        None => request,
    };
    let fresh = |request: Request, freshness: &Freshness| match freshness {
        Freshness::Local => request,
        Freshness::Within(age) => request.query("max_staleness", format!("{}ms", age / 1000)),
        Freshness::Linearizable => request.query("consistency", "linearizable"),
    };
    let request = match call {
        Call::Put { key, value, condition, again } => {
            // The type says whose it is, so that one can see whether it came along.
            let put = http.put(format!("{endpoint}/kv/{key}"), value.clone()).header("content-type", type_of(value));
            keyed(conditional(put, condition), again)
        }
        Call::Delete { key, condition, again } => {
            keyed(conditional(http.delete(format!("{endpoint}/kv/{key}")), condition), again)
        }
        Call::Get { key, freshness } => fresh(http.get(format!("{endpoint}/kv/{key}")), freshness),
        Call::List { prefix, freshness } => {
            let request = http.get(format!("{endpoint}/kv")).query("prefix", prefix).query("limit", 1000);
            fresh(request, freshness)
        }
    };
    let result = request.query("timeout", patience).within(GIVE_UP).send().await;
    let read = |answer: &Answer| answer.header(header::REVISION).is_some() && matches!(answer.status, 200 | 404);
    match (call, result) {
        (Call::Put { .. } | Call::Delete { .. }, Ok(answer)) if answer.status == 412 => {
            Seen::Refused { current: answer.header("etag").and_then(|tag| tag.trim_matches('"').parse().ok()) }
        }
        (Call::Put { .. }, Ok(answer)) if answer.is_ok() => {
            let done: PutAnswer = answer.json();
            Seen::Wrote { revision: done.revision, existed: !done.created }
        }
        (Call::Delete { .. }, Ok(answer)) if answer.is_ok() => {
            let done: DeleteAnswer = answer.json();
            Seen::Wrote { revision: done.revision, existed: done.existed }
        }
        (Call::Put { .. } | Call::Delete { .. }, result) => match Fate::of(&result) {
            Fate::Failed(why) => Seen::Failed(why),
            Fate::Unknown(why) => Seen::Unknown(why),
            Fate::Acked(_) => unreachable!("read above"),
        },
        (Call::Get { .. }, Ok(answer)) if read(&answer) => {
            let (applied, staleness) = quality(&answer);
            let etag = || answer.needs("etag").trim_matches('"').parse().expect("a tag of ours is a revision");
            let found = (answer.status == 200).then(|| Found { value: answer.text(), revision: etag() });
            Seen::Read { found, applied, staleness }
        }
        (Call::List { .. }, Ok(answer)) if read(&answer) => {
            let (_, staleness) = quality(&answer);
            let page: Page = answer.json();
            assert!(page.next.is_none(), "a page holds it all");
            Seen::Listed { found: found_on(&page), applied: Some(page.revision), staleness }
        }
        (Call::Get { .. } | Call::List { .. }, result) => Seen::Failed(match result {
            Ok(answer) => format!("{} {}", answer.status, answer.text()),
            Err(Lost { reason, .. }) => reason,
        }),
    }
}

fn quality(answer: &Answer) -> (Option<u64>, Option<u64>) {
    let number = |name| answer.header(name).and_then(|text| text.parse().ok());
    (number(header::REVISION), number(header::STALENESS_MS))
}

/// The keys of a page.
///
/// # Panics
/// When it is not as the API describes it.
pub fn found_on(page: &Page) -> Vec<(String, Found)> {
    let found = |item: &muster_client::api::kv::Item| {
        let value = STANDARD.decode(item.value.as_deref().expect("values were asked for")).expect("base64");
        let value = String::from_utf8_lossy(&value).into_owned();
        (item.key.clone(), Found { value, revision: item.modify_revision })
    };
    page.items.iter().map(found).collect()
}

async fn library(client: &Client, call: &Call) -> Seen {
    let result = match call.clone() {
        Call::Put { key, value, condition, again } => {
            let mut put = client.put(key, value);
            put = match condition {
                Condition::Always => put,
                Condition::Absent => put.if_absent(),
                Condition::At(revision) => put.if_revision(revision),
            };
            put = if let Some(again) = again { put.idempotency_key(again) } else { put };
            put.timeout(GIVE_UP).await.map(|done| Seen::Wrote { revision: done.revision, existed: !done.created })
        }
        Call::Delete { key, condition, again } => {
            let mut delete = client.delete(key);
            delete = match condition {
                // The library has no removal of what is not there.
                Condition::Always | Condition::Absent => delete,
                Condition::At(revision) => delete.if_revision(revision),
            };
            delete = if let Some(again) = again { delete.idempotency_key(again) } else { delete };
            delete.timeout(GIVE_UP).await.map(|done| Seen::Wrote { revision: done.revision, existed: done.existed })
        }
        Call::Get { key, freshness } => {
            let get = client.get(key).timeout(GIVE_UP);
            let get = match freshness {
                Freshness::Local => get,
                Freshness::Within(age) => get.max_staleness(Duration::from_micros(age)),
                Freshness::Linearizable => get.linearizable(),
            };
            get.await.map(|entry| {
                let staleness = entry.as_ref().and_then(|entry| entry.read.staleness).map(|by| by.as_millis() as u64);
                let applied = entry.as_ref().map(|entry| entry.read.revision);
                Seen::Read { found: entry.as_ref().map(found_in), applied, staleness }
            })
        }
        Call::List { prefix, freshness } => {
            let list = client.list(prefix).page_size(1000).timeout(GIVE_UP);
            let mut list = match freshness {
                Freshness::Local => list,
                Freshness::Within(age) => list.max_staleness(Duration::from_micros(age)),
                Freshness::Linearizable => list.linearizable(),
            };
            list.next_page().await.map(|page| {
                let page = page.unwrap_or_default();
                let read = page.first().map(|entry| entry.read);
                let staleness = read.and_then(|read| read.staleness).map(|by| by.as_millis() as u64);
                let found = page.iter().map(|entry| (entry.key.clone(), found_in(entry))).collect();
                Seen::Listed { found, applied: read.map(|read| read.revision), staleness }
            })
        }
    };
    match result {
        Ok(seen) => seen,
        Err(muster_client::Error::ConditionFailed { current, .. }) => Seen::Refused { current },
        Err(error) if error.outcome() == Outcome::NotApplied => Seen::Failed(error.to_string()),
        Err(error) => Seen::Unknown(error.to_string()),
    }
}

fn found_in(entry: &muster_client::http::Entry) -> Found {
    Found { value: String::from_utf8_lossy(&entry.value).into_owned(), revision: entry.modify_revision }
}
