//! The full state over streams, in pages: with the seeds until there is somebody, with newcomers, and with whoever does not compare
//! views by digests.
//!
//! ```text
//!   dialler ---Page{after nobody}, Sync{answer wanted}, statements--> acceptor    Sync is for members of version 1, which skip Page
//!           <--Page{after x}, statements up to x----------------------
//!           ---Page{after x}, further statements--------------------->            and so on, until both have told all
//!
//!   dialler ---Sync{answer wanted}, all statements------------------> acceptor    when either is of version 1
//!           <--Sync, all statements-----------------------------------
//! ```
//!
//! An answer is made before the question is merged: so a member that was set back hears the stamp that the cluster has of it,
//! before its new one has replaced that. And a starting member does not send its own row until it has heard somebody's.
//!
//! The acceptor keeps nothing between two pages. What comes in is merged by and by (`reading`), and only then is more asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use rand::RngExt;
use uuid::Uuid;

use super::Swim;
use super::io::{Output, StreamId};
use super::member::reachable;
use super::reading::{Frame, Then};
use super::timer::Timer;
use super::wire::{Envelope, MAX_FRAME, Message, Statement, VERSIONS, head};
use crate::time::{Mono, Now};

/// Exchanges that we have under way at a time; more are not begun, and counted.
pub(super) const DIALLED: usize = 4;

/// Most bytes in a frame of statements, about, but to members of version 1: a thousand statements or two, which are encoded in a fifth of a
/// millisecond.
pub(super) const SHARE: usize = 128 << 10;

/// The longest set of statements of one member.
const LONGEST_ROW: usize = 1_024;

/// An exchange that we began.
#[derive(Debug)]
struct Dialled {
    to: SocketAddr,
    target: Option<Uuid>,
    /// Hashes were answered, which is done once.
    asked: bool,
    /// Up to where we have told the full state, if we do that in pages.
    told: Option<Told>,
}

/// How far one side is with telling.
#[derive(Debug, Clone, Copy)]
struct Told {
    after: Uuid,
    complete: bool,
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

    pub(super) fn goes_to(&self, address: SocketAddr, target: Option<Uuid>) -> bool {
        self.dialled.values().any(|stream| stream.to == address || (target.is_some() && stream.target == target))
    }
}

impl Swim {
    pub(super) fn exchange_with_someone(&mut self, now: Now) {
        if self.leaving.has_begun() {
            return;
        }
        let partner = self.roster.one(&mut self.rng).and_then(|slot| self.set.id_at(slot));
        if let Some((id, (_, address))) = partner.and_then(|id| Some((id, self.life_of(id)?))) {
            // In step: some digest came by that was like ours. Otherwise datagrams may be blocked.
            if !self.compares(id) || !self.in_step(now.mono) {
                self.meet(now, id, address);
            }
        }
    }

    /// An unexpected one spoke to us.
    pub(super) fn contact(&mut self, now: Now, id: Uuid, address: SocketAddr) {
        if now.mono < self.streams.next_contact || self.leaving.has_begun() || !reachable(&address) {
            return;
        }
        self.streams.next_contact = now.mono + self.config.gossip_interval;
        self.meet(now, id, address);
    }

    /// Exchanges what we and a member know: what differs, if that can be found out, or all.
    pub(super) fn meet(&mut self, now: Now, id: Uuid, address: SocketAddr) {
        // Who has heard nobody yet needs all, the word of its own earlier lives first of all.
        if self.own.synced && self.compares(id) {
            self.look_for_differences(now, id, address);
        } else {
            self.dial(now, address, Some(id));
        }
    }

    /// Begins to exchange the full state.
    pub(super) fn dial(&mut self, now: Now, to: SocketAddr, target: Option<Uuid>) {
        if !self.may_dial(to, target) {
            return;
        }
        let (frame, told) = if target.is_some_and(|id| self.set.contains_key(&id) && !self.compares(id)) {
            (self.full_state(now, true), None)
        } else {
            let (page, told) = self.page_behind(now, Uuid::nil());
            let question = Message::Page { after: Uuid::nil(), complete: told.complete };
            (self.page_frame([question, Message::Sync { answer_wanted: true }], &page), Some(told))
        };
        self.open_stream(now, to, target, frame, told);
    }

