//! Probing: one member a period, directly, then through others (SWIM, section 3.1).
//!
//! ```text
//!   us ---Ping---> target                    every probe_interval
//!      <---Ack----                           in time: well
//!      ---PingReq---> relays ---Ping---> target   after probe_timeout
//!      <-------Ack---        <---Ack----
//!   nothing after probe_interval: the life that was probed is suspected
//! ```
//!
//! Every probe names the id that it means: whoever has its address now does not answer for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use uuid::Uuid;

use super::lww::{Reason, Removal};
use super::member::MemberState;
use super::timer::Timer;
use super::wire::{Message, Statement};
use super::{Stamp, Swim};
use crate::time::{Mono, Now};

/// Probes for others that are under way at a time; further requests are dropped and counted.
const RELAYS: usize = 1_024;

/// A probe of ours.
#[derive(Debug)]
struct Probe {
    target: Uuid,
    /// The life that is probed.
    stamp: Stamp,
    sent: Mono,
    /// Who was asked to probe for us.
    relays: Vec<Uuid>,
}

/// A probe that we do for another.
#[derive(Debug, Clone, Copy)]
struct Relay {
    target: Uuid,
    asked_from: SocketAddr,
    asked_by: Uuid,
    asked_seq: u32,
}

/// What is under way.
#[derive(Debug)]
pub(super) struct Probes {
    next_seq: u32,
    ours: BTreeMap<u32, Probe>,
    relays: BTreeMap<u32, Relay>,
}

impl Probes {
    /// The first number is random, so that answers to a start before are not taken for answers to this one.
    pub(super) const fn new(first_seq: u32) -> Self {
        Self { next_seq: first_seq, ours: BTreeMap::new(), relays: BTreeMap::new() }
    }

    pub(super) const fn number(&mut self) -> u32 {
        self.next_seq = self.next_seq.wrapping_add(1);
        self.next_seq
    }

    pub(super) fn end_relay(&mut self, seq: u32) {
        self.relays.remove(&seq);
    }
}

impl Swim {
    /// A period begins.
    pub(super) fn probe_next(&mut self, now: Now) {
        if self.own.life.is_none() || self.leaving.has_begun() {
            return;
        }
        let Some(target) = self.roster.advance(&mut self.rng) else { return };
        let Some((stamp, address)) = self.life_of(target) else { return };
        let seq = self.probes.number();
        self.probes.ours.insert(seq, Probe { target, stamp, sent: now.mono, relays: Vec::new() });
        self.timers.set(now.mono + self.config.probe_timeout, Timer::ProbeTimeout { seq });
        self.timers.set(now.mono + self.config.probe_interval, Timer::ProbeEnds { seq });
        self.send(now, Some(target), address, Some(&Message::Ping { seq, target }));
    }

    pub(super) fn probe_indirectly(&mut self, now: Now, seq: u32) {
        let Some(target) = self.probes.ours.get(&seq).map(|probe| probe.target) else { return };
        let Some((_, address)) = self.life_of(target) else { return };
        let relays = self.roster.pick(self.config.indirect_probes, Some(target), &mut self.rng);
        for relay in &relays {
            if let Some((_, to)) = self.life_of(*relay) {
                self.send(now, Some(*relay), to, Some(&Message::PingReq { seq, target, address }));
            }
        }
        if let Some(probe) = self.probes.ours.get_mut(&seq) {
            probe.relays = relays;
        }
    }

    pub(super) fn end_probe(&mut self, now: Now, due: Mono, seq: u32) {
        let Some(Probe { target: id, stamp, .. }) = self.probes.ours.remove(&seq) else { return };
        if now.mono.saturating_since(due) > self.config.probe_timeout {
            // We were asleep ourselves: the answer may have come and still wait for us.
            return;
        }
        let row = self.set.get(&id);
        let still_that_life = row.and_then(|row| row.life.as_ref()).is_some_and(|life| life.stamp == stamp);
        if still_that_life && row.and_then(|row| row.state()) == Some(MemberState::Alive) {
            self.take_in(now, Statement::Suspect { id, stamp, by: self.identity.id }, None);
        }
    }

