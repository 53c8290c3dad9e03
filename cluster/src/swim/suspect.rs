//! The suspicions of a [`Swim`]: how they begin, what confirms them, and until when.

use uuid::Uuid;

use super::ledger::Note;
use super::suspicion;
use super::timer::Timer;
use super::wire::Statement;
use super::{Stamp, Swim};
use crate::time::Mono;

/// When hardly anybody is left to confirm suspicions, those that run are shortened, if there are no more than this. Of a large cluster
/// that is suspected as a whole we are the part that was cut off, and nobody waits for our verdicts.
const RECONSIDERED: usize = 64;

impl Swim {
    /// A life is suspected, perhaps since before; `told` is what said so.
    pub(super) fn begin_suspicion(&mut self, now: Mono, id: Uuid, stamp: Stamp, told: &Statement) {
        // Up to a tenth more, never less: members that heard of it together should not all announce the end.
        let jitter = rand::RngExt::random_range(&mut self.rng, 1_000..=1_100);
        if self.suspicions.running(id).is_some_and(|running| running.stamp != stamp) {
            // A newer life is suspected as well: it outlived the suspicion of the old one.
            self.conclude_suspicion(id, true);
        }
        if !self.suspicions.start(id, stamp, now, jitter) {
            return;
        }
        if let Statement::Suspect { stamp: accused, by, .. } = told
            && *accused == stamp
        {
            self.accuse(id, stamp, by);
        }
        self.arm_suspicion(now, id);
        if self.could_confirm() < self.config.suspicion_confirmations && self.suspicions.len() <= RECONSIDERED {
            // One less who could confirm the others.
            let others: Vec<Uuid> = self.suspicions.ids().filter(|other| *other != id).collect();
            for other in others {
                self.arm_suspicion(now, other);
            }
        }
    }

    /// A suspicion that we know of is said again: by somebody new, it is a confirmation, and passed on.
    pub(super) fn confirm_suspicion(&mut self, now: Mono, id: Uuid, stamp: Stamp, by: &[Uuid]) {
        if !self.accuse(id, stamp, by) {
            return;
        }
        self.arm_suspicion(now, id);
        self.tell_of(id);
    }

    /// Adds accusers, as far as they count; whether there was a new one.
    fn accuse(&mut self, id: Uuid, stamp: Stamp, by: &[Uuid]) -> bool {
        let most = if self.config.lifeguard.suspicion { self.config.suspicion_confirmations + 1 } else { 1 };
        let before = self.suspicions.running(id).map_or(0, |running| running.accusers().len());
        for by in by.iter().filter(|by| **by != id) {
            if self.suspicions.accuse(id, stamp, *by, most) {
                self.ledger.note(*by, id, Note::Accused);
            }
        }
        self.suspicions.running(id).is_some_and(|running| running.accusers().len() > before)
    }

    /// Those beside the first accuser who are not suspected themselves.
    fn could_confirm(&self) -> usize {
        self.roster.len().saturating_sub(self.suspicions.len())
    }

    /// Sets the clock of a suspicion by the accusers that it has now. A clock that was set later is stale then.
    fn arm_suspicion(&mut self, now: Mono, id: Uuid) {
        let config = &self.config;
        let least = suspicion::time_out(config.suspicion_multiplier, config.probe_interval, self.live());
        let most = least.saturating_mul(config.suspicion_max_multiplier);
        let wanted =
            if config.lifeguard.suspicion { config.suspicion_confirmations.min(self.could_confirm()) } else { 0 };
        let Some(running) = self.suspicions.running_mut(id) else { return };
        let after = suspicion::shrunk(least, most, running.confirmations(), wanted);
        running.deadline = (running.since + after.saturating_mul(running.jitter) / 1_000).max(now);
        let (at, stamp) = (running.deadline, running.stamp);
        self.timers.set(at, Timer::SuspicionEnds { id, stamp });
    }

    /// The suspicion is over: the suspect lives, or it does not.
    pub(super) fn conclude_suspicion(&mut self, id: Uuid, lives: bool) {
        let Some(suspicion) = self.suspicions.end(id) else { return };
        let note = if lives { Note::Refuted } else { Note::Upheld };
        for by in suspicion.accusers() {
            self.ledger.note(*by, id, note);
        }
    }

    /// The suspect gets its time once more.
    pub(super) fn give_time_again(&mut self, now: Mono, id: Uuid) {
        if let Some(running) = self.suspicions.running_mut(id) {
            running.since = now;
        }
        self.arm_suspicion(now, id);
    }
}
