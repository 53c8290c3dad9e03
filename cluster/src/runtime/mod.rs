//! The tokio driver: a [`Swim`](crate::swim::Swim) on real sockets.
//!
//! ```text
//!   Cluster (handle, cloned freely) --commands--> owner task <--datagrams--> UDP
//!        ^  watch: View                           |  drives Swim
//!        +- broadcast: Event ---------------------+  ^ frames
//!                                                    |
//!   open_stream --dial--> PeerStream                exchange tasks
//!   IncomingStream <--------- accept task <--------- TCP, the same port
//! ```
//!
//! One task owns the protocol; everyone else hears from it through channels, so there is no lock around it. A stream, whichever side
//! opened it, begins with a preface that settles who talks to whom, for what and in which version; then it belongs to its kind: the
//! membership's own exchange, or one of the program's (kinds 16 to 255).
//!
//! The caller binds the sockets (one UDP and one TCP, the same port) and deals with the errors of that. Nothing here retries on the
//! program's behalf but what the protocol retries. Where there are keys, packets are sealed by the core and streams in `sealed`.

mod accept;
mod clock;
mod cluster;
mod counters;
mod dial;
mod exchange;
mod guard;
mod key_chain;
mod key_request;
mod options;
mod owner;
mod reporter;
mod sealed;
mod seeds;
mod stamp;
mod stream;

/// The doors of streams, and of the stamp's file; see [`crate::fuzz`].
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz {
    pub(crate) use super::{
        key_request::fuzz as key_request,
        sealed::fuzz::{head as stream_head, records as stream_records},
        stamp::fuzz as stamp,
    };
}

pub use accept::IncomingStream;
pub use cluster::{Cluster, LeaveError, RequestError, StartError, Stopped, View};
pub use counters::Metrics;
pub use dial::{OpenError, Peer, Step};
pub use key_chain::{ChangeKeysError, KeyFile, KeyStore, ReadKeysError};
pub use key_request::{AskError, KeyReport, KeyRequest, ask};
pub use options::{Limits, Options};
pub use seeds::BadSeed;
pub use stamp::{StampFile, StampStore};
pub use stream::{PeerReader, PeerStream, PeerWriter};
