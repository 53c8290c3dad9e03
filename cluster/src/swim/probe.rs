//! Probing: one member a period (or some), directly, then through others and over a stream (SWIM, section 3.1).
//!
//! ```text
//!   us ---Ping---> target                          every probe_interval
//!      <---Ack----                                 in time: well
//!      ---PingReq---> relays ---Ping---> target    after the time-out
//!      <-------Ack---        <---Ack----
//!      <------Nack---        nothing in time       we hear the relay, and it hears nothing either
//!      ---stream, Ping---> target                  at the same time
//!   nothing after probe_interval: the life that was probed is suspected
//! ```
//!
//! Every probe names the id that it means: whoever has its address now does not answer for it. The number of a probe only has to differ
//! from those under way, so it wraps without harm.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use uuid::Uuid;

use super::config::MAX_INDIRECT_PROBES;
use super::lww::{Reason, Removal};
use super::member::MemberState;
use super::round_trips;
use super::timer::Timer;
use super::wire::{Message, NACK_SINCE, Statement};
use super::{Stamp, Swim};
use crate::time::{Mono, Now};

/// A late period timer is a sign of our own slowness from this part of the time-out on.
const LATE: u32 = 2;

/// How the first answer to a probe came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    Indirect,
    Stream,
}

/// Who was asked to probe for us, and who of them said anything.
#[derive(Debug, Clone, Copy)]
struct Asked {
    ids: [Uuid; MAX_INDIRECT_PROBES],
    count: usize,
    /// Bit `i`: it can say that it heard nothing.
    can_deny: u32,
    /// Bit `i`: it answered, either way.
    spoke: u32,
}

impl Asked {
    const NOBODY: Self = Self { ids: [Uuid::nil(); MAX_INDIRECT_PROBES], count: 0, can_deny: 0, spoke: 0 };

    fn add(&mut self, id: Uuid, can_deny: bool) {
        if let Some(place) = self.ids.get_mut(self.count) {
            *place = id;
            self.can_deny |= u32::from(can_deny) << self.count;
            self.count += 1;
        }
    }

    /// Whether it was asked; it has spoken now.
    fn hear(&mut self, id: Uuid) -> bool {
        let place = self.ids.iter().take(self.count).position(|asked| *asked == id);
        self.spoke |= place.map_or(0, |place| 1 << place);
        place.is_some()
    }

    /// How many could have said that they heard nothing, and how many of these said nothing.
    fn missed(&self) -> (u32, u32) {
        (self.can_deny.count_ones(), (self.can_deny & !self.spoke).count_ones())
    }
}

/// A probe of ours.
#[derive(Debug)]
struct Probe {
    seq: u32,
    target: Uuid,
    /// The life that is probed.
    stamp: Stamp,
    sent: Mono,
    answered: bool,
    /// The target itself answered: its round trip is known.
    measured: bool,
    asked: Asked,
    /// The stream that was tried.
    stream: Option<u64>,
}

/// What is under way: a few, so they are looked through.
#[derive(Debug)]
pub(super) struct Probes {
    next_seq: u32,
    ours: Vec<Probe>,
}

impl Probes {
    /// The first number is random, so that answers to a start before are not taken for answers to this one.
    pub(super) const fn new(first_seq: u32) -> Self {
        Self { next_seq: first_seq, ours: Vec::new() }
    }

    pub(super) const fn number(&mut self) -> u32 {
        self.next_seq = self.next_seq.wrapping_add(1);
        self.next_seq
    }

    fn get(&self, seq: u32) -> Option<&Probe> {
        self.ours.iter().find(|probe| probe.seq == seq)
    }

    fn get_mut(&mut self, seq: u32) -> Option<&mut Probe> {
        self.ours.iter_mut().find(|probe| probe.seq == seq)
    }

    fn take(&mut self, seq: u32) -> Option<Probe> {
        let place = self.ours.iter().position(|probe| probe.seq == seq)?;
        Some(self.ours.swap_remove(place))
    }

    /// Who is probed in which life by the one with this number, while it is not answered.
    pub(super) fn open(&self, seq: u32) -> Option<Uuid> {
        self.get(seq).filter(|probe| !probe.answered).map(|probe| probe.target)
    }

