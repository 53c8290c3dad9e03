//! Our own life: how it gets its stamps, how it is defended, and how we notice that it is not ours alone.
//!
//! ```text
//!   a stamp is wanted --PersistStamp--> disk --StampPersisted--> it is used: our row, and news of it
//!        ^                                                            |
//!        +--- accused meanwhile of something at or above it ----------+
//! ```
//!
//! One stamp is under way at a time, and whatever happens meanwhile (more accusations, new metadata) is served by the same one or
//! by the next. So a storm of accusations costs no more syncs than the disk can do, and a stamp that was never persisted is never
//! seen by anybody.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::event::Event;
use super::io::{Output, Refused};
use super::ledger::Note;
use super::lww::{Life, Removal};
use super::member::reachable;
use super::membership::{DUPLICATE_FOR, Teller};
use super::suspicion;
use super::timer::Timer;
use super::wire::{MAX_METADATA, Statement, VERSIONS};
use super::{Stamp, Swim};
use crate::time::{Mono, Now};

/// Accusers that hear our defence directly; others hear it by gossip.
const ACCUSERS: usize = 16;

/// What we know of ourselves.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// As others may know it: its stamp is on the disk.
    pub(super) life: Option<Arc<Life>>,
    /// Whether others may know it: not before we have listened to one of them, if there are any.
    pub(super) announced: bool,
    /// Whether we have listened.
    pub(super) synced: bool,
    /// See [`Event::SetBack`].
    pub(super) set_back: bool,
    /// Until when we take it that there is another one of us.
    pub(super) duplicate_until: Option<Mono>,
    /// The stamp that is on its way to the disk.
    pending: Option<Stamp>,
    /// The first stamp of this start.
    first: Option<Stamp>,
    /// The highest stamp that must be outranked.
    accused: Stamp,
    /// The highest life under our id that others hold to be dead or suspect. To hear of it again does not say that it lives.
    doubted: Stamp,
    /// The highest life of ours that others ended. It enters our row once it is outlived: the dictionaries are the same everywhere,
    /// but in our own eyes we are never dead.
    ended: Option<Removal>,
    /// Who is to hear the defence.
    accusers: Vec<Teller>,
    /// Somebody else spoke under our id, with a stamp above ours.
    contested: bool,
    /// The stamp with which we answered that.
    outranked_with: Option<Stamp>,
    /// No defence before this, while there are two of us: or the two would outrank each other as fast as packets fly.
    wait_until: Option<Mono>,
}

impl Own {
    fn stamp(&self) -> Stamp {
        self.life.as_ref().map_or(Stamp::ZERO, |life| life.stamp)
    }

    /// The next stamp is to be above this one.
    pub(super) fn outrank(&mut self, stamp: Stamp) {
        self.accused = self.accused.max(stamp);
    }

    pub(super) fn forget_double(&mut self, now: Mono) {
        self.duplicate_until = self.duplicate_until.filter(|until| *until > now);
    }
}

impl Swim {
    /// Goes on with a life that the disk and the others have already.
    pub(super) fn go_on(&mut self, life: Arc<Life>) {
        self.own.first = Some(life.stamp);
        self.own.life = Some(life);
        self.own.announced = true;
        self.own.synced = true;
    }

    /// Asks for a fresh stamp to be persisted, above everything that we are accused of.
    pub(super) fn request_stamp(&mut self, now: Now) {
        if self.own.pending.is_some() || self.leaving.has_begun() {
            return;
        }
        let stamp = self.clock.tick(now.wall, self.own.accused.max(self.own.stamp()));
        self.own.pending = Some(stamp);
        self.outputs.push_back(Output::PersistStamp { stamp });
    }

    pub(super) fn handle_stamp_persisted(&mut self, now: Now, stamp: Stamp) {
        if self.own.pending != Some(stamp) || self.leaving.has_begun() {
            return;
        }
        self.own.pending = None;
        if self.own.accused >= stamp {
            // Accused of more while it was on its way. This one stays unused.
            self.request_stamp(now);
            return;
        }
        let life = Arc::new(Life {
            stamp,
            boot: self.identity.boot,
            address: self.identity.address,
            versions: VERSIONS,
            metadata: self.identity.metadata.as_ref().into(),
        });
        self.own.first.get_or_insert(stamp);
        if std::mem::take(&mut self.own.contested) {
            self.own.outranked_with = Some(stamp);
        }
        self.own.life = Some(Arc::clone(&life));
        let id = self.identity.id;
        if !self.own.announced {
            self.set.conceal(id);
        }
        self.set.change(id, |row| {
            row.life = Some(life);
            true
        });
        self.note_outlived(now.mono);
        if self.own.announced {
            self.spread_our_word(now);
        } else {
            self.announce(now);
        }
        for accuser in std::mem::take(&mut self.own.accusers) {
            self.send_news(now, accuser.id, accuser.address);
        }
    }

    /// Announces us, once we have a stamp and have listened (or there is nobody to listen to); whether that happened now.
    pub(super) fn announce(&mut self, now: Now) -> bool {
        let ready = self.own.life.is_some() && (self.own.synced || self.seeds.is_empty());
        if !ready || self.own.announced || self.leaving.has_begun() {
            return false;
        }
        self.own.announced = true;
        self.set.reveal(self.identity.id);
        self.spread_our_word(now);
        true
    }

