//! Datagrams: how they are put together, what becomes of those that arrive, and the gossip tick.

use std::net::SocketAddr;

use bytes::Bytes;
use uuid::Uuid;

use super::dissemination::retransmit_limit;
use super::event::Event;
use super::io::{MAX_BROADCAST, MAX_MESSAGE, Output, Refused};
use super::member::MemberState;
use super::membership::Teller;
use super::seal::Unopened;
use super::wire::{ENVELOPE_HEAD, Envelope, Message, PACKET_ROOM, Statement, VERSIONS, WireError, check_head, head_in};
use super::{Stamp, Swim};
use crate::time::{Mono, Now};

impl Swim {
    /// Sends one datagram: a message if there is one, then what its receiver stands accused of, then news as far as they fit.
    pub(super) fn send(&mut self, now: Now, to: Option<Uuid>, address: SocketAddr, first: Option<&Message>) {
        let row = to.and_then(|id| self.set.get(&id).map(|row| (id, row)));
        // The version that the receiver speaks best; for a stranger the oldest that we have.
        let life = row.and_then(|(_, row)| row.life.as_ref());
        let (versions, receiver) = (life.map(|life| life.versions), life.map(|life| life.boot));
        let version = versions.and_then(|theirs| VERSIONS.common(theirs)).unwrap_or(VERSIONS.min);
        let word = row.and_then(|(id, row)| self.word_about(now.mono, id, row, address));
        let mut out = head_in(self.packets.begin(), version, self.cluster, self.identity.id);
        if let Some(first) = first {
            first.encode_into(&mut out);
        }
        // The suspect is told first, and the dead are told what they are thought to be: so they can answer at once.
        if let Some(word) = word {
            Message::Statement(word).encode_into(&mut out);
        }
        if let Some(Message::Ping { .. } | Message::Ack { .. }) = first
            && let Some(digest) = self.digest_for(version)
        {
            digest.encode_into(&mut out);
        }
        let limit = retransmit_limit(self.config.retransmit_multiplier, self.live());
        self.fill_with_news(now, &mut out, limit);
        self.stats.packets_sent += 1;
        self.seals.seal(&mut out, receiver);
        self.stats.bytes_sent += out.len() as u64;
        let bytes = self.packets.carry(out);
        self.outputs.push_back(Output::Datagram { to: address, bytes });
    }

    /// Fills a packet with news as far as they fit: what the table says of their members now.
    fn fill_with_news(&mut self, now: Now, out: &mut Vec<u8>, limit: u32) {
        let mut news = std::mem::take(&mut self.news);
        news.fill(out, ENVELOPE_HEAD + PACKET_ROOM, limit, |slot, out| {
            if let Some(statement) = self.current_word(now.mono, slot) {
                Message::Statement(statement).encode_into(out);
            }
        });
        self.news = news;
    }

    /// Tells one member what we have to tell, our own word first.
    pub(super) fn send_news(&mut self, now: Now, to: Uuid, address: SocketAddr) {
        let id = self.identity.id;
        let life = self.own.life.clone().filter(|_| self.own.announced);
        let own = life.map(|life| Message::Statement(Statement::Alive { id, life }));
        self.send(now, Some(to), address, own.as_ref());
    }

    /// The tick: news go to a few members at random, if there are any.
    pub(super) fn gossip(&mut self, now: Now) {
        if self.own.life.is_none() {
            return;
        }
        if self.leaving.has_begun() {
            self.say_goodbye(now);
            return;
        }
        for id in self.pick(self.config.gossip_fanout, None) {
            if self.news.is_empty() {
                return;
            }
            if let Some((_, address)) = self.life_of(id) {
                self.send(now, Some(id), address, None);
            }
        }
    }

