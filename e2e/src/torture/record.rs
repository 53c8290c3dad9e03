//! All that the clients of a run did and saw, and what the nodes said of themselves meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::operation::{Call, Found, Micros, Operation, Seen};

/// Everything that is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In the order in which they ended.
    pub operations: Vec<Operation>,
    /// Who said when that it leads, and in which term.
    pub reigns: Vec<Reign>,
    /// What each node held once all was quiet.
    pub copies: Vec<Copy>,
    /// What each node said then of all else.
    pub standings: Vec<Standing>,
    /// What happened to the cluster.
    pub strikes: Vec<Strike>,
}

/// A node says that it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// The term.
    pub term: u64,
    /// The node.
    pub leader: Uuid,
    /// When it said so.
    pub at: Micros,
}

/// What a node held once all was quiet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The node's number.
    pub node: usize,
    /// The revision that it had applied.
    pub revision: u64,
    /// Every key.
    pub found: Vec<(String, Found)>,
}

/// What a node said once all was quiet, beside what it held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The node's number.
    pub node: usize,
    /// The cluster.
    pub cluster_id: Option<Uuid>,
    /// The term.
    pub term: u64,
    /// Who leads.
    pub leader: Option<Uuid>,
    /// Who votes, in order.
    pub voters: Vec<Uuid>,
    /// Who only replicates, in order.
    pub learners: Vec<Uuid>,
    /// The replicated configuration.
    pub config: String,
    /// The last entry that it had applied.
    pub applied_index: u64,
    /// Which revision made each key.
    pub created: Vec<(String, u64)>,
    /// Of what type some of the keys are.
    pub types: Vec<(String, String)>,
}

/// A fault, from its first effect to the moment from which nothing was in the way any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// Its name.
    pub fault: String,
    /// Whom or what it met, for people.
    pub on: String,
    /// When it began.
    pub began: Micros,
    /// When it was over.
    pub ended: Micros,
    /// When a write went through every node again; `None`: not in time.
    pub recovered: Option<Micros>,
    /// How one sees that it really happened.
    pub evidence: String,
}

impl Record {
    /// The operations that bear on each key: of its own and listings, in the order in which they began.
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&Operation>> {
        let keys: BTreeSet<&str> = self.operations.iter().filter_map(|done| done.call.key()).collect();
        let mut all: BTreeMap<&str, Vec<&Operation>> = keys.iter().map(|key| (*key, Vec::new())).collect();
        for done in &self.operations {
            match &done.call {
                Call::List { prefix, .. } => {
                    let under = all.range_mut(prefix.as_str()..);
                    under.take_while(|(key, _)| key.starts_with(prefix.as_str())).for_each(|(_, of)| of.push(done));
                }
                call => {
                    if let Some(of) = call.key().and_then(|key| all.get_mut(key)) {
                        of.push(done);
                    }
                }
            }
        }
        all.values_mut().for_each(|of| of.sort_by_key(|done| done.began));
        all
    }

    /// Acked, failed, unknown and answered, for people.
    pub fn counts(&self) -> String {
        let count = |of: fn(&Seen) -> bool| self.operations.iter().filter(|done| of(&done.seen)).count();
        let acked = count(|seen| matches!(seen, Seen::Wrote { .. }));
        let refused = count(|seen| matches!(seen, Seen::Refused { .. }));
        let failed = count(|seen| matches!(seen, Seen::Failed(_)));
        let unknown = count(|seen| matches!(seen, Seen::Unknown(_)));
        let read = self.operations.len() - acked - refused - failed - unknown;
        format!(
            "{acked} writes acked, {refused} refused by their condition, {unknown} unknown, {read} reads, {failed} failed"
        )
    }

    /// Writes it, one JSON value a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        for line in self.operations.iter().map(serde_json::to_string) {
            writeln!(file, "{}", line?)?;
        }
        for line in self.reigns.iter().map(serde_json::to_string) {
            writeln!(file, "{}", line?)?;
        }
        for line in self.strikes.iter().map(serde_json::to_string) {
            writeln!(file, "{}", line?)?;
        }
        for line in self.copies.iter().map(serde_json::to_string) {
            writeln!(file, "{}", line?)?;
        }
        for line in self.standings.iter().map(serde_json::to_string) {
            writeln!(file, "{}", line?)?;
        }
        file.flush()
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        let mut record = Self::default();
        for line in std::fs::read_to_string(path)?.lines() {
            match serde_json::from_str(line)? {
                Line::Operation(done) => record.operations.push(done),
                Line::Strike(strike) => record.strikes.push(strike),
                Line::Reign(reign) => record.reigns.push(reign),
                Line::Copy(copy) => record.copies.push(copy),
                Line::Standing(standing) => record.standings.push(standing),
            }
        }
        Ok(record)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Operation(Operation),
    Strike(Strike),
    Reign(Reign),
    Copy(Copy),
    Standing(Standing),
}

/// Where clients write down what they do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    since: Instant,
    record: Arc<Mutex<Record>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { since: Instant::now(), record: Arc::default() }
    }
}

impl Recorder {
    /// The time of the run.
    pub fn now(&self) -> Micros {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// What was written down so far.
    pub fn so_far(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down an operation that ends now.
    pub fn ended(&self, client: usize, node: Option<usize>, began: Micros, call: Call, seen: Seen) {
        let ended = self.now();
        self.so_far().operations.push(Operation { client, node, began, ended, call, seen });
    }

    /// All of it.
    pub fn finish(self) -> Record {
        std::mem::take(&mut *self.so_far())
    }
}
