//! Goodbye: said until somebody confirms it, not once into the dark.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::Swim;
use super::event::Event;
use super::lww::{Reason, Removal};
use super::timer::Timer;
use super::wire::Message;
use crate::time::Now;

/// Members that must have confirmed it, if there are so many: any of them spreads the word.
const CONFIRMATIONS: usize = 3;

/// How far we are.
#[derive(Debug)]
pub(super) enum Leaving {
    /// We stay.
    No,
    /// Others are being told.
    Begun {
        /// The numbers of the probes that carry it.
        probes: BTreeSet<u32>,
        /// Who confirmed.
        heard_by: BTreeSet<Uuid>,
    },
    /// We are gone.
    Over,
}

impl Leaving {
    pub(super) const fn has_begun(&self) -> bool {
        match self {
            Self::No => false,
            Self::Begun { .. } | Self::Over => true,
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        match self {
            Self::No | Self::Begun { .. } => false,
            Self::Over => true,
        }
    }
}

impl Swim {
    pub(super) fn handle_leave(&mut self, now: Now) {
        if self.leaving.has_begun() {
            return;
        }
        self.leaving = Leaving::Begun { probes: BTreeSet::new(), heard_by: BTreeSet::new() };
        let stamp = self.own.life.as_ref().filter(|_| self.own.announced).map(|life| life.stamp);
        let Some(stamp) = stamp.filter(|_| !self.roster.is_empty()) else {
            // Nobody knows us.
            self.finish_leave();
            return;
        };
        let id = self.identity.id;
        let removal = Removal { stamp, reason: Reason::Left };
        self.set.change(id, |row| row.remove(removal));
        self.tell_of(id);
        self.timers.set(now.mono + self.config.leave_timeout, Timer::LeaveEnds);
        self.say_goodbye(now);
    }

    /// Tells some who have not confirmed it, by a probe: its answer is the confirmation.
    pub(super) fn say_goodbye(&mut self, now: Now) {
        let id = self.identity.id;
        let Leaving::Begun { heard_by, .. } = &self.leaving else { return };
        // So many that enough of them have not confirmed it yet.
        let others = self.pick(CONFIRMATIONS + heard_by.len(), None);
        let Leaving::Begun { probes, heard_by } = &mut self.leaving else { return };
        let mut told = Vec::new();
        for target in others.into_iter().filter(|target| !heard_by.contains(target)).take(CONFIRMATIONS) {
            let seq = self.probes.number();
            probes.insert(seq);
            told.push((seq, target));
        }
        for (seq, target) in told {
            // Queued afresh for each, so that it is surely in the packet.
            self.tell_of(id);
            if let Some((_, address)) = self.life_of(target) {
                self.send(now, Some(target), address, Some(&Message::Ping { seq, target }));
            }
        }
    }

    pub(super) fn confirm_leave(&mut self, by: Uuid, seq: u32) {
        let Leaving::Begun { probes, heard_by } = &mut self.leaving else { return };
        if probes.contains(&seq) {
            heard_by.insert(by);
            if heard_by.len() >= CONFIRMATIONS.min(self.roster.len()) {
                self.finish_leave();
            }
        }
    }

    pub(super) fn finish_leave(&mut self) {
        let heard_by = match std::mem::replace(&mut self.leaving, Leaving::Over) {
            Leaving::Begun { heard_by, .. } => heard_by.len(),
            Leaving::No | Leaving::Over => return,
        };
        self.timers.clear();
        self.event(Event::LeaveDone { heard_by });
    }
}
