//! The full state over streams: with a random member now and then, with the seeds until there is somebody, and with whoever turns
//! up unexpectedly.
//!
//! ```text
//!   dialler ---Sync{answer wanted}, all statements---> acceptor
//!           <--Sync, all statements (from before it merged ours)---
//! ```
//!
//! The answer is made before the question is merged: so a member that was set back hears the stamp that the cluster has of it,
//! before its new one has replaced that. And a starting member does not send its own row until it has heard somebody's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::seq::SliceRandom;
use uuid::Uuid;

use super::Swim;
use super::event::Event;
use super::io::{MAX_SEEDS, Output, StreamId};
use super::member::{MemberState, reachable};
use super::membership::Teller;
use super::timer::Timer;
use super::wire::{MAX_FRAME, Message, VERSIONS, head};
use crate::time::{Mono, Now};

/// Exchanges that we have under way at a time; more are not begun, and counted.
const DIALLED: usize = 4;

/// Seeds that are tried at a time while we are alone.
const SEEDS_AT_ONCE: usize = 3;

/// While we are alone, seeds are tried at least every this many protocol periods: somebody waits for us.
const ALONE_PERIODS: u32 = 2;

/// Members that a frame newly accuses and that hear of it from us directly, so that they can refute within a round trip. When two
/// halves meet again, each accuses all of the other's.
const TOLD_DIRECTLY: usize = 32;

/// The longest set of statements of one member.
const LONGEST_ROW: usize = 1_024;

/// An exchange that we began.
#[derive(Debug)]
struct Dialled {
    to: SocketAddr,
    target: Option<Uuid>,
    /// Hashes were answered, which is done once.
    asked: bool,
}

impl Dialled {
    /// Whether this is the first time.
    const fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.asked, true)
    }
}

/// The exchanges under way.
#[derive(Debug, Default)]
pub(super) struct Streams {
    next: u64,
    dialled: BTreeMap<u64, Dialled>,
    /// Strangers and the dead are not dialled before this, so that their packets cannot make us dial without end.
    next_contact: Mono,
}

impl Streams {
    /// A number for a stream that we dial.
    pub(super) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Exchanges that we began and that are under way.
    pub(super) fn len(&self) -> usize {
        self.dialled.len()
    }

    fn goes_to(&self, address: SocketAddr, target: Option<Uuid>) -> bool {
        self.dialled.values().any(|stream| stream.to == address || (target.is_some() && stream.target == target))
    }
}

/// Where to look for members.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    addresses: Vec<SocketAddr>,
    /// Who was last heard of at a seed's address. So nobody looks through all members for it.
    members: BTreeMap<SocketAddr, Uuid>,
    /// How long until the next try while we are alone: from the gossip interval it doubles up to [`ALONE_PERIODS`].
    back_off: Duration,
    /// Timers of an earlier list are stale.
    round: u64,
}

impl Seeds {
    pub(super) const fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// A member is at this address, which may be a seed's.
    pub(super) fn note_member(&mut self, id: Uuid, address: SocketAddr) {
        if self.addresses.contains(&address) {
            self.members.insert(address, id);
        }
    }
}

