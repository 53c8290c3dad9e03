//! Probing for others: a member that cannot reach a third one asks us to try.
//!
//! We try until a period is over, and say so when nothing was heard for long enough (a nack): then the asker knows at least that
//! we hear each other, and does not take the silence for its own deafness (Lifeguard, section IV-A).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use super::Swim;
use super::member::MemberState;
use super::timer::Timer;
use super::wire::Message;
use crate::time::Now;

/// Probes for others that are under way at a time; further requests are dropped and counted.
const RELAYS: usize = 1_024;

/// A probe that we do for another.
#[derive(Debug, Clone, Copy)]
struct Relay {
    target: Uuid,
    asked_from: SocketAddr,
    asked_by: Uuid,
    asked_seq: u32,
}

/// What is under way, by our own numbers.
#[derive(Debug, Default)]
pub(super) struct Relays(BTreeMap<u32, Relay>);

impl Relays {
    pub(super) fn end(&mut self, seq: u32) {
        self.0.remove(&seq);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Swim {
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
        if self.relays.len() >= RELAYS {
            self.stats.overloaded += 1;
            return;
        }
        let seq = self.probes.number();
        self.relays.0.insert(seq, Relay { target, asked_from: from, asked_by: sender, asked_seq });
        self.timers.set(now.mono + self.nack_after(target), Timer::RelayNack { seq });
        self.timers.set(now.mono + self.config.probe_interval, Timer::RelayEnds { seq });
        // Our own word for where it is, if we have one.
        let live = self.set.get(&target).and_then(|row| row.state()).is_some_and(MemberState::is_live);
        let address = self.life_of(target).filter(|_| live).map_or(address, |(_, ours)| ours);
        self.send(now, Some(target), address, Some(&Message::Ping { seq, target }));
    }

    /// As long as we would wait for the target ourselves, but early enough to reach the asker before its probe is over, if it has
    /// our settings.
    fn nack_after(&self, target: Uuid) -> Duration {
        let left_to_the_asker = self.config.probe_interval.saturating_sub(self.config.probe_timeout);
        self.time_out_for(target).min(left_to_the_asker * 4 / 5)
    }

    /// The target is silent so far; its answer is still passed on if it comes.
    pub(super) fn say_that_nothing_was_heard(&mut self, now: Now, seq: u32) {
        let Some(relay) = self.relays.0.get(&seq).copied() else { return };
        let nack = Message::Nack { seq: relay.asked_seq, subject: relay.target };
        self.stats.nacks_sent += 1;
        self.send(now, Some(relay.asked_by), relay.asked_from, Some(&nack));
    }

    /// An answer for whoever asked us; whether it was one.
    pub(super) fn pass_ack_on(&mut self, now: Now, sender: Uuid, seq: u32, subject: Uuid) -> bool {
        let Some(relay) = self.relays.0.get(&seq).copied() else { return false };
        if relay.target != subject || sender != subject {
            return false;
        }
        self.relays.end(seq);
        let answer = Message::Ack { seq: relay.asked_seq, subject };
        self.send(now, Some(relay.asked_by), relay.asked_from, Some(&answer));
        true
    }
}