    /// Begins an exchange with this frame, unless one is under way with that member or too many are.
    pub(super) fn dial_with(&mut self, now: Now, to: SocketAddr, target: Option<Uuid>, frame: Bytes) {
        if self.may_dial(to, target) {
            self.open_stream(now, to, target, frame, None);
        }
    }

    fn may_dial(&mut self, to: SocketAddr, target: Option<Uuid>) -> bool {
        if self.streams.goes_to(to, target) {
            return false;
        }
        let free = self.streams.len() < DIALLED;
        self.stats.overloaded += u64::from(!free);
        free
    }

    fn open_stream(&mut self, now: Now, to: SocketAddr, target: Option<Uuid>, frame: Bytes, told: Option<Told>) {
        self.stats.sync_bytes_sent += frame.len() as u64;
        let number = self.streams.number();
        self.streams.dialled.insert(number, Dialled { to, target, asked: false, told });
        self.timers.set(now.mono + self.config.exchange_timeout, Timer::StreamEnds { stream: number });
        self.outputs.push_back(Output::OpenStream { stream: StreamId::Dialled(number), to, target, frame });
    }

    pub(super) fn send_frame(&mut self, stream: StreamId, frame: Bytes, last: bool) {
        self.stats.sync_bytes_sent += frame.len() as u64;
        self.outputs.push_back(Output::SendFrame { stream, frame, last });
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

    /// All that we know, as one frame, for members of version 1. When there is more than a frame can hold, it begins at a random
    /// member, so that every part has its turn.
    fn full_state(&mut self, now: Now, answer_wanted: bool) -> Bytes {
        let mut out = head(VERSIONS.min, self.cluster, self.identity.id);
        Message::Sync { answer_wanted }.encode_into(&mut out);
        let len = self.set.len();
        let start = if len > MAX_FRAME / LONGEST_ROW { self.rng.random_range(0..len) } else { 0 };
        for (id, row) in self.set.iter().skip(start).chain(self.set.iter().take(start)) {
            if out.len() + LONGEST_ROW > MAX_FRAME {
                break;
            }
            for statement in self.statements(now.mono, id, row) {
                Message::Statement(statement).encode_into(&mut out);
            }
        }
        out.into()
    }

    /// The statements of a page of what we know, and how far it goes.
    fn page_behind(&self, now: Now, after: Uuid) -> (Vec<u8>, Told) {
        let mut out = Vec::with_capacity(SHARE.min(self.set.len() * 96) + LONGEST_ROW);
        // On every page: where the one is reached who says all this.
        if let Some(life) = self.own.life.clone().filter(|_| self.own.announced) {
            Message::Statement(Statement::Alive { id: self.identity.id, life }).encode_into(&mut out);
        }
        let mut told = Told { after, complete: false };
        for (id, row) in self.set.after(Some(after)) {
            if out.len() > SHARE {
                return (out, told);
            }
            for statement in self.statements(now.mono, id, row) {
                Message::Statement(statement).encode_into(&mut out);
            }
            told.after = id;
        }
        (out, Told { complete: true, ..told })
    }

    fn page_frame(&self, first: impl IntoIterator<Item = Message>, page: &[u8]) -> Bytes {
        let mut out = head(VERSIONS.min, self.cluster, self.identity.id);
        first.into_iter().for_each(|message| message.encode_into(&mut out));
        out.extend_from_slice(page);
        out.into()
    }

    /// The acceptor's answer to a page; what follows once that is merged.
    fn answer_page(&mut self, now: Now, stream: StreamId, after: Uuid, complete: bool) -> Then {
        let (page, told) = self.page_behind(now, after);
        let frame = self.page_frame([Message::Page { after: told.after, complete: told.complete }], &page);
        self.send_frame(stream, frame, complete && told.complete);
        if complete { Then::Conclude { all: true } } else { Then::Nothing }
    }

    /// A page was answered; what follows once that is merged. None if we did not ask for any.
    fn hear_page(&mut self, number: u64, after: Uuid, complete: bool) -> Option<Then> {
        let told = self.streams.dialled.get(&number)?.told?;
        if complete && told.complete {
            self.streams.dialled.remove(&number);
            return Some(Then::Conclude { all: true });
        }
        // Nobody is behind the highest id: we only have more to tell.
        Some(Then::Ask { number, after: if complete { Uuid::max() } else { after } })
    }

    /// The dialler's next page: asks for those behind `after`, and tells more if there is more to tell.
    pub(super) fn ask_on(&mut self, now: Now, number: u64, after: Uuid) {
        // It may have ended meanwhile.
        let Some(told) = self.streams.dialled.get(&number).and_then(|dialled| dialled.told) else { return };
        let (page, told) = if told.complete { (Vec::new(), told) } else { self.page_behind(now, told.after) };
        if let Some(dialled) = self.streams.dialled.get_mut(&number) {
            dialled.told = Some(told);
        }
        let frame = self.page_frame([Message::Page { after, complete: told.complete }], &page);
        self.send_frame(StreamId::Dialled(number), frame, false);
    }

    pub(super) fn handle_frame(&mut self, now: Now, stream: StreamId, bytes: Bytes) {
        let envelope = self.open(now, &bytes, Vec::new());
        let dialled = match stream {
            StreamId::Dialled(number) if self.probes.of_stream(number).is_some() => {
                return self.handle_probe_answer(number, envelope.as_ref());
            }
            StreamId::Dialled(number) => match self.streams.dialled.get(&number) {
                Some(dialled) => Some(dialled.to),
                // Given up already.
                None => return,
            },
            StreamId::Accepted(_) => None,
        };
        self.stats.sync_bytes_received += bytes.len() as u64;
        let envelope = envelope.filter(|envelope| envelope.sender != self.identity.id);
        let then = envelope.as_ref().and_then(|envelope| self.heed_frame(now, stream, envelope));
        let (Some(then), Some(envelope)) = (then, envelope) else {
            return self.give_up(stream);
        };
        if let Then::Wait = then {
            return;
        }
        self.stats.absurd_stamps += envelope.absurd;
        // An accepted stream comes from a port that nobody listens on; where its sender listens, it says itself.
        let sender = envelope.sender;
        let itself = || {
            envelope.messages.iter().find_map(|message| match message {
                Message::Statement(Statement::Alive { id, life }) if *id == sender => Some(life.address),
                _ => None,
            })
        };
        let told_from = dialled.or_else(itself).or_else(|| self.life_of(sender).map(|(_, address)| address));
        if !self.read(now, Frame::new(sender, told_from, envelope.messages, then)) {
            self.give_up(stream);
        }
    }

    fn give_up(&mut self, stream: StreamId) {
        if let StreamId::Dialled(number) = stream {
            self.streams.dialled.remove(&number);
        }
        self.outputs.push_back(Output::CloseStream { stream });
    }

    /// Answers a frame, from what we knew before it; what follows once it is merged. None for what should not be there.
    fn heed_frame(&mut self, now: Now, stream: StreamId, envelope: &Envelope) -> Option<Then> {
        let first = envelope.messages.first()?;
        if let (StreamId::Accepted(_), Message::Ping { seq, target }) = (stream, first) {
            self.answer_probe_by_stream(stream, *seq, *target);
            return Some(Then::Wait);
        }
        if self.leaving.is_over() {
            return None;
        }
        match (stream, first) {
            (StreamId::Accepted(_), Message::Sync { answer_wanted: true }) => {
                let frame = self.full_state(now, false);
                self.send_frame(stream, frame, true);
                Some(Then::Conclude { all: true })
            }
            (StreamId::Accepted(_), Message::Page { after, complete }) => {
                Some(self.answer_page(now, stream, *after, *complete))
            }
            (StreamId::Accepted(_), Message::Buckets { sums }) => {
                self.answer_buckets(stream, sums);
                Some(Then::Wait)
            }
            (StreamId::Accepted(_), Message::Want { ids }) => {
                let frame = self.statements_of(now, Message::Sync { answer_wanted: false }, ids);
                self.send_frame(stream, frame, true);
                Some(Then::Conclude { all: false })
            }
            (StreamId::Dialled(number), Message::Page { after, complete }) => self.hear_page(number, *after, *complete),
            (StreamId::Dialled(number), Message::Hashes { .. }) => {
                let first = self.streams.dialled.get_mut(&number).is_some_and(Dialled::ask);
                first.then(|| {
                    self.answer_hashes(now, number, &envelope.messages);
                    Then::Wait
                })
            }
            (_, Message::Sync { .. }) => {
                self.give_up(stream);
                Some(Then::Conclude { all: true })
            }
            (_, _) => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
