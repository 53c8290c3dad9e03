//! What must never be, judged by what clients saw. One property a file, each shown to bite on a broken history.
//!
//! | judge | says |
//! |---|---|
//! | [`linearizable`] | every key's writes and linearizable reads fit one order that respects real time |
//! | [`order`] | revisions grow in real time over the whole store, and no two writes share one |
//! | [`cut`] | a read shows the key as it was at the revision that it names |
//! | [`durable`] | what was acknowledged is there at the end, what was refused is not |
//! | [`once`] | a write that was sent again was applied once |
//! | [`stale`] | a read is as stale as it says, and no staler |
//! | [`session`] | who uses the client library reads its own writes, and never goes back in time |
//! | [`leaders`] | a term has one leader |
//! | [`replicas`] | all copies are the same once all is quiet |
//! | [`live`] | writes resume when the fault is gone |

pub mod cut;
pub mod durable;
pub mod leaders;
pub mod linearizable;
pub mod live;
pub mod once;
pub mod order;
pub mod replicas;
mod search;
pub mod session;
pub mod stale;
#[cfg(test)]
mod story;
pub mod write;

use std::fmt;

use crate::torture::record::Record;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Who found it.
    pub judge: &'static str,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.judge, self.what)
    }
}

/// A judge and its name.
pub type Judge = (&'static str, fn(&Record) -> Vec<String>);

/// All judges.
pub const JUDGES: [Judge; 10] = [
    ("linearizable", linearizable::judge),
    ("order", order::judge),
    ("cut", cut::judge),
    ("durable", durable::judge),
    ("once", once::judge),
    ("stale", stale::judge),
    ("session", session::judge),
    ("leaders", leaders::judge),
    ("replicas", replicas::judge),
    ("live", live::judge),
];

/// Everything that is wrong.
pub fn judge(record: &Record) -> Vec<Violation> {
    let by = |(judge, of): &Judge| of(record).into_iter().map(|what| Violation { judge, what }).collect::<Vec<_>>();
    JUDGES.iter().flat_map(by).collect()
}
