//! Whether this node votes, stands, and takes entries, and which streams it serves by that.

use std::sync::Arc;

use super::wire::{Hello, Welcome};
use super::{Replication, wire};

impl Replication {
    /// From now on this node may vote, and stand: others have vouched for its disk, or it is the only voter. Not if anything speaks against it.
    pub(super) fn allow_voting(&self, stand: bool) {
        // Looked at under the lock of the channel: who forbids it says first why, so it is either seen here or comes after.
        let allow = |may: &mut bool| {
            let news = !*may && self.witness.nothing_against();
            *may |= news;
            news
        };
        self.may_vote.send_if_modified(allow);
        if stand {
            self.may_stand.send_if_modified(allow);
        }
    }

    /// Whoever calls this has noted why, so that nobody allows it again.
    pub(super) fn forbid_voting(&self) {
        self.may_vote.send_replace(false);
        self.may_stand.send_replace(false);
    }

    /// Whether this node votes and stands.
    pub fn may_vote(&self) -> bool {
        *self.may_vote.borrow()
    }

    pub(super) fn may_stand(&self) -> bool {
        *self.may_stand.borrow()
    }

    /// What to answer to a peer that wants in.
    pub(super) fn welcome(self: &Arc<Self>, kind: u8, hello: &Hello) -> Welcome {
        let welcome = match (self.cluster_id(), hello.cluster_id) {
            (Some(own), Some(theirs)) if own == theirs => Welcome::Granted,
            (Some(own), theirs) => match theirs.and_then(|theirs| self.replaced_ago(theirs)) {
                Some(ago) => Welcome::Replaced { by: own, ago },
                None => Welcome::OtherCluster(own),
            },
            (None, None) => Welcome::NotReady("neither of the two is part of a cluster yet".to_owned()),
            (None, Some(theirs)) => match self.adopt(theirs) {
                Ok(()) => Welcome::Granted,
                Err(error) => Welcome::NotReady(error.to_string()),
            },
        };
        // What this node acknowledged would count towards a majority, although its disk may yet turn out as an old copy that is
        // set aside; one from before it joined, perhaps.
        if welcome == Welcome::Granted && !self.may_vote() && kind != wire::CALL_STREAM {
            return Welcome::NotReady(self.why_no_vote());
        }
        welcome
    }
}