impl Swim {
    pub(super) fn handle_seeds(&mut self, now: Now, addresses: Vec<SocketAddr>) {
        let mut seeds: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if seeds.len() < MAX_SEEDS
                && reachable(&address)
                && address != self.identity.address
                && !seeds.contains(&address)
            {
                seeds.push(address);
            }
        }
        if seeds == self.seeds.addresses || self.leaving.has_begun() {
            return;
        }
        self.seeds.addresses = seeds;
        self.seeds.members.clear();
        let seeds = &mut self.seeds;
        for (id, row) in self.set.iter() {
            if let Some(life) = &row.life {
                seeds.note_member(id, life.address);
            }
        }
        self.seeds.back_off = self.config.gossip_interval;
        self.seeds.round += 1;
        self.announce(now);
        self.try_seeds(now, self.seeds.round);
    }

    pub(super) fn try_seeds(&mut self, now: Now, round: u64) {
        if round != self.seeds.round || self.seeds.is_empty() || self.leaving.has_begun() {
            return;
        }
        let alone = self.roster.is_empty() || !self.own.synced;
        let mut candidates: Vec<SocketAddr> = self.seeds.addresses.clone();
        if !alone {
            // A seed that is a member needs no trying. One that is none may be the door to another half.
            candidates.retain(|address| !self.is_live_member(address));
        }
        candidates.retain(|address| !self.streams.goes_to(*address, None));
        candidates.shuffle(&mut self.rng);
        for address in candidates.into_iter().take(if alone { SEEDS_AT_ONCE } else { 1 }) {
            self.dial(now, address, None);
        }
        let wait = if alone { self.seeds.back_off } else { self.config.seed_interval };
        let next = if alone { wait.saturating_mul(2) } else { self.config.gossip_interval };
        let longest = self.config.probe_interval.saturating_mul(ALONE_PERIODS).min(self.config.seed_interval);
        self.seeds.back_off = next.min(longest);
        let wait = self.jittered(wait);
        self.timers.set(now.mono + wait, Timer::Seeds { round });
    }

    fn is_live_member(&self, address: &SocketAddr) -> bool {
        let row = self.seeds.members.get(address).and_then(|id| self.set.get(id));
        let here = row.and_then(|row| row.life.as_ref()).is_some_and(|life| life.address == *address);
        here && row.and_then(|row| row.state()).is_some_and(MemberState::is_live)
    }

    pub(super) fn exchange_with_someone(&mut self, now: Now) {
        if self.leaving.has_begun() {
            return;
        }
        let partner = self.pick(1, None).into_iter().next();
        if let Some((id, (_, address))) = partner.and_then(|id| Some((id, self.life_of(id)?))) {
            if !self.compares(id) {
                self.dial(now, address, Some(id));
            } else if !self.in_step(now.mono) {
                // No digest came by that was like ours: datagrams may be blocked.
                self.look_for_differences(now, id, address);
            }
        }
    }

    /// An unexpected one spoke to us.
    pub(super) fn contact(&mut self, now: Now, id: Uuid, address: SocketAddr) {
        if now.mono < self.streams.next_contact || self.leaving.has_begun() || !reachable(&address) {
            return;
        }
        self.streams.next_contact = now.mono + self.config.gossip_interval;
        self.dial(now, address, Some(id));
    }

    fn dial(&mut self, now: Now, to: SocketAddr, target: Option<Uuid>) {
        if self.streams.goes_to(to, target) {
            return;
        }
        if self.streams.dialled.len() >= DIALLED {
            self.stats.overloaded += 1;
            return;
        }
        let frame = self.full_state(now, true);
        self.dial_with(now, to, target, frame);
    }

    /// Begins an exchange, unless one is under way with that member or too many are.
    pub(super) fn dial_with(&mut self, now: Now, to: SocketAddr, target: Option<Uuid>, frame: Bytes) {
        if self.streams.goes_to(to, target) {
            return;
        }
        if self.streams.dialled.len() >= DIALLED {
            self.stats.overloaded += 1;
            return;
        }
        self.stats.sync_bytes_sent += frame.len() as u64;
        let number = self.streams.number();
        self.streams.dialled.insert(number, Dialled { to, target, asked: false });
        self.timers.set(now.mono + self.config.exchange_timeout, Timer::StreamEnds { stream: number });
        self.outputs.push_back(Output::OpenStream { stream: StreamId::Dialled(number), to, target, frame });
    }

    pub(super) fn end_stream(&mut self, number: u64) {
        if self.streams.dialled.remove(&number).is_some() {
            self.outputs.push_back(Output::CloseStream { stream: StreamId::Dialled(number) });
        }
    }

    pub(super) fn handle_stream_closed(&mut self, stream: StreamId) {
        match stream {
            StreamId::Dialled(number) => {
                if !self.probes.end_stream(number) {
                    self.streams.dialled.remove(&number);
                }
            }
            // Nothing is kept of those.
            StreamId::Accepted(_) => {}
        }
    }

    /// All that we know, as a frame. When there is more than a frame can hold, it begins at a random member, so that every part
    /// has its turn.
    fn full_state(&mut self, now: Now, answer_wanted: bool) -> Bytes {
        let mut out = head(VERSIONS.min, self.cluster, self.identity.id);
        out.extend_from_slice(&Message::Sync { answer_wanted }.encode());
        let mut ids: Vec<Uuid> = self.set.iter().map(|(id, _)| id).collect();
        if ids.len() > MAX_FRAME / LONGEST_ROW {
            let start = self.rng.random_range(0..ids.len());
            ids.rotate_left(start);
        }
        for id in ids {
            if out.len() + LONGEST_ROW > MAX_FRAME {
                break;
            }
            for statement in self.statements(now.mono, id) {
                Message::Statement(statement).encode_into(&mut out);
            }
        }
        out.into()
    }

    pub(super) fn handle_frame(&mut self, now: Now, stream: StreamId, bytes: Bytes) {
        let dialled = match stream {
            StreamId::Dialled(number) if self.probes.of_stream(number).is_some() => {
                let envelope = self.open(now, bytes);
                return self.handle_probe_answer(number, envelope.as_ref());
            }
            StreamId::Dialled(number) => match self.streams.dialled.get(&number) {
                Some(dialled) => Some((number, dialled.to)),
                // Given up already.
                None => return,
            },
            StreamId::Accepted(_) => None,
        };
        self.stats.sync_bytes_received += bytes.len() as u64;
        let envelope = self.open(now, bytes).filter(|envelope| envelope.sender != self.identity.id);
        let first = envelope.as_ref().and_then(|envelope| envelope.messages().next());
        if let (None, Some(Ok(Message::Ping { seq, target }))) = (dialled, &first) {
            return self.answer_probe_by_stream(stream, *seq, *target);
        }
        match (&envelope, dialled, &first) {
            (Some(_), None, Some(Ok(Message::Buckets { sums }))) if !self.leaving.is_over() => {
                return self.answer_buckets(stream, sums);
            }
            (Some(envelope), Some((number, _)), Some(Ok(Message::Hashes { .. }))) if !self.leaving.is_over() => {
                let first = self.streams.dialled.get_mut(&number).is_some_and(Dialled::ask);
                if first {
                    return self.answer_hashes(now, number, envelope);
                }
            }
            (_, _, _) => {}
        }
        if let Some((number, _)) = dialled {
            self.streams.dialled.remove(&number);
        }
        let dialled = dialled.map(|(_, to)| to);
        let (Some(envelope), Some(Ok(first @ (Message::Sync { .. } | Message::Want { .. })))) = (envelope, first)
        else {
            self.outputs.push_back(Output::CloseStream { stream });
            return;
        };
        let answer = match first {
            _ if dialled.is_some() || self.leaving.is_over() => None,
            Message::Sync { answer_wanted: true } => Some(self.full_state(now, false)),
            Message::Want { ids } => Some(self.statements_of(now, Message::Sync { answer_wanted: false }, &ids)),
            _ => None,
        };
        if let Some(frame) = answer {
            self.stats.sync_bytes_sent += frame.len() as u64;
            self.outputs.push_back(Output::SendFrame { stream, frame, last: true });
        } else {
            self.outputs.push_back(Output::CloseStream { stream });
        }
        if self.leaving.is_over() {
            return;
        }

        // An accepted stream comes from a port that nobody listens on; where its sender listens, it says itself.
        let sender = envelope.sender;
        let told_from = dialled.or_else(|| {
            envelope.messages().find_map(|message| match message {
                Ok(Message::Statement(super::wire::Statement::Alive { id, life })) if id == sender => {
                    Some(life.address)
                }
                Ok(_) | Err(_) => None,
            })
        });
        let told_from = told_from.or_else(|| self.life_of(sender).map(|(_, address)| address));
        let teller = told_from.map(|address| Teller { id: sender, address });
        let mut accused = Vec::new();
        for message in envelope.messages() {
            match message {
                Ok(Message::Statement(statement)) => {
                    let id = statement.id();
                    if self.take_in(now, statement, teller) && accused.len() < TOLD_DIRECTLY {
                        accused.push(id);
                    }
                }
                Ok(_) => {}
                Err(_) => self.stats.absurd_stamps += 1,
            }
        }
        self.note_heard(now.mono, sender);
        self.own.synced = true;
        self.event(Event::Synced { with: sender });
        if self.announce(now)
            && let Some(address) = told_from
        {
            // Now that we have listened, whom we listened to shall know us.
            self.dial(now, address, Some(sender));
        }
        for id in accused {
            if let Some((_, address)) = self.life_of(id) {
                self.send(now, Some(id), address, None);
            }
        }
    }
}
