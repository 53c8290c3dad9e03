//! What speaks against this node's vote, and when that is over.
//!
//! ```text
//!   a member remembers more than the disk holds ---------------> an old copy: never again
//!   gossip knows a later life of this node --- it starts ------> an old copy
//!                                          \-- it votes -------> a double: until that is gone, and the others vouch anew
//!   gossip sees two boot numbers in turn ----------------------> a double
//!   another cluster took the place of this node's -------------> replaced: not in the life of this process (see `replaced`)
//! ```

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Mark, holds, locked};
use crate::replication::Replication;

/// How long nothing is to be heard of a double that gossip has not confirmed: one that lives outranks our defence within the time-out of a
/// suspicion, a few seconds, and then gossip reports both for as long as that goes on, and a minute more.
const QUIET: Duration = Duration::from_secs(10);

/// What speaks against a node's vote; for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Two nodes run under its identity. Neither votes while they do.
    Double(String),
    /// Its disk is an old copy.
    OldCopy(String),
    /// Another cluster took the place of its own, in a recovery from one disk.
    Replaced(String),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Double(why) => write!(
                f,
                "two nodes run under this node's identity ({why}): stop the one whose data dir is a copy; neither votes while both run"
            ),
            Self::OldCopy(why) => write!(
                f,
                "the data dir is an old copy ({why}); this node waits for another one to lead, and comes back as a new one then"
            ),
            Self::Replaced(why) => write!(
                f,
                "{why}: this disk has no part in it, and this node votes no more. Start this machine with an empty data dir, and keep this one until                  nothing in it is missed. If that recovery was a mistake, stop the nodes of the new cluster, then start those of this one again"
            ),
        }
    }
}

impl Replication {
    /// This disk is an old copy. The node votes and acknowledges no more, and hands the leadership over if it leads.
    pub(super) fn note_set_back(&self, why: &str) {
        let news = self.witness.objection.send_if_modified(|before| {
            let news = !matches!(before, Some(Objection::OldCopy(_)));
            if news {
                *before = Some(Objection::OldCopy(why.to_owned()));
            }
            news
        });
        if news {
            log::error!(
                "the data dir is an old copy: {why}. This node votes no more; once another one leads it sets the old data aside and comes back \
                 as a new one. If the whole cluster was set back on purpose, stop all its nodes, delete the file `witness` in each data \
                 dir, and start them"
            );
        }
        self.forbid_voting();
    }

    /// A double of this node is there: neither votes while it is.
    pub fn note_double(&self, why: &str) {
        *locked(&self.witness.doubled_at) = Instant::now();
        let double = Objection::Double(why.to_owned());
        let news = self.witness.objection.send_if_modified(|before| {
            let news = before.is_none();
            before.get_or_insert_with(|| double.clone());
            news
        });
        if news {
            log::error!("{double}");
        }
        self.forbid_voting();
    }

    /// Gossip knows a later life of this node (its stamp) than its disk held when it started. If others have vouched for that disk, and the life
    /// is later than this one, then it is not one that was forgotten: somebody was started beside this node.
    pub fn hear_of_later_life(&self, heard: u64, held: u64) {
        let vouched = *locked(&self.witness.vouched);
        if vouched.is_some_and(|own| own != 0 && heard > own) {
            self.note_double(&format!("its stamp is {heard}"));
        } else {
            self.note_set_back(&format!(
                "the cluster has seen a later life of this node ({heard}) than its disk knows ({held})"
            ));
        }
    }

    /// Goes on as if it had just started once nothing is heard of a double any more: the others say what that has done meanwhile in this node's name.
    pub(super) fn look_whether_the_double_is_gone(&self) {
        let witness = &self.witness;
        let seen = self.roster.borrow().members.get(&self.me()).is_some_and(|own| own.duplicate);
        if !witness.is_doubled() || seen || locked(&witness.doubled_at).elapsed() < QUIET {
            return;
        }
        // Which stamps were whose says nothing: the two outranked each other.
        *locked(&witness.held) = Mark { stamp: u64::MAX, ..holds(&self.storage, 0) };
        *locked(&witness.vouched) = None;
        "a double of this node was there until now".clone_into(&mut locked(&witness.waits_for));
        let gone = witness.objection.send_if_modified(|now| {
            let gone = matches!(now, Some(Objection::Double(_)));
            if gone {
                *now = None;
            }
            gone
        });
        if gone {
            log::info!("no double of this node is heard any more; it votes once others have vouched for its disk");
        }
    }

    /// Follows what speaks against this node's vote.
    pub fn objection(&self) -> watch::Receiver<Option<Objection>> {
        self.witness.objection.subscribe()
    }

    /// Becomes true when this disk is an old copy and the cluster has a leader without it: the data can be set aside.
    pub fn replaceable(&self) -> watch::Receiver<bool> {
        self.witness.replaceable.subscribe()
    }

    /// Why this node does not vote, for people.
    pub(in crate::replication) fn why_no_vote(&self) -> String {
        let objection = self.witness.objection.borrow().as_ref().map(ToString::to_string);
        objection.unwrap_or_else(|| locked(&self.witness.waits_for).clone())
    }

    /// Who must not vote must not lead either. But its vote is not to be had for the next one, so the others must be a majority without it, or
    /// nobody would lead at all.
    pub(super) async fn give_up_the_lead(self: &Arc<Self>) {
        let voters = self.voters();
        let others = voters.iter().filter(|id| **id != self.me() && self.reached(**id)).count();
        if self.leader() == Some(self.me())
            && others * 2 > voters.len()
            && let Err(refusal) = self.hand_over(None).await
        {
            log::warn!("the leadership was not handed over yet: {refusal:?}");
        }
    }

    /// Ends when this node must not acknowledge any more what it is sent.
    pub(in crate::replication) fn until_forbidden(&self) -> impl Future<Output = ()> + use<> {
        let mut may_vote = self.may_vote.subscribe();
        async move {
            let _: Result<_, _> = may_vote.wait_for(|may| !*may).await;
        }
    }
}