    pub(super) fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: Bytes) {
        if self.leaving.is_over() {
            return;
        }
        self.stats.packets_received += 1;
        self.stats.bytes_received += bytes.len() as u64;
        let (mut opened, messages) = self.packets.begin_reading();
        if let Some(fresh) = self.unseal(&bytes, &mut opened)
            && let Some(envelope) = self.open(now, &opened, messages)
        {
            self.packets.messages = self.hear(now, from, envelope, fresh);
        }
        opened.clear();
        self.packets.opened = opened;
    }

    /// Does what a packet says; gives back the empty vector of its messages. `fresh`: user messages in it may be believed to be new.
    fn hear(&mut self, now: Now, from: SocketAddr, envelope: Envelope, fresh: bool) -> Vec<Message> {
        let Envelope { sender, mut messages, absurd } = envelope;
        self.stats.absurd_stamps += absurd;
        if sender == self.identity.id {
            // Our own, by way of some loop; or another one of us, which others will tell us of.
            messages.clear();
            return messages;
        }
        let teller = Teller { id: sender, address: from };
        let mut digest = None;
        let mut outlived = false;
        for message in messages.drain(..) {
            match message {
                Message::Ping { seq, target } => self.handle_ping(now, sender, from, seq, target),
                Message::PingReq { seq, target, address } => {
                    self.handle_ping_req(now, sender, from, (seq, target, address));
                }
                Message::Ack { seq, subject } => {
                    self.handle_ack(now, sender, seq, subject);
                    // It may have confirmed our goodbye. Behind that nothing is heard any more, nor said.
                    if self.leaving.is_over() {
                        break;
                    }
                }
                Message::Nack { seq, subject } => self.handle_nack(sender, seq, subject),
                Message::Statement(statement) => {
                    outlived |= fresh && self.have_outlived(&statement);
                    self.take_in(now, statement, Some(teller));
                }
                Message::Broadcast { .. } | Message::Direct { .. } if !fresh => self.stats.replayed += 1,
                Message::Broadcast { origin, boot, seq, payload } => {
                    self.pass_on(now, (origin, boot, seq), payload);
                }
                Message::Direct { to, payload } => {
                    if to == self.identity.id {
                        self.event(Event::Message { from: sender, payload });
                    } else {
                        self.stats.not_for_us += 1;
                    }
                }
                Message::Digest { sum } => digest = Some(sum),
                // Of frames.
                Message::Sync { .. }
                | Message::Page { .. }
                | Message::Buckets { .. }
                | Message::Hashes { .. }
                | Message::Want { .. } => {}
            }
        }
        if self.leaving.is_over() {
            return messages;
        }
        if outlived {
            // The news of our defence went round while it could not hear us. Nobody else will tell it before the next exchange.
            self.send_news(now, sender, from);
        }
        self.heard_from(now, sender, from);
        // Behind the news of the same packet: they may be the difference.
        if let Some(sum) = digest {
            self.handle_digest(now, sender, sum);
        }
        messages
    }

    /// Opens a packet's seal; counts what is not well.
    fn unseal(&mut self, bytes: &[u8], opened: &mut Vec<u8>) -> Option<bool> {
        if let Err(error) = check_head(bytes, self.cluster) {
            self.count(error);
            return None;
        }
        match self.seals.open(bytes, self.identity.boot, opened) {
            Ok(fresh) => return Some(fresh),
            Err(Unopened::Plain) => self.stats.unsealed += 1,
            Err(Unopened::UnknownKey) => self.stats.unknown_keys += 1,
            Err(Unopened::BadSeal) => self.stats.bad_seals += 1,
            Err(Unopened::Replayed) => self.stats.replayed += 1,
            Err(Unopened::Damaged) => self.stats.damaged += 1,
        }
        None
    }

    /// Reads an envelope; counts what is not well.
    pub(super) fn open(&mut self, now: Now, bytes: &[u8], messages: Vec<Message>) -> Option<Envelope> {
        match Envelope::open(bytes, self.cluster, Stamp::believable(now.wall), messages) {
            Ok(envelope) => Some(envelope),
            Err(error) => {
                self.count(error);
                None
            }
        }
    }

    const fn count(&mut self, error: WireError) {
        match error {
            WireError::OtherCluster => self.stats.foreign_cluster += 1,
            WireError::Short | WireError::Malformed(_) | WireError::Version(_) | WireError::AbsurdStamp => {
                self.stats.malformed += 1;
            }
        }
    }

    /// A member spoke to us. One that we do not know, or hold to be dead, is worth a word: it is new, or a partition has healed.
    fn heard_from(&mut self, now: Now, sender: Uuid, from: SocketAddr) {
        self.note_heard(now.mono, sender);
        let worth_a_word = match self.set.get(&sender).and_then(|row| row.state()) {
            None | Some(MemberState::Failed) => true,
            Some(MemberState::Alive | MemberState::Suspect) => !self.own.synced,
            Some(MemberState::Left) => false,
        };
        if worth_a_word {
            self.contact(now, sender, from);
        }
    }

    pub(super) fn note_heard(&mut self, now: Mono, sender: Uuid) {
        if let Some(slot) = self.set.slot(&sender) {
            self.peers.entry(slot).or_default().last_heard = Some(now);
        }
    }

    pub(super) fn handle_broadcast(&mut self, now: Now, payload: Bytes) -> Result<(), Refused> {
        if payload.len() > MAX_BROADCAST {
            return Err(Refused::TooLarge { what: "a broadcast", len: payload.len(), max: MAX_BROADCAST });
        }
        self.refuse_if_leaving()?;
        let (origin, boot) = (self.identity.id, self.identity.boot);
        let seq = self.next_broadcast;
        self.next_broadcast += 1;
        let bytes = Message::Broadcast { origin, boot, seq, payload }.encode();
        self.stats.broadcasts_dropped += self.news.broadcast((origin, boot, seq), bytes, now.mono);
        Ok(())
    }

    /// A broadcast came by.
    fn pass_on(&mut self, now: Now, (origin, boot, seq): (Uuid, u64, u64), payload: Bytes) {
        if origin == self.identity.id || !self.seen.insert(origin, boot, seq) {
            return;
        }
        let bytes = Message::Broadcast { origin, boot, seq, payload: payload.clone() }.encode();
        self.stats.broadcasts_dropped += self.news.broadcast((origin, boot, seq), bytes, now.mono);
        self.event(Event::Broadcast { from: origin, payload });
    }

    pub(super) fn handle_message(&mut self, now: Now, to: Uuid, payload: Bytes) -> Result<(), Refused> {
        if payload.len() > MAX_MESSAGE {
            return Err(Refused::TooLarge { what: "a message", len: payload.len(), max: MAX_MESSAGE });
        }
        self.refuse_if_leaving()?;
        let live = self.roster_has(to);
        let (_, address) = self.life_of(to).filter(|_| live).ok_or(Refused::UnknownMember(to))?;
        self.send(now, Some(to), address, Some(&Message::Direct { to, payload }));
        Ok(())
    }

    fn roster_has(&self, id: Uuid) -> bool {
        id != self.identity.id && self.set.get(&id).and_then(|row| row.state()).is_some_and(MemberState::is_live)
    }
}
