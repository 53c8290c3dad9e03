//! A node's client port in a simulated world: what its HTTP handlers do, without HTTP. Requests come in through a queue and are answered one by one;
//! a process that dies answers nothing.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_e2e::torture::operation::{Call, Condition, Found, Freshness, Seen};
use muster_node::keyspace::{Keyspace, WriteError};
use muster_node::kv::{self, Idempotency, Outcome, PageQuery, Write};
use muster_world::disk;
use tokio::sync::{mpsc, oneshot};

/// 2 s, as the torture's clients ask for.
const PATIENCE: Duration = Duration::from_secs(2);

/// More keys than a run has under one prefix.
const PAGE: usize = 1_000;

/// A call, and where its answer goes.
pub type Request = (Call, oneshot::Sender<Seen>);

/// Answers until nobody asks any more.
pub async fn serve(keyspace: Arc<Keyspace>, mut requests: mpsc::UnboundedReceiver<Request>) {
    while let Some((call, answer)) = requests.recv().await {
        let keyspace = keyspace.clone();
        tokio::spawn(async move {
            let seen = perform(&keyspace, call).await;
            // Nobody hears a machine without power, and who has given up does not hear it.
            if !disk::is_lost() {
                let _: Result<(), Seen> = answer.send(seen);
            }
        });
    }
}

async fn perform(keyspace: &Keyspace, call: Call) -> Seen {
    match call {
        Call::Put { key, value, condition, again } => {
            let digest = hash(&(&key, &value, format!("{condition:?}")));
            let operation =
                kv::Operation::Put { key, value: Bytes::from(value), content_type: None, condition: on(condition) };
            write(keyspace, operation, again, digest).await
        }
        Call::Delete { key, condition, again } => {
            let digest = hash(&(&key, format!("{condition:?}")));
            write(keyspace, kv::Operation::Delete { key, condition: on(condition) }, again, digest).await
        }
        Call::Get { key, freshness } => match keyspace.get(&key, fresh(freshness), PATIENCE).await {
            Ok(read) => Seen::Read {
                found: read.data.as_ref().map(found),
                applied: Some(read.revision),
                staleness: read.staleness.map(millis),
            },
            Err(error) => Seen::Failed(error.to_string()),
        },
        Call::List { prefix, freshness } => {
            let mut query = PageQuery { prefix, start_after: None, limit: PAGE, keys_only: false };
            let mut all = Vec::new();
            loop {
                let read = match keyspace.list(&query, fresh(freshness), PATIENCE).await {
                    Ok(read) => read,
                    Err(error) => return Seen::Failed(error.to_string()),
                };
                all.extend(read.data.items.iter().map(|(key, versioned)| (key.clone(), found(versioned))));
                query.start_after = all.last().map(|(key, _)| key.clone());
                if !read.data.more {
                    let (applied, staleness) = (Some(read.revision), read.staleness.map(millis));
                    return Seen::Listed { found: all, applied, staleness };
                }
            }
        }
    }
}

async fn write(keyspace: &Keyspace, operation: kv::Operation, again: Option<String>, digest: u64) -> Seen {
    let idempotency = again.map(|key| Idempotency { key, digest });
    match keyspace.write(Write { operation, idempotency }, PATIENCE).await {
        Ok(Outcome::Put { revision, created }) => Seen::Wrote { revision, existed: !created },
        Ok(Outcome::Deleted { revision, existed }) => Seen::Wrote { revision, existed },
        Ok(Outcome::ConditionFailed { current }) => Seen::Refused { current },
        Ok(other) => panic!("no answer to such a write: {other:?}"),
        Err(WriteError::Unknown) => Seen::Unknown("unknown".to_owned()),
        Err(error) => Seen::Failed(error.to_string()),
    }
}

fn on(condition: Condition) -> kv::Condition {
    match condition {
        Condition::Always => kv::Condition::Always,
        Condition::Absent => kv::Condition::Absent,
        Condition::At(revision) => kv::Condition::ModifiedAt(vec![revision]),
    }
}

fn fresh(freshness: Freshness) -> kv::Freshness {
    match freshness {
        Freshness::Local => kv::Freshness::default(),
        Freshness::Within(age) => {
            // One less than may be, for the same reason.
            let limit = Duration::from_micros(age).saturating_sub(Duration::from_millis(1));
            kv::Freshness { max_staleness: Some(limit), ..kv::Freshness::default() }
        }
        Freshness::Linearizable => kv::Freshness { linearizable: true, ..kv::Freshness::default() },
    }
}

fn found(versioned: &kv::Versioned) -> Found {
    let value = String::from_utf8_lossy(&versioned.value).into_owned();
    Found { value, revision: versioned.modify_revision }
}

/// Rounded up, as HTTP does, and one more: clocks here show whole milliseconds, the record's times are finer.
fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX).saturating_add(1)
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
