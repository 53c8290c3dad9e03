//! What a program hears from its membership.

use bytes::Bytes;
use uuid::Uuid;

use super::hlc::Stamp;
use super::member::Member;

/// Something happened. Events of one member come in order; none is about ourselves unless it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member is there: new, or back from the dead.
    Joined(Member),
    /// A live member changed its metadata or address, or started again without having been missed.
    Updated(Member),
    /// A member did not answer.
    Suspected(Member),
    /// A suspect showed that it lives.
    Refuted(Member),
    /// A member was given up.
    Failed(Member),
    /// A member said goodbye.
    Left(Member),
    /// A dead member's record was dropped: its tombstone has served its time.
    Forgotten {
        /// Who.
        id: Uuid,
    },
    /// A user broadcast arrived, for the first time. Ours do not come back to us.
    Broadcast {
        /// Who sent it first.
        from: Uuid,
        /// What it says.
        payload: Bytes,
    },
    /// A message for us arrived.
    Message {
        /// Who sent it.
        from: Uuid,
        /// What it says.
        payload: Bytes,
    },
    /// An exchange of the full state finished. A starting voter waits for the first of these.
    Synced {
        /// With whom.
        with: Uuid,
    },
    /// **We** were set back: the cluster has seen a stamp of ours that our disk knows nothing of, so the disk is an old copy
    /// or a clone. Such a member must not vote; it should leave and come back under a new id.
    SetBack {
        /// The stamp that the cluster has seen.
        heard: Stamp,
        /// What our disk held.
        held: Stamp,
    },
    /// Two live copies of one identity, ours perhaps. Neither is to be believed until one of them is gone for a minute.
    Duplicate {
        /// Whose.
        id: Uuid,
        /// The boot numbers of the two.
        boots: [u64; 2],
    },
    /// **Our** leave is through: others have heard of it, or the time for it is over. The last event; nothing more is sent.
    LeaveDone {
        /// How many confirmed it.
        heard_by: usize,
    },
}