    pub(super) fn set_stream(&mut self, seq: u32, stream: u64) {
        if let Some(probe) = self.get_mut(seq) {
            probe.stream = Some(stream);
        }
    }

    /// The probe that this stream belongs to.
    pub(super) fn of_stream(&self, stream: u64) -> Option<u32> {
        self.ours.iter().find(|probe| probe.stream == Some(stream)).map(|probe| probe.seq)
    }

    /// Forgets the stream; whether it was known.
    pub(super) fn end_stream(&mut self, stream: u64) -> bool {
        let probe = self.ours.iter_mut().find(|probe| probe.stream == Some(stream));
        probe.is_some_and(|probe| probe.stream.take().is_some())
    }
}

impl Swim {
    /// A period begins, and says when the next one does.
    pub(super) fn begin_period(&mut self, now: Now, due: Mono) {
        let late = now.mono.saturating_since(due);
        if late > self.config.probe_timeout / LATE {
            self.stats.timers_late += 1;
            if self.config.lifeguard.lateness {
                self.feel_worse(1);
            }
        }
        let period = self.stretched(self.config.probe_interval);
        let next = self.jittered(period);
        self.timers.set(now.mono + next, Timer::Probe);
        if self.own.life.is_none() || self.leaving.has_begun() {
            return;
        }
        for _ in 0..self.config.direct_probes.min(self.roster.len()) {
            let Some(target) = self.next_to_probe() else { return };
            // Where a round ends and the next begins, one may come twice.
            if !self.probes.ours.iter().any(|probe| probe.target == target && probe.sent == now.mono) {
                self.probe(now, target);
            }
        }
    }

    fn probe(&mut self, now: Now, target: Uuid) {
        let Some((stamp, address)) = self.life_of(target) else { return };
        let seq = self.probes.number();
        self.probes.ours.push(Probe {
            seq,
            target,
            stamp,
            sent: now.mono,
            answered: false,
            measured: false,
            asked: Asked::NOBODY,
            stream: None,
        });
        self.stats.probes += 1;
        let time_out = self.stretched(self.time_out_for(target));
        self.timers.set(now.mono + time_out, Timer::ProbeTimeout { seq });
        let period = self.stretched(self.config.probe_interval);
        self.timers.set(now.mono + period, Timer::ProbeEnds { seq });
        self.send(now, Some(target), address, Some(&Message::Ping { seq, target }));
    }

    /// How long a direct answer of this member is waited for while we are well.
    pub(super) fn time_out_for(&self, target: Uuid) -> Duration {
        let peer = self.set.slot(&target).and_then(|slot| self.peers.get(&slot));
        let own = peer.map(|peer| peer.round_trips).unwrap_or_default();
        let (least, most) = (self.config.probe_timeout_min, self.config.probe_timeout);
        round_trips::time_out(&own, &self.round_trips, least, most)
    }

    /// As long as our health stretches it.
    pub(super) fn stretched(&self, duration: Duration) -> Duration {
        if self.config.lifeguard.probe { self.health.stretch(duration) } else { duration }
    }

    pub(super) fn feel_worse(&mut self, by: u32) {
        if self.config.lifeguard.probe {
            self.health.worse(by);
        }
    }

    pub(super) fn probe_indirectly(&mut self, now: Now, seq: u32) {
        let Some(target) = self.probes.open(seq) else { return };
        let Some((_, address)) = self.life_of(target) else { return };
        let relays = self.pick(self.config.indirect_probes, Some(target));
        let mut asked = Asked::NOBODY;
        for relay in relays {
            let Some(life) = self.set.get(&relay).and_then(|row| row.life.as_ref()) else { continue };
            asked.add(relay, life.versions.max >= NACK_SINCE);
            let to = life.address;
            self.send(now, Some(relay), to, Some(&Message::PingReq { seq, target, address }));
        }
        if let Some(probe) = self.probes.get_mut(seq) {
            probe.asked = asked;
        }
        if self.config.stream_probes {
            self.probe_by_stream(seq, target, address);
        }
    }

