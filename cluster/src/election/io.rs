//! What goes into an election core and what comes out of it.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{message::Message, rank::Freshness};

/// All that an election needs to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin. Until then nothing is asked and nothing answered.
    Start,
    /// A peer's message, from the peer that the transport vouches for.
    Message {
        /// Who sent it.
        from: Uuid,
        /// What it says.
        message: Message,
    },
    /// Who takes part from now on, this node included if it does. A node that does not take part follows, and never stands.
    Electorate(BTreeSet<Uuid>),
    /// This node's log grew, or its priority was changed. Cheap: give it before anything that may start an election.
    Rank {
        /// How far the log reaches now.
        freshness: Freshness,
        /// What the operator prefers now.
        priority: i32,
    },
    /// Proof that somebody leads: a heartbeat, an append, an announcement.
    LeaderHeard {
        /// The leader.
        leader: Uuid,
        /// The term it leads in.
        term: u64,
    },
    /// Gossip (or a time-out elsewhere) says that this node is gone. Of weight only if it is the leader, and taken back by the next
    /// [`Input::LeaderHeard`].
    LeaderSuspected {
        /// Who is suspected.
        leader: Uuid,
    },
    /// This node is dead for certain: its streams were reset *and* its host refuses a fresh connection. Skips the wait for the lease.
    LeaderDead {
        /// Who died.
        leader: Uuid,
    },
    /// Whether the caller's streams reach a peer. Peers of which nothing was said count as out of reach. Of weight in voted mode.
    Reachable {
        /// The peer.
        peer: Uuid,
        /// Whether it is reached.
        reachable: bool,
    },
    /// The caller's vote was won (voted mode). Give it at any time: the vote is the truth.
    Won {
        /// The term that was won.
        term: u64,
    },
    /// The caller's vote was lost or came to nothing (voted mode); the core tries again by itself.
    CampaignFailed,
    /// This node leads no more: the caller's vote engine says so, or the program wants to stop leading.
    SteppedDown {
        /// The term in which that became known.
        term: u64,
    },
    /// Hand the leadership over, to the peer named or to the best one known.
    Transfer {
        /// To whom.
        to: Option<Uuid>,
    },
    /// Time passed: the instant of [`Election::next_deadline`](super::Election::next_deadline) was reached. Too early does nothing.
    Tick,
}

/// All that an election asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Carry a message to a peer, by any transport; it may be lost.
    Send {
        /// The receiver.
        to: Uuid,
        /// What to carry.
        message: Message,
    },
    /// Go and get yourself elected (voted mode): run a pre-vote and a vote of the electorate, then report [`Input::Won`] or
    /// [`Input::CampaignFailed`].
    Campaign,
    /// The leader is dead for certain: this node's own lease on it may be given up, so that its pre-vote is not refused to whoever
    /// campaigns (voted mode). Nobody else's lease is touched by that: each voter has to find out for itself.
    DropLease {
        /// Who died.
        dead: Uuid,
    },
    /// Who leads as far as this node knows, and in which term. Comes once for each change.
    LeaderChanged {
        /// The leader; none while there is none.
        leader: Option<Uuid>,
        /// Its term, or that of the last leader.
        term: u64,
    },
    /// Hand the leadership over to this peer (voted mode): the caller's vote engine does it.
    Transfer {
        /// The peer chosen.
        to: Uuid,
    },
    /// An [`Input::Transfer`] that nothing was done about.
    TransferRefused(TransferRefused),
}

/// Why a transfer was not begun. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// Only the leader hands over; ask it.
    #[error("this node does not lead")]
    NotLeader,
    /// The peer named does not take part in elections, or is this node.
    #[error("the node named is no other member of the electorate")]
    NotEligible,
    /// Nobody else can be reached. Try again when somebody can.
    #[error("no other member of the electorate can be reached")]
    NobodyReachable,
}

/// What a core is busy with: for a person who asks why there is no leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Not started, or not part of the electorate and without a leader.
    Idle,
    /// It follows a leader.
    Following,
    /// It leads.
    Leading,
    /// It has just started, or lost the lead, and gives a leader the time to be heard.
    Listening,
    /// It cannot reach a majority of the electorate, and does not stand.
    NoMajority,
    /// So many peers still hear a leader that nobody else can win.
    OthersFollow,
    /// Nobody answered although peers are reachable; it stands after the fallback.
    Unanswered,
    /// It waits its turn, or before the next try.
    Pausing,
    /// It has asked who outranks it.
    Asking,
    /// Somebody outranks it, and it waits for the victory.
    Deferring,
    /// The caller runs a vote for it.
    Campaigning,
}