    fn spread_our_word(&mut self, now: Now) {
        let id = self.identity.id;
        if self.own.life.is_some() {
            self.tell_of(id);
            // A defence does not wait for the tick.
            self.gossip(now);
        }
    }

    /// Puts the end of an earlier life of ours into the dictionaries.
    fn note_outlived(&mut self, now: Mono) {
        let id = self.identity.id;
        let Some(removal) = self.own.ended.filter(|ended| ended.stamp < self.own.stamp()) else { return };
        if self.set.change(id, |row| row.remove(removal)) {
            self.records.entry(id).or_default().entomb(now);
            self.set.unfade(id);
        }
    }

    /// Whether it accuses a life of ours that is over: who says so has not heard of the one that we are in.
    pub(super) fn have_outlived(&self, statement: &Statement) -> bool {
        let accuses = matches!(statement, Statement::Suspect { .. } | Statement::Removed { .. });
        accuses && self.own.announced && statement.id() == self.identity.id && statement.stamp() < self.own.stamp()
    }

    /// Somebody speaks of us.
    pub(super) fn hear_of_ourselves(&mut self, now: Now, statement: &Statement, teller: Option<Teller>) {
        let stamp = statement.stamp();
        let (ours, held) = (self.own.stamp(), self.identity.last_stamp);
        let beyond_our_disk = stamp > held;
        match statement {
            Statement::Alive { life, .. } if life.boot == self.identity.boot => {
                if stamp <= ours {
                    return;
                }
            }
            Statement::Alive { life, .. } => {
                if beyond_our_disk {
                    self.note_set_back(stamp);
                }
                if stamp < ours {
                    return;
                }
                if self.own.outranked_with.is_some_and(|answer| stamp > answer) && stamp > self.own.doubted {
                    self.note_double(now, life.boot);
                }
                self.own.contested = true;
            }
            Statement::Suspect { .. } | Statement::Removed { .. } => {
                self.own.doubted = self.own.doubted.max(stamp);
                if let Statement::Removed { removal, .. } = statement
                    && self.own.ended.is_none_or(|ended| ended.stamp < removal.stamp)
                {
                    self.own.ended = Some(*removal);
                    self.note_outlived(now.mono);
                }
                // Not of this start, and not of one before that the disk knows.
                let foreign = self.own.first.is_none_or(|first| stamp < first || stamp > ours);
                if beyond_our_disk && foreign {
                    self.note_set_back(stamp);
                }
                if stamp < ours {
                    return;
                }
                if self.own.accused < stamp {
                    // Others did not hear us in time; we may well be the slow one.
                    self.feel_worse(1);
                    if let Statement::Suspect { by, .. } = statement {
                        let id = self.identity.id;
                        for by in by {
                            self.ledger.note(*by, id, Note::Accused);
                            self.ledger.note(*by, id, Note::Refuted);
                        }
                    }
                }
            }
        }
        self.own.accused = self.own.accused.max(stamp);
        if let Some(teller) = teller
            && self.own.accusers.len() < ACCUSERS
            && self.own.accusers.iter().all(|other| other.id != teller.id)
        {
            self.own.accusers.push(teller);
        }
        self.refute(now);
    }

    /// Outranks what we are accused of, if we are.
    pub(super) fn refute(&mut self, now: Now) {
        if self.own.life.is_none() || self.own.accused < self.own.stamp() {
            // The first stamp is on its way, and checks for accusations itself; or all is answered.
            return;
        }
        if let Some(until) = self.own.wait_until.filter(|until| *until > now.mono) {
            self.timers.set(until, Timer::Refute);
            return;
        }
        self.request_stamp(now);
    }

    fn note_set_back(&mut self, heard: Stamp) {
        if !self.own.set_back {
            self.own.set_back = true;
            self.event(Event::SetBack { heard, held: self.identity.last_stamp });
        }
    }

    fn note_double(&mut self, now: Now, boot: u64) {
        if self.own.duplicate_until.is_none() {
            self.event(Event::Duplicate { id: self.identity.id, boots: [self.identity.boot, boot] });
        }
        self.own.duplicate_until = Some(now.mono + DUPLICATE_FOR);
        // As long as others give us to refute: so we are suspected now and then while this lasts, and not removed for good.
        let patience = suspicion::time_out(self.config.suspicion_multiplier, self.config.probe_interval, 1);
        self.own.wait_until = Some(now.mono + patience);
    }

    pub(super) fn handle_metadata(&mut self, now: Now, metadata: Bytes) -> Result<(), Refused> {
        if metadata.len() > MAX_METADATA {
            return Err(Refused::TooLarge { what: "metadata", len: metadata.len(), max: MAX_METADATA });
        }
        self.refuse_if_leaving()?;
        if metadata != self.identity.metadata {
            self.identity.metadata = metadata;
            self.request_stamp(now);
        }
        Ok(())
    }

    pub(super) fn handle_address(&mut self, now: Now, address: SocketAddr) -> Result<(), Refused> {
        if !reachable(&address) {
            return Err(Refused::Unreachable(address));
        }
        self.refuse_if_leaving()?;
        if address != self.identity.address {
            self.identity.address = address;
            self.request_stamp(now);
        }
        Ok(())
    }

    pub(super) const fn refuse_if_leaving(&self) -> Result<(), Refused> {
        if self.leaving.has_begun() { Err(Refused::Leaving) } else { Ok(()) }
    }
}