    pub(super) fn end_suspicion(&mut self, now: Now, due: Mono, id: Uuid, stamp: Stamp) {
        if !self.suspicions.is_running(id, stamp) {
            return;
        }
        if now.mono.saturating_since(due) > self.config.probe_interval {
            // Asleep again, and maybe deaf to a refutation: the suspect gets its time once more.
            self.arm_suspicion(now.mono, id, stamp);
            return;
        }
        let removal = Removal { stamp, reason: Reason::Failed };
        self.take_in(now, Statement::Removed { id, removal, age_secs: 0 }, None);
    }

    /// One of those given up: if it answers, the partition is over, and both sides say to each other what they thought. The answer
    /// is not waited for.
    pub(super) fn probe_a_dead_one(&mut self, now: Now) {
        if self.own.life.is_none() || self.leaving.has_begun() {
            return;
        }
        let failed: Vec<Uuid> =
            self.set.iter().filter(|(_, row)| row.state() == Some(MemberState::Failed)).map(|(id, _)| *id).collect();
        let Some(target) = rand::seq::IndexedRandom::choose(failed.as_slice(), &mut self.rng).copied() else { return };
        let Some((_, address)) = self.life_of(target) else { return };
        let seq = self.probes.number();
        self.send(now, Some(target), address, Some(&Message::Ping { seq, target }));
    }

    pub(super) fn handle_ping(&mut self, now: Now, sender: Uuid, from: SocketAddr, seq: u32, target: Uuid) {
        if target != self.identity.id {
            self.stats.not_for_us += 1;
            return;
        }
        // Without a stamp there is no life yet to vouch for.
        if self.own.life.is_some() {
            self.send(now, Some(sender), from, Some(&Message::Ack { seq, subject: target }));
        }
    }

    pub(super) fn handle_ping_req(
        &mut self,
        now: Now,
        sender: Uuid,
        from: SocketAddr,
        (asked_seq, target, address): (u32, Uuid, SocketAddr),
    ) {
        if self.own.life.is_none() {
            return;
        }
        if target == self.identity.id {
            self.send(now, Some(sender), from, Some(&Message::Ack { seq: asked_seq, subject: target }));
            return;
        }
        if self.probes.relays.len() >= RELAYS {
            self.stats.overloaded += 1;
            return;
        }
        let seq = self.probes.number();
        self.probes.relays.insert(seq, Relay { target, asked_from: from, asked_by: sender, asked_seq });
        self.timers.set(now.mono + self.config.probe_interval, Timer::RelayEnds { seq });
        // Our own word for where it is, if we have one.
        let live = self.set.get(&target).and_then(|row| row.state()).is_some_and(MemberState::is_live);
        let address = self.life_of(target).filter(|_| live).map_or(address, |(_, ours)| ours);
        self.send(now, Some(target), address, Some(&Message::Ping { seq, target }));
    }

    pub(super) fn handle_ack(&mut self, now: Now, sender: Uuid, seq: u32, subject: Uuid) {
        if let Some(relay) = self.probes.relays.get(&seq).copied()
            && relay.target == subject
            && sender == subject
        {
            self.probes.relays.remove(&seq);
            let answer = Message::Ack { seq: relay.asked_seq, subject };
            self.send(now, Some(relay.asked_by), relay.asked_from, Some(&answer));
            return;
        }
        if let Some(probe) = self.probes.ours.get(&seq)
            && probe.target == subject
            && (sender == subject || probe.relays.contains(&sender))
        {
            let round_trip = now.mono.saturating_since(probe.sent);
            self.probes.ours.remove(&seq);
            if sender == subject
                && let Some(peer) = self.peers.get_mut(&subject)
            {
                peer.round_trip = Some(round_trip);
            }
        }
        if sender == subject {
            self.confirm_leave(sender, seq);
        }
    }

    /// The stamp and address of a member's newest life.
    pub(super) fn life_of(&self, id: Uuid) -> Option<(Stamp, SocketAddr)> {
        self.set.get(&id)?.life.as_ref().map(|life| (life.stamp, life.address))
    }
}
