//! What may never happen, whatever the network does: one property a file, each with the history that it must not let through.
//!
//! ```
//! use muster_cluster::sim::{Record, Sim, checkers::Checks};
//! use muster_cluster::swim::Config;
//! let config = Config::lan("doc");
//! let mut sim = Sim::new(config.clone(), 42, (Record::default(), Checks::all(&config)));
//! // ... faults ...
//! assert_eq!(sim.watch.1.verdict(), Ok(()));
//! ```

mod broadcast_once;
mod incarnations_rise;
mod no_false_left;
mod no_resurrection;
mod nobody_stays_failed;
mod one_view;
mod packet_budget;
mod stamp_on_disk;
mod suspicion_ends;

use std::fmt;
use std::time::Duration;

pub use broadcast_once::BroadcastOnce;
pub use incarnations_rise::IncarnationsRise;
pub use no_false_left::NoFalseLeft;
pub use no_resurrection::NoResurrection;
pub use nobody_stays_failed::NobodyStaysFailed;
pub use one_view::converges;
pub use packet_budget::PacketBudget;
pub use stamp_on_disk::StampOnDisk;
pub use suspicion_ends::SuspicionEnds;

use super::{Happening, Watch};
use crate::swim::{Config, Stamp, Swim};

/// Violations that are kept; one is enough to fail, and the first ones tell most.
const KEPT: usize = 16;

/// A property of whole runs.
pub trait Checker: fmt::Debug {
    /// Something happened.
    ///
    /// # Errors
    /// What is not as it must be.
    fn note(&mut self, at: Duration, happening: &Happening<'_>) -> Result<(), String>;

    /// A member was handed something.
    ///
    /// # Errors
    /// What is not as it must be.
    fn stepped(&mut self, host: usize, swim: &Swim, disk: Stamp) -> Result<(), String> {
        let _ = (host, swim, disk);
        Ok(())
    }

    /// The run has been calm for long enough.
    ///
    /// # Errors
    /// What is not as it must be by now.
    fn calm(&mut self, at: Duration) -> Result<(), String> {
        let _ = at;
        Ok(())
    }
}

/// Checkers, and what they found.
#[derive(Debug)]
pub struct Checks {
    checkers: Vec<Box<dyn Checker>>,
    broken: Vec<String>,
}

impl Checks {
    /// These.
    #[must_use]
    pub const fn of(checkers: Vec<Box<dyn Checker>>) -> Self {
        Self { checkers, broken: Vec::new() }
    }

    /// All of them, for members with these settings.
    #[must_use]
    pub fn all(config: &Config) -> Self {
        Self::of(vec![
            Box::new(NoResurrection::default()),
            Box::new(IncarnationsRise::default()),
            Box::new(NoFalseLeft::default()),
            Box::new(BroadcastOnce::default()),
            Box::new(SuspicionEnds::new(config)),
            Box::new(PacketBudget),
            Box::new(StampOnDisk::default()),
            Box::new(NobodyStaysFailed::default()),
        ])
    }

    /// Judges the end of a run that has been calm for long enough.
    pub fn calm(&mut self, at: Duration) {
        for checker in &mut self.checkers {
            keep(&mut self.broken, at, checker.calm(at));
        }
    }

    /// Whether all is well so far.
    ///
    /// # Errors
    /// The first violations, each with its time.
    pub fn verdict(&self) -> Result<(), String> {
        if self.broken.is_empty() { Ok(()) } else { Err(self.broken.join("\n")) }
    }
}

fn keep(broken: &mut Vec<String>, at: Duration, judged: Result<(), String>) {
    if let Err(what) = judged
        && broken.len() < KEPT
    {
        broken.push(format!("{:.3}s: {what}", at.as_secs_f64()));
    }
}

impl Watch for Checks {
    fn note(&mut self, at: Duration, happening: &Happening<'_>) {
        for checker in &mut self.checkers {
            keep(&mut self.broken, at, checker.note(at, happening));
        }
    }

    fn stepped(&mut self, at: Duration, host: usize, swim: &Swim, disk: Stamp) {
        for checker in &mut self.checkers {
            keep(&mut self.broken, at, checker.stepped(host, swim, disk));
        }
    }
}

/// Histories for the checkers' own tests.
#[cfg(test)]
mod history {
    use uuid::Uuid;

    use super::*;
    use crate::swim::{Event, Member, MemberState, wire::VERSIONS};

    pub(super) fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    pub(super) fn member(number: u128, stamp: u64) -> Member {
        Member {
            id: id(number),
            address: crate::sim::Sim::<()>::address(1),
            metadata: bytes::Bytes::new(),
            boot: 1,
            versions: VERSIONS,
            state: MemberState::Alive,
            incarnation: Stamp::from_bits(stamp),
            last_heard: None,
            round_trip: None,
            suspected_by: Vec::new(),
            duplicate: false,
        }
    }

    pub(super) const fn started(host: usize, number: u128) -> Happening<'static> {
        Happening::Started { host, id: Uuid::from_u128(number), boot: 1 }
    }

    pub(super) fn heard(checker: &mut impl Checker, host: usize, event: Event) -> Result<(), String> {
        checker.note(Duration::ZERO, &Happening::Heard { host, event: &event })
    }
}
