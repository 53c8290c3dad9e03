//! Membership and election for any program that wants to be a cluster.
//!
//! ```text
//!                your program
//!      events, members |  ^ broadcasts, messages, metadata
//!   +------------------v--+-------------------------------+
//!   | runtime: UDP, TCP, timers, one owner task (feature) |   or a simulator
//!   +------------------+--^-------------------------------+
//!              Input   |  |   Output
//!   +------------------v--+---------------+  +------------+
//!   | swim: who is there, who is gone     |  | election   |
//!   +-------------------------------------+  +------------+
//! ```
//!
//! The protocols are *cores without I/O*: state machines that take `(now, input)` and give outputs. They open no
//! socket, read no clock, own no thread and draw no random number that they were not handed, so the code that is proved
//! in virtual time is the code that runs.
//!
//! # What it promises
//!
//! - **Views converge.** All members that can reach each other come to see the same members with the same stamps,
//!   whatever was lost, repeated or reordered in between: the membership is a set whose merge is commutative,
//!   associative and idempotent, and consults no clock.
//! - **Nobody speaks for another's life.** Only its owner adds a member. Others may accuse, and an accusation names the
//!   one life that it ends; a newer life is untouched by it.
//! - **A live member defends itself**, whatever its clock says, and after a partition both halves find each other again
//!   without anyone's help.
//! - **Hostile bytes do no harm** beyond what the protocol's own words can say: they are counted and dropped, nothing
//!   panics, nothing is allocated on their word. (Without a cluster key, whoever can reach the port can speak the
//!   protocol; with one, only its holders can: see [`keyring`].)
//!
//! # What becomes of a member that comes back different
//!
//! | it comes back | outcome |
//! |---|---|
//! | at another address | the same member: a newer life, found by its id |
//! | under another id at the same address | two members: probes name the id that they mean, so the old one is given up |
//! | without its disk | it hears its last stamp at the first exchange, outranks it, and says that it was set back ([`Event::SetBack`](swim::Event::SetBack)) |
//! | with an old copy of its disk | the same |
//! | with its clock set back | it counts on from the stamp on its disk |
//! | with its clock ahead | its stamps are taken as they are and drag nobody's clock along; set right, it counts on from its disk |
//! | with its clock more than ten years ahead | its stamps are refused and counted: nobody sees it |
//! | beside itself, from a copy | both are reported, neither is believed ([`Event::Duplicate`](swim::Event::Duplicate)) |
//!
//! Numbers of probes wrap: they only have to differ from those under way. All other numbers (stamps, broadcasts, streams) have 64 bits and do not.
//!
//! # What it does not
//!
//! - It never says who is *really* dead: a failure detector on a network can only suspect. Whoever must not act twice (a
//!   leader, a lock) needs a majority, not a membership view.
//! - When two halves of a cluster meet again, each brings its verdict on the other's members, and a member that lived all the
//!   time is seen as failed for the moment that its refutation takes (a round trip and a disk sync).
//! - A broadcast or a message is best effort: it may be lost, never arrives twice from one life of its sender, and comes
//!   in no order. What must arrive belongs into the metadata, which is part of the converging state, or on a stream of
//!   the program's own.
//! - It keeps nothing on disk. The one thing that must survive a restart, a member's last stamp, it hands out to be
//!   kept ([`Output::PersistStamp`](swim::Output::PersistStamp)).
//!
//! Start reading at [`swim`]; its wire format has its byte tables in `docs/wire.md`.

pub mod election;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
pub mod keyring;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
pub mod swim;
pub mod time;
#[cfg(feature = "runtime")]
pub mod world;