    pub(super) fn end_probe(&mut self, now: Now, due: Mono, seq: u32) {
        let Some(Probe { target: id, stamp, answered, measured, asked, stream, .. }) = self.probes.take(seq) else {
            return;
        };
        if let Some(stream) = stream {
            self.close_stream(stream);
        }
        if answered {
            self.loss.note(measured);
            return;
        }
        if now.mono.saturating_since(due) > self.config.probe_timeout {
            // We were asleep ourselves: the answer may have come and still wait for us.
            return;
        }
        let row = self.set.get(&id);
        let still_that_life = row.and_then(|row| row.life.as_ref()).is_some_and(|life| life.stamp == stamp);
        if !still_that_life || !row.and_then(|row| row.state()).is_some_and(MemberState::is_live) {
            return;
        }
        self.stats.probes_failed += 1;
        let (could_deny, missed) = asked.missed();
        self.stats.nacks_missed += u64::from(missed);
        self.feel_worse(if could_deny == 0 { 1 } else { missed });
        self.take_in(now, Statement::suspect(id, stamp, self.identity.id), None);
    }

    pub(super) fn end_suspicion(&mut self, now: Now, due: Mono, id: Uuid, stamp: Stamp) {
        let running = self.suspicions.running(id);
        if !running.is_some_and(|running| running.stamp == stamp && running.deadline <= now.mono) {
            return;
        }
        if now.mono.saturating_since(due) > self.config.probe_interval {
            // Asleep again, and maybe deaf to a refutation: the suspect gets its time once more.
            self.give_time_again(now.mono, id);
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
        if self.failed.is_empty() {
            return;
        }
        let chosen = self.rng.random_range(0..self.failed.len());
        let Some(target) = self.failed.iter().nth(chosen).copied() else { return };
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

    pub(super) fn handle_ack(&mut self, now: Now, sender: Uuid, seq: u32, subject: Uuid) {
        if self.pass_ack_on(now, sender, seq, subject) {
            return;
        }
        if let Some(probe) = self.probes.get_mut(seq).filter(|probe| probe.target == subject) {
            if sender == subject {
                let measured = std::mem::replace(&mut probe.measured, true);
                let round_trip = now.mono.saturating_since(probe.sent);
                if !measured {
                    self.note_round_trip(subject, round_trip);
                }
                self.probe_answered(seq, Way::Direct);
            } else if probe.asked.hear(sender) {
                self.probe_answered(seq, Way::Indirect);
            }
        }
        if sender == subject {
            self.confirm_leave(sender, seq);
        }
    }

    /// A relay heard nothing of the target; but we hear the relay.
    pub(super) fn handle_nack(&mut self, sender: Uuid, seq: u32, subject: Uuid) {
        let probe = self.probes.get_mut(seq).filter(|probe| probe.target == subject);
        if probe.is_some_and(|probe| probe.asked.hear(sender)) {
            self.stats.nacks_received += 1;
        }
    }

    /// The target lives. Only the first answer counts.
    pub(super) fn probe_answered(&mut self, seq: u32, way: Way) {
        let Some(probe) = self.probes.get_mut(seq).filter(|probe| !probe.answered) else { return };
        probe.answered = true;
        let target = probe.target;
        match way {
            Way::Direct => self.stats.probes_direct += 1,
            Way::Indirect => self.stats.probes_indirect += 1,
            Way::Stream => {
                self.stats.probes_stream += 1;
                self.stats.last_by_stream = Some(target);
            }
        }
        self.health.better();
    }

    fn note_round_trip(&mut self, with: Uuid, round_trip: Duration) {
        self.round_trips.note(round_trip);
        if let Some(slot) = self.set.slot(&with) {
            self.peers.entry(slot).or_default().round_trips.note(round_trip);
        }
    }

    fn next_to_probe(&mut self) -> Option<Uuid> {
        let slot = self.roster.advance(&mut self.rng)?;
        self.set.id_at(slot)
    }

    /// Up to `count` different live members at random, without `but`.
    pub(super) fn pick(&mut self, count: usize, but: Option<Uuid>) -> Vec<Uuid> {
        let but = but.and_then(|id| self.set.slot(&id));
        let slots = self.roster.pick(count, but, &mut self.rng);
        slots.into_iter().filter_map(|slot| self.set.id_at(slot)).collect()
    }

    /// The stamp and address of a member's newest life.
    pub(super) fn life_of(&self, id: Uuid) -> Option<(Stamp, SocketAddr)> {
        self.set.get(&id)?.life.as_ref().map(|life| (life.stamp, life.address))
    }
}
