//! What the disk of a stopped node says of its cluster, and how its log is continued by one voter alone: the part of a
//! [recovery](crate::recovery) that knows what stands in the log.
//!
//! ```text
//!   ... entries that were applied | entries that were not | membership: one voter | revisions skipped, the old cluster noted
//!                                                          \______________________ written here ______________________/
//! ```
//!
//! Nothing that stands is taken away. Whatever this disk holds may have been acknowledged: a majority had an entry before its leader said so, but
//! who holds it does not know that until later. What was not acknowledged had an unknown outcome, and has one now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc;

use uuid::Uuid;

use super::settings;
use super::types::{Command, Membership, Node, NodeId, Payload, StoredMembership, Vote};
use crate::kv::{Operation, Write};
use crate::storage::log::{Callback, Record};
use crate::storage::{Position, Storage};

/// Revisions that are given to nobody at a recovery: as many writes as a cluster takes in eight hours at its fastest. What was acknowledged
/// elsewhere and is lost had some of them, and a revision must never stand for two writes.
pub const SKIPPED_REVISIONS: u64 = 1_000_000_000;

/// Bytes of the log that are looked at together.
const PIECE_BYTES: u64 = 1 << 20;

/// What the disk says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Who votes, by id, with the names that they had when they came.
    pub voters: BTreeMap<Uuid, String>,
    /// Who only learns.
    pub learners: BTreeMap<Uuid, String>,
    /// The term of the last vote.
    pub term: u64,
    /// Where the log ends; `None`: nothing was ever received.
    pub last: Option<Position>,
    /// The last entry that is known to be committed.
    pub committed: Option<Position>,
    /// The last entry that was applied.
    pub applied: Option<Position>,
    /// The revision of the last write that was applied.
    pub revision: u64,
    /// Writes in entries that were not applied yet.
    pub waiting: u64,
    /// Clusters that this one took the place of, in recoveries before.
    pub replaced: BTreeSet<Uuid>,
}

/// How the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The only voter.
    pub node: Uuid,
    /// What people call it.
    pub name: String,
    /// The first entry.
    pub at: Position,
    /// The cluster that is left behind.
    pub replaced: Uuid,
    /// What is noted of it; for people, and for how long ago that was.
    pub note: String,
}

/// Looks at what a stopped node has on its disk.
///
/// # Errors
/// When it cannot be read.
pub fn look(storage: &Storage) -> io::Result<Found> {
    let progress = *storage.state().progress().borrow();
    let membership = storage.state().membership().map_err(io::Error::other)?;
    let membership = membership.map(|bytes| postcard::from_bytes::<StoredMembership>(&bytes).map_err(invalid));
    let mut membership = membership.transpose()?.map(|stored| stored.membership().clone()).unwrap_or_default();
    let configuration = storage.state().configuration().borrow().clone();
    let mut replaced: BTreeSet<Uuid> = configuration.keys().filter_map(|name| settings::read_replaced(name)).collect();
    let bounds = storage.log().bounds();
    let mut waiting = 0;
    let mut next = progress.applied.map_or(0, |applied| applied.index + 1);
    loop {
        let piece = storage.log().read(next, u64::MAX, PIECE_BYTES).map_err(io::Error::other)?;
        let Some(last) = piece.last() else { break };
        next = last.position.index + 1;
        for record in piece {
            match postcard::from_bytes::<Payload>(&record.payload).map_err(invalid)? {
                Payload::Blank => {}
                Payload::Membership(later) => membership = later,
                Payload::Normal(command) => {
                    for write in command.writes.iter() {
                        match &write.operation {
                            Operation::Configure { name, .. } => replaced.extend(settings::read_replaced(name)),
                            Operation::SkipRevisions { .. } => {}
                            Operation::Put { .. } | Operation::Delete { .. } | Operation::DeletePrefix { .. } => {
                                waiting += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    let name =
        |id: NodeId| (Uuid::from(id), membership.get_node(&id).map(|node| node.name.clone()).unwrap_or_default());
    let vote = storage.log().vote().map(|vote| postcard::from_bytes::<Vote>(&vote).map_err(invalid)).transpose()?;
    Ok(Found {
        voters: membership.voter_ids().map(name).collect(),
        learners: membership.learner_ids().map(name).collect(),
        term: vote.map_or(0, |vote| vote.leader_id.term),
        last: bounds.last.max(progress.applied),
        committed: storage.log().committed().max(progress.applied),
        applied: progress.applied,
        revision: progress.revision,
        waiting,
        replaced,
    })
}

/// Lets the log go on with one voter alone. On the disk when it returns; may be done again after a crash in its middle.
///
/// # Errors
/// When the disk fails, or holds something else than when the continuation was thought out.
pub fn continue_alone(storage: &Storage, how: &Continuation) -> io::Result<()> {
    let log = storage.log();
    let before = how.at.index.checked_sub(1);
    let (last, applied) = (log.bounds().last, storage.state().progress().borrow().applied);
    let fits = last.max(applied).is_some_and(|last| Some(last.index) == before || last.term == how.at.term);
    if !fits {
        return Err(io::Error::other(format!("the log ends at {last:?}, which is not where this recovery began")));
    }
    let vote = Vote::new(how.at.term, NodeId(how.node));
    let vote = postcard::to_stdvec(&vote).map_err(invalid)?;
    done(|done| log.save_vote(vote.into(), done))?;
    // A half of it that a crash left.
    if log.bounds().last.is_some_and(|last| last.term == how.at.term) {
        done(|done| log.truncate_after(before, done))?;
    }
    // A snapshot was installed, and the log not yet cut behind it.
    if let Some(applied) = applied.filter(|applied| log.bounds().last.is_none_or(|last| last.index < applied.index)) {
        done(|done| log.purge(applied, done))?;
    }
    let node = Node { name: how.name.clone() };
    let voters = vec![BTreeSet::from([NodeId(how.node)])];
    let membership = Membership::new(voters, BTreeMap::from([(NodeId(how.node), node)])).map_err(io::Error::other)?;
    let noted = Operation::Configure { name: settings::replaced(how.replaced), value: how.note.clone() };
    let operations = [noted, Operation::SkipRevisions { count: SKIPPED_REVISIONS }];
    let writes = operations.map(|operation| Write { operation, idempotency: None });
    // Stamps only grow: one of 0 counts as the one before.
    let payloads = [Payload::Membership(membership), Payload::Normal(Command::new(0, writes.to_vec()))];
    let mut records = Vec::new();
    for (index, payload) in (how.at.index..).zip(&payloads) {
        let payload = postcard::to_stdvec(payload).map_err(invalid)?.into();
        records.push(Record { position: Position { index, ..how.at }, payload });
    }
    let mut refused = Ok(());
    done(|done| refused = log.append(records, done))?;
    refused.map_err(io::Error::other)
}

/// Asks the log for something and waits until it is on the disk.
fn done(ask: impl FnOnce(Callback)) -> io::Result<()> {
    let (sender, answer) = mpsc::channel();
    ask(Box::new(move |result| drop(sender.send(result))));
    match answer.recv() {
        Ok(result) => result.map_err(io::Error::other),
        // Refused at once; whoever asked says why.
        Err(mpsc::RecvError) => Ok(()),
    }
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("what stands in the log or the state cannot be decoded: {error}"),
    )
}
